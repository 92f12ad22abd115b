"""What a tuner prints while it runs, in KerasTuner's form."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks import Callback
from tuneflow.clock import Clock
from tuneflow.hyperparameters import Objective
from tuneflow.trainable.hypermodel_trial import NOTES
from tuneflow.tuners.ranking import Ranking

if TYPE_CHECKING:
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["Progress", "duration"]

_WIDTH = 18


def duration(seconds: float) -> str:
    """A time span.

    Example:
        >>> duration(3725.2)
        '01h 02m 05s'
    """
    total = round(seconds)
    days, total = divmod(total, 86400)
    hours, total = divmod(total, 3600)
    minutes, total = divmod(total, 60)
    text = f"{hours:02d}h {minutes:02d}m {total:02d}s"
    return f"{days}d {text}" if days else text


class Progress(Callback):
    """Says which trial starts, with what it ends, and what is best so far. Numbers count from 1, as in KerasTuner.

    Hyperparameters are drawn as they are met, so that the table comes with the trial's first report, or at its end.
    """

    def __init__(self, objective: Objective, ranking: Ranking, clock: Clock) -> None:
        self._objective, self._ranking, self._clock = objective, ranking, clock
        self._began_s: dict[int, float] = {}
        self._shown: set[int] = set()
        self._start_s = clock.monotonic()

    def on_study_start(self, study: Study) -> None:
        self._start_s = self._clock.monotonic()

    def on_trial_start(self, trial: Trial) -> None:
        self._began_s[trial.number] = self._clock.monotonic()
        self._write(["", f"Search: Running Trial #{trial.number + 1}"])

    def on_trial_resume(self, trial: Trial) -> None:
        self._began_s.setdefault(trial.number, self._clock.monotonic())
        self._write(["", f"Search: Trial #{trial.number + 1} goes on after epoch {trial.start_step}"])

    def on_trial_pause(self, trial: Trial) -> None:
        self._write([f"Trial {trial.number + 1} paused at epoch {trial.last_step}"])

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        if trial.number not in self._shown:
            self._shown.add(trial.number)
            self._write(self._table(trial.params))

    def on_trial_end(self, trial: Trial) -> None:
        notes = trial.user_attrs.get(NOTES) or {}
        lines = []
        if trial.number not in self._shown:
            lines += self._table(notes.get("values", trial.params))
        self._shown.discard(trial.number)
        taken_s = self._clock.monotonic() - self._began_s.pop(trial.number, self._clock.monotonic())
        ended = {"COMPLETE": "Complete", "PRUNED": "Pruned"}.get(trial.state.name, "Failed")
        lines += ["", f"Trial {trial.number + 1} {ended} [{duration(taken_s)}]"]
        if notes.get("score") is not None:
            lines.append(f"{self._objective.name}: {notes['score']}")
        elif trial.error is not None:
            lines.append(str(trial.error))
        best = self._ranking.at(0)
        lines += [
            "",
            f"Best {self._objective.name} So Far: {None if best is None else best.score}",
            f"Total elapsed time: {duration(self._clock.monotonic() - self._start_s)}",
        ]
        self._write(lines)

    def _table(self, values: dict[str, Any]) -> list[str]:
        if not values:
            return ["default configuration"]
        best = self._ranking.at(0)
        known = {} if best is None else best.values
        rows = [("Value", "Best Value So Far", "Hyperparameter")]
        rows += [(_cell(value), _cell(known.get(name)) if known else "?", name) for name, value in values.items()]
        return ["", *(f"{value:{_WIDTH}}|{best_value:{_WIDTH}}|{name}" for value, best_value, name in rows)]

    @staticmethod
    def _write(lines: list[str]) -> None:
        sys.stdout.write("\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.5g}"
    text = str(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
