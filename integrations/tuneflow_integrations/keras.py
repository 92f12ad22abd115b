"""Keras 3, on any backend: saving the models that a HyperModel built, and reporting from a plain ``model.fit``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from tuneflow.errors import InvalidArgumentType, MetricMissing
from tuneflow.moved import lacks, refusing
from tuneflow.pruners import Decision, Exploit
from tuneflow.trainable import session

__all__ = ["KerasSaver", "TuneCallback"]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)


class KerasSaver:
    """Saves weights and, of a compiled model, the optimizer's state; not the architecture, which ``build`` gives.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> trained, fresh = (keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]) for _ in range(2))
        >>> KerasSaver().save(trained, folder)
        >>> bool((KerasSaver().load(fresh, folder).get_weights()[0] == trained.get_weights()[0]).all())
        True
    """

    file = "model.weights.h5"
    _shapes = "build.json"

    def save(self, model: Any, folder: Path) -> None:
        """Writes the weights, and the shapes that an unbuilt model needs; nothing of a model that has none yet."""
        if not model.built:
            return
        model.save_weights(folder / self.file)
        (folder / self._shapes).write_text(json.dumps(model.get_build_config()))

    def load(self, model: Any, folder: Path) -> Any:
        """Fills a model that was built alike."""
        if not (folder / self.file).exists():
            return model
        if not model.built:
            config = json.loads((folder / self._shapes).read_text())
            if config:
                model.build_from_config(config)
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(model.trainable_variables)  # its variables are skipped otherwise
        model.load_weights(folder / self.file)
        return model

    def load_changed(self, model: Any, folder: Path) -> Any:
        """``load`` for a model with other hyperparameters than the saved one: it keeps its own learning rate."""
        optimizer: Any = getattr(model, "optimizer", None)
        rate: Any = getattr(optimizer, "_learning_rate", None)
        value = float(rate) if hasattr(rate, "assign") else None  # a schedule has nothing to set
        self.load(model, folder)
        if value is not None:
            optimizer.learning_rate = value
        return model

    def release(self) -> None:
        """Drops what Keras keeps of models that nobody holds any more; without it memory grows with every trial."""
        keras.utils.clear_session(free_memory=False)


@refusing("keras.TuneCallback")
class TuneCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports at the end of each epoch of a plain ``model.fit``, and stops it where the tuner says so.

    Inside ``tune.run`` and ``study.optimize`` the training function is unwound where the trial has to stop or to
    pause. In a loop of your own (``trial=study.ask()``) ``fit`` ends after the epoch; see ``decision``.

    Args:
        metrics: what to report: a key of Keras's logs, several, or ``{"loss": "val_loss"}`` to rename them; all of them
            without it.
        trial: the trial to report to; the one that runs here without it.
        checkpoint: whether to offer weights and optimizer with each report. They are written only when needed.

    Attributes:
        decision: the answer to the last report; None before the first.

    Example:
        >>> import numpy as np, tuneflow as tune
        >>> from tuneflow_integrations.keras import TuneCallback
        >>> x = np.linspace(0, 1, 8, dtype="float32")[:, None]
        >>> def train(config):
        ...     model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(config["lr"]), "mse")
        ...     TuneCallback("loss").fit(model, x, 2 * x, epochs=3, verbose=0)
        >>> import tempfile
        >>> analysis = tune.run(train, {"lr": tune.loguniform(1e-3, 1e-1)}, metric="loss", mode="min", num_samples=2,
        ...     executor="inline", storage_path=tempfile.mkdtemp(), verbose=0)
        >>> [trial.last_result["training_iteration"] for trial in analysis.trials]
        [3, 3]
    """

    def __init__(
        self,
        metrics: str | Sequence[str] | Mapping[str, str] | None = None,
        *,
        trial: Any = None,
        checkpoint: bool = True,
    ) -> None:
        super().__init__()
        self.decision: Decision | None = None
        self._trial = trial
        self._checkpoint = checkpoint
        self._saver = KerasSaver()
        if metrics is None or isinstance(metrics, Mapping):
            self._metrics = metrics
        elif isinstance(metrics, str):
            self._metrics = {metrics: metrics}
        elif isinstance(metrics, Sequence):
            self._metrics = {name: name for name in metrics}
        else:
            raise InvalidArgumentType(
                f"metrics={metrics!r} must be a key of the logs, a list of keys, or a dict {{reported name: key}}"
            )

    def fit(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """``model.fit`` with this callback, from the trial's checkpoint and its epoch where there is one."""
        checkpoint, epoch = self._start()
        if checkpoint is not None:
            folder = Path(os.fspath(getattr(checkpoint, "path", checkpoint)))
            self._saver.load_changed(model, folder)
            kwargs["initial_epoch"] = epoch
        callbacks = kwargs.pop("callbacks", None) or []
        listed = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        return model.fit(*args, callbacks=[*listed, self], **kwargs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A report of step ``epoch + 1``."""
        metrics = self._chosen(logs or {})
        model = self.model

        def save(folder: Any) -> None:
            self._saver.save(model, Path(folder))

        offered = save if self._checkpoint else None
        if self._trial is not None:
            self.decision = self._trial.report(metrics, epoch + 1, checkpoint=offered)
            if self.decision.should_stop or isinstance(self.decision, Exploit):
                model.stop_training = True
            return
        running = session.current("TuneCallback")
        self.decision = running.report(metrics, offered, step=epoch + 1)
        if self.decision.should_stop or isinstance(self.decision, Exploit):
            raise session.TrialInterrupt(self.decision)

    def _chosen(self, logs: Mapping[str, Any]) -> dict[str, float]:
        if self._metrics is None:
            return {name: float(value) for name, value in logs.items()}
        for key in self._metrics.values():
            if key not in logs:
                raise MetricMissing(key, sorted(logs), "metrics")
        return {name: float(logs[key]) for name, key in self._metrics.items()}

    def _start(self) -> tuple[Any, int]:
        """The checkpoint to go on from, and the epochs done."""
        if self._trial is not None:
            return self._trial.checkpoint, int(self._trial.start_step)
        running = session.current("TuneCallback.fit")
        return running.checkpoint, int(running.assignment.start_step)
