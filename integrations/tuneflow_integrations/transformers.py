"""Hugging Face Transformers: a callback that makes a ``Trainer``'s training a trial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers

from tuneflow.checkpoint import Checkpoint
from tuneflow.pruners.base import CONTINUE, Decision
from tuneflow_integrations.torch.live import Live
from tuneflow_integrations.trials import Metrics, Target, decision_ends, flat

__all__ = ["TuneCallback"]

_FOLDER, _NOTES = "trainer", "tuneflow.json"
_Base: Any = transformers.TrainerCallback


class TuneCallback(_Base):  # type: ignore[misc]
    """Reports after each evaluation, and ends the training when the trial is told to.

    ::

        callback = TuneCallback({"loss": "eval_loss"}, trial=trial)
        trainer = Trainer(model, TrainingArguments(..., eval_strategy="epoch"), callbacks=[callback])
        callback.train(trainer)

    The trainer saves after each evaluation, since it can be saved then only; ``TrainingArguments(save_total_limit=1)``
    keeps one of these. A trial that takes over another's state keeps its own rates (``live``), and sees the data in the
    order of its own ``TrainingArguments.seed``.

    Args:
        metrics: what to report: a name such as "eval_loss", several, or ``{"loss": "eval_loss"}``.
        trial: a trial of tuneflow's or of Optuna's; without one, that which runs here.
        checkpoint: False never saves: a paused trial then starts over.
        live: entries of the configuration that a restored optimizer takes over.

    Attributes:
        decision: the answer to the last report.
        step: reports so far, those before a resume included.
    """

    def __init__(
        self,
        metrics: str | Sequence[str] | Mapping[str, str],
        *,
        trial: Any = None,
        checkpoint: bool = True,
        live: Sequence[str] | Mapping[str, str | tuple[int, str]] = ("lr",),
    ) -> None:
        self._metrics = Metrics(metrics)
        self._target = Target(trial, "TuneCallback")
        self._saves = checkpoint
        self._live = Live(live)
        self._picked: dict[str, float] | None = None
        self.decision: Decision = CONTINUE
        self.step = self._target.start_step

    def train(self, trainer: Any, **arguments: Any) -> Any:
        """``trainer.train``, from the trial's checkpoint where it has one.

        Returns:
            What ``trainer.train`` returns.
        """
        checkpoint = self._target.checkpoint
        if isinstance(checkpoint, Checkpoint):
            arguments["resume_from_checkpoint"] = str(checkpoint.path / _FOLDER)
        output = trainer.train(**arguments)
        self._target.unwind()
        return output

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Optimizer and scheduler are restored by now: they take over what has changed."""
        checkpoint = self._target.checkpoint
        if isinstance(checkpoint, Checkpoint):
            notes = json.loads((checkpoint.path / _NOTES).read_text())
            self._live.apply(notes["config"], self._target.config, [given["optimizer"]], [given["lr_scheduler"]])

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **given: Any) -> Any:
        self._picked = self._metrics.pick(metrics, "Log it by compute_metrics, or name one of these")
        if self._saves:
            control.should_save = True
        else:
            self._report(control, None)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        if self._picked is not None:
            self._report(control, Path(args.output_dir) / f"checkpoint-{state.global_step}")
        return control

    def _report(self, control: Any, saved: Path | None) -> None:
        def save(folder: Any) -> None:
            shutil.copytree(str(saved), Path(folder) / _FOLDER)
            (Path(folder) / _NOTES).write_text(json.dumps({"config": config}))

        config = dict(flat(self._target.config))
        self.step += 1
        picked, self._picked = self._picked or {}, None
        self.decision = self._target.report(picked, self.step, None if saved is None else save)
        if decision_ends(self.decision):
            control.should_training_stop = True
