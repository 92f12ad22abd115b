"""A HyperModel as a trainable: one attempt of a trial builds, loads, fits, reports, saves.

What lies in the trial's folder:

* ``model/``: what was saved at the best epoch so far, with ``best.json``, its value and step;
* ``checkpoint_000003/``: ``model/`` and ``state.json``, what is needed to go on after step 3.

Steps count epochs, over all executions of the trial together.
"""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneflow.errors import InvalidArgument, MetricMissing, TuneflowError, TuneflowWarning
from tuneflow.hyperparameters import HyperParameters, Objective, Parameter
from tuneflow.trainable.hypermodel import HyperModel, accepts
from tuneflow.trainable.hypermodel_epochs import EpochCallback
from tuneflow.trainable.hypermodel_results import average, metrics_of, numbers
from tuneflow.trainable.hypermodel_saving import Saver, saver_for
from tuneflow.trainable.session import TrialInterrupt
from tuneflow.trainable.session_trial import SessionTrial

__all__ = ["BEST", "NOTES", "HyperTrainable", "load_best"]

BEST = "model"
"""The folder of the best epoch's model inside a trial's."""
NOTES = "tuneflow:hypermodel"
"""The trial's attribute: its values, its score, and the hyperparameters that were new in it."""


def load_best(model: Any, folder: Path, saver: Any = None) -> Any:
    """A freshly built model with the weights of the best epoch of the trial whose folder is given."""
    return saver_for(model, saver).load(model, folder / BEST)


class HyperTrainable:
    """What a runner calls for each trial of a HyperModel.

    Args:
        hypermodel: builds and fits.
        objective: what is optimised.
        space: the hyperparameters known so far.
        args: what ``fit`` gets besides, by position.
        kwargs: what ``fit`` gets besides, by name; ``callbacks`` among them are copied for each training.
        executions: trainings per trial; the trial's value is their mean.
        saver: see ``saver_for``.
        saves_best: whether to save the model at its best epoch.
        epochs: the budget that a pruner knows of, passed to ``fit`` as ``epochs``; None for none.
        given: hyperparameters that the user has listed; None for none, and the two below do not count.
        tune_new: whether hyperparameters outside ``given`` are tuned; else they keep their defaults.
        allow_new: whether there may be any.
        how_to_resume: what to tell somebody who interrupts the run; the call of ``tune.run`` without it.
    """

    tuneflow_kind = "trial"

    def __init__(
        self,
        hypermodel: Any,
        objective: Objective,
        space: HyperParameters,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        executions: int = 1,
        saver: Any = None,
        saves_best: bool = True,
        epochs: int | None = None,
        given: HyperParameters | None = None,
        tune_new: bool = True,
        allow_new: bool = True,
        how_to_resume: str | None = None,
    ) -> None:
        self.__name__ = type(hypermodel).__name__
        self.how_to_resume = how_to_resume
        self.hypermodel = hypermodel
        self.objective = objective
        self.space = space.copy()  # as it is now, here as in another process
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.executions = executions
        self.saver = saver
        self.saves_best = saves_best
        self.epochs = epochs
        self.given = None if given is None else {(entry.name, entry.conditions) for entry in given.space}
        self.tune_new = tune_new
        self.allow_new = allow_new

    def __call__(self, trial: SessionTrial) -> dict[str, float]:
        return _Attempt(self, trial).run()


class _Ended(BaseException):
    """Ends a training that has had its epochs. Unwinds ``fit`` like ``TrialInterrupt``."""


