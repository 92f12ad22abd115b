"""The trials of a search in order of merit."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from tuneflow.hyperparameters import Objective
from tuneflow.trainable.hypermodel_trial import NOTES

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Entry", "Ranking"]


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A trial that has a score; the least is the best.

    Attributes:
        is_pruned: a pruner has stopped it; such trials come after complete ones.
        loss: the score turned so that lower is better.
        number: of the trial.
        score: what it told, or its best epoch's value where it was stopped.
        values: its hyperparameters.
    """

    is_pruned: bool
    loss: float
    number: int
    score: float = field(compare=False)
    values: dict[str, Any] = field(compare=False)


class Ranking:
    """Keeps trials in order as they end.

    Args:
        objective: what is optimised.
        trials: those known already.
    """

    def __init__(self, objective: Objective, trials: Iterable[FrozenTrial] = ()) -> None:
        self._objective = objective
        entries = (self._entry(trial.number, trial.state, trial.user_attrs.get(NOTES)) for trial in trials)
        self._entries = sorted(entry for entry in entries if entry is not None)

    def add(self, number: int, state: TrialState, notes: Any) -> Entry | None:
        """Takes in a trial that ended. None where it has no score."""
        entry = self._entry(number, state, notes)
        if entry is not None:
            bisect.insort(self._entries, entry)
        return entry

    def best(self, n: int = 1) -> list[Entry]:
        """The first ``n``; fewer where there are no more."""
        return self._entries[:n]

    def after(self, n: int) -> list[Entry]:
        """All but the first ``n``."""
        return self._entries[n:]

    def at(self, index: int) -> Entry | None:
        """The trial in this place, from 0; None where there are not so many."""
        return self._entries[index] if index < len(self._entries) else None

    def place(self, entry: Entry) -> int:
        """The place of a trial, from 0."""
        return bisect.bisect_left(self._entries, entry)

    def _entry(self, number: int, state: TrialState, notes: Any) -> Entry | None:
        if state not in (TrialState.COMPLETE, TrialState.PRUNED) or not isinstance(notes, dict):
            return None
        score = notes.get("score")
        if not isinstance(score, (int, float)) or math.isnan(score):
            return None
        loss = self._objective.loss(score)
        return Entry(state is TrialState.PRUNED, loss, number, float(score), dict(notes.get("values", {})))
