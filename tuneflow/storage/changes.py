"""What others have changed in a study that several drivers share."""

from __future__ import annotations

from typing import Protocol

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from tuneflow.storage.journal_storage import Journal

__all__ = ["Changes", "changes_of"]


class Changes(Protocol):
    """Hands out the trials that may have been changed by others since the last call, in order of number."""

    def take(self) -> list[FrozenTrial]:
        """The trials; the first call returns none of those that are there already."""
        ...


class _JournalChanges:
    """A journal tells who wrote what."""

    def __init__(self, storage: Journal, study_id: int) -> None:
        self._storage, self._study_id = storage, study_id
        self.take()

    def take(self) -> list[FrozenTrial]:
        return self._storage.take_changes(self._study_id)


class _DatabaseChanges:
    """Any other storage is read and compared; trials that have ended are compared no more."""

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self._storage, self._study_id = storage, study_id
        self._seen: dict[int, tuple[object, ...]] = {}
        self._n_over = 0
        self.take()

    def take(self) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        changed = []
        for trial in trials[self._n_over :]:
            mark = (trial.state, len(trial.intermediate_values), len(trial.user_attrs), len(trial.params))
            if self._seen.get(trial.number) != mark:
                self._seen[trial.number] = mark
                changed.append(trial)
        while self._n_over < len(trials) and trials[self._n_over].state.is_finished():
            self._seen.pop(self._n_over, None)
            self._n_over += 1
        return changed


def changes_of(storage: BaseStorage, study_id: int) -> Changes:
    """What others change in a study from now on."""
    if isinstance(storage, Journal):
        return _JournalChanges(storage, study_id)
    return _DatabaseChanges(storage, study_id)