class _Attempt:
    """One attempt of a trial.

    Attributes:
        best: value and step of the best epoch so far; None before the first.
    """

    def __init__(self, trainable: HyperTrainable, trial: SessionTrial) -> None:
        self._own = trainable
        self._trial = trial
        self._objective = trainable.objective
        self._known = {(parameter.name, parameter.conditions) for parameter in trainable.space.space}
        self._hp = trainable.space.drawing(self._draw)
        self._folder = Path(trial.dir) if trainable.saves_best else None
        self._saver: Saver | None = None
        self._model: Any = None
        state = self._read_state()
        self._results: list[dict[str, float]] = state.get("results", [])
        self._base = int(state.get("base", 0))
        self._initial = trial.start_step - self._base
        self._step = trial.start_step
        self._shift: int | None = None
        self._seen: dict[str, None] = {}
        self.best: tuple[float, int] | None = self._read_best(state)
        self._best_here: tuple[float, dict[str, float]] | None = None

    # The course of it

    def run(self) -> dict[str, float]:
        own = self._own
        try:
            while len(self._results) < own.executions:
                self._results.append(self._execute())
                self._base, self._initial = self._step, 0
        except TrialInterrupt:
            self._note(None if self.best is None else self.best[0])
            raise
        finally:
            self._model = None
            release = getattr(self._saver, "release", None)
            if release is not None:
                release()
        metrics = average(self._results)
        self._note(metrics[self._objective.name])
        return metrics

    def _execute(self) -> dict[str, float]:
        """One training, from its start or from the checkpoint."""
        own = self._own
        self._hp = own.space.drawing(self._draw)
        self._shift, self._best_here, self._seen = None, None, {}
        self._model = own.hypermodel.build(self._hp)
        is_resumed = self._initial > 0 and self._trial.checkpoint is not None
        if is_resumed:
            self._load()
        fit = getattr(own.hypermodel, "fit", HyperModel().fit)
        kwargs = {name: value for name, value in own.kwargs.items() if name != "callbacks"}
        given = own.kwargs.get("callbacks") or []
        if given or accepts(fit, "callbacks"):
            listed = list(given) if isinstance(given, (list, tuple)) else [given]
            kwargs["callbacks"] = [*copy.deepcopy(listed), EpochCallback(self._epoch_ended)]
        if own.epochs is not None and "epochs" not in kwargs and accepts(fit, "epochs"):
            kwargs["epochs"] = own.epochs
        if is_resumed and "initial_epoch" not in kwargs and accepts(fit, "initial_epoch"):
            kwargs["initial_epoch"] = self._initial
        n_before = self._step
        try:
            returned = fit(self._hp, self._model, *own.args, **kwargs)
        except _Ended:
            returned = None
        metrics = metrics_of(returned, self._objective)
        metrics = self._settled(metrics, has_history=hasattr(returned, "history"), is_resumed=is_resumed)
        if self._step == n_before and not is_resumed:
            self._keep_if_best(self._model, metrics[self._objective.name], self._step)
        return metrics

    def _settled(self, metrics: dict[str, float] | None, *, has_history: bool, is_resumed: bool) -> dict[str, float]:
        """What the training counts as, in view of its epochs and of those before it was cut."""
        name, here = self._objective.name, self._best_here
        earlier = self.best if is_resumed and not self._results else None
        if here is None and earlier is not None:
            return {name: earlier[0]}  # cut after its last epoch: nothing was left to do
        if metrics is None and here is not None:
            metrics = here[1]
        if metrics is None:
            raise self._complaint()
        is_best_epoch = has_history or (here is not None and metrics[name] == here[0])
        if earlier is not None and is_best_epoch:
            return {**metrics, name: earlier[0]}  # it tells its best epoch: those before the cut count too
        return metrics

    def _complaint(self) -> TuneflowError:
        name = self._objective.name
        if self._seen:
            return MetricMissing(name, list(self._seen), "objective")
        return InvalidArgument(
            f"fit returned None and no callback was told of an epoch; return the value of {name!r} from fit, or call "
            f"callback.on_epoch_end(epoch, logs={{{name!r}: value}}) for each of callbacks"
        )

    def _epoch_ended(self, model: Any, epoch: int, logs: Mapping[str, Any]) -> None:
        """A report: the best epoch is saved, the tuner is asked, the trial goes on or is unwound."""
        metrics = numbers(logs)
        if self._objective.name not in metrics:
            self._seen.update(dict.fromkeys(map(str, logs)))
            return
        model = self._model if model is None else model
        value = metrics[self._objective.name]
        if self._shift is None:
            self._shift = self._shift_for(epoch)
        self._step = self._base + self._shift + epoch + 1
        if self._best_here is None or self._objective.is_better(value, self._best_here[0]):
            self._best_here = (value, metrics)
        self._keep_if_best(model, value, self._step)
        decision = self._trial.report(metrics, self._step, checkpoint=lambda folder: self._save(model, Path(folder)))
        if decision.should_stop:
            raise TrialInterrupt(decision)
        limit = self._own.kwargs.get("epochs", self._own.epochs)
        if self._shift and isinstance(limit, int) and self._step - self._base >= limit:
            raise _Ended

    def _shift_for(self, epoch: int) -> int:
        """What to add to the epochs of a training that goes on but counts from 0 again."""
        if self._initial == 0 or epoch >= self._initial:
            return 0
        warnings.warn(
            TuneflowWarning(
                f"fit goes on after epoch {self._initial} with the weights of then, but counts its epochs from "
                f"{epoch}; they are counted on. Have its loop begin at kwargs.get('initial_epoch', 0)"
            ),
            stacklevel=4,
        )
        return self._initial - epoch

    # Values

    def _draw(self, parameter: Parameter) -> Any:
        own = self._own
        if own.given is not None and (parameter.name, parameter.conditions) not in own.given:
            if not own.allow_new:
                raise InvalidArgument(
                    f"hyperparameter {parameter.name!r} is not among those given as hyperparameters=, and "
                    f"allow_new_entries=False"
                )
            if not own.tune_new:
                return parameter.default
        if not getattr(own.hypermodel, "tunable", True):
            return parameter.default
        return parameter.suggest(self._trial, self._hp.param_name(parameter))

    def _note(self, score: float | None) -> None:
        """What the driver is to know of the trial."""
        new = HyperParameters()
        new.merge(
            parameter for parameter in self._hp.space if (parameter.name, parameter.conditions) not in self._known
        )
        notes: dict[str, Any] = {"values": dict(self._hp.values), "score": score}
        if self.best is not None:
            notes["best_step"] = self.best[1]
        if new.space:
            notes["new"] = new.get_config()["space"]
        self._trial.set_user_attr(NOTES, notes)

    # Files

    def _chosen_saver(self) -> Saver:
        if self._saver is None:
            self._saver = saver_for(self._model, self._own.saver)
        return self._saver

    def _keep_if_best(self, model: Any, value: float, step: int) -> None:
        if not self._objective.is_better(value, None if self.best is None else self.best[0]):
            return
        self.best = (value, step)
        if self._folder is None or model is None:
            return
        draft, target, old = (self._folder / name for name in (f".new_{BEST}", BEST, f".old_{BEST}"))
        for path in (draft, old):
            shutil.rmtree(path, ignore_errors=True)
        draft.mkdir(parents=True)
        self._chosen_saver().save(model, draft)
        (draft / "best.json").write_text(json.dumps({"value": value, "step": step}))
        if target.exists():
            target.rename(old)
        draft.rename(target)
        shutil.rmtree(old, ignore_errors=True)

    def _save(self, model: Any, folder: Path) -> None:
        """A checkpoint to go on from."""
        inside = folder / BEST
        inside.mkdir()
        if model is not None:
            self._chosen_saver().save(model, inside)
        state = {"trial": self._trial.number, "base": self._base, "results": self._results, "best": self.best}
        (folder / "state.json").write_text(json.dumps(state))

    def _load(self) -> None:
        """Fills the model from the checkpoint; from another trial's with what was hyperparameters of its own kept."""
        if self._model is None:
            return
        saver = self._chosen_saver()
        with self._trial.checkpoint.as_directory() as folder:
            state = json.loads((folder / "state.json").read_text())
            is_own = state["trial"] == self._trial.number
            load = saver.load if is_own else getattr(saver, "load_changed", saver.load)
            self._model = load(self._model, folder / BEST)

    def _read_state(self) -> dict[str, Any]:
        """What the checkpoint says of the trial; nothing of another trial's past."""
        if self._trial.checkpoint is None:
            return {}
        with self._trial.checkpoint.as_directory() as folder:
            state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        return state if state["trial"] == self._trial.number else {}

    def _read_best(self, state: Mapping[str, Any]) -> tuple[float, int] | None:
        """The best epoch so far: the one whose model is there, which may be later than the checkpoint."""
        if self._folder is None or not self._trial.start_step:
            best = state.get("best")
            return None if best is None else (float(best[0]), int(best[1]))
        try:
            found = json.loads((self._folder / BEST / "best.json").read_text())
            return float(found["value"]), int(found["step"])
        except (OSError, ValueError, KeyError):  # killed while it was written: the next epoch's is saved
            return None
