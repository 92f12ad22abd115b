"""What a study does because others may work on it too."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tuneflow.drivers import DRIVER, Drivers
from tuneflow.storage.changes import Changes, changes_of
from tuneflow.storage.journal_storage import Journal

__all__ = ["Sharing"]


class Sharing:
    """The other drivers of a study, and what they report.

    In a study in memory there are none, and nothing here costs anything. A journal tells at no cost what others have
    written. A database is asked only while others are there: another driver that lives, or trials that somebody else
    has made.

    Attributes:
        drivers: who they are.
        is_possible: whether anybody else can reach the study.
        has_company: whether others have been seen at work on the study.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.drivers = Drivers(study)  # by the machine's clock, also where the study's is a simulation's
        self.is_possible = bool(self.drivers.id)
        self._study = study
        self._is_cheap = isinstance(study._storage, Journal)
        self._changes: Changes | None = None
        self.has_company = False
        self._n_next = 0

    @property
    def company(self) -> int:
        """0 for a driver that has never met another one; else a number that tells it from the others."""
        if not self.is_possible:
            return 0
        self.drivers.register()
        self.drivers.others()
        self.has_company = self.has_company or self.drivers.has_met
        return int(self.drivers.id[:7], 16) + 1 if self.drivers.has_met else 0

    def watch(self) -> None:
        """From now on changes are counted; called before the stored trials are read."""
        if self.is_possible:
            self._changes = changes_of(self._study._storage, self._study._study_id)

    def started(self, number: int) -> None:
        """A trial of our own was made: a gap before its number is somebody else's."""
        self.has_company = self.has_company or number > self._n_next
        self._n_next = number + 1

    def begin_at(self, n_known: int) -> None:
        """So many trials were there when this driver came."""
        self._n_next = n_known

    def changes(self) -> list[FrozenTrial]:
        """The trials of others that have changed since the last call, in order of number."""
        if self._changes is None or not (self._is_cheap or self.has_company):
            return []
        changed = self._changes.take()
        if changed:
            own_ids = self.drivers.own_ids
            changed = [trial for trial in changed if trial.system_attrs.get(DRIVER) not in own_ids]
            self.has_company = self.has_company or bool(changed)
        return changed

    def belongs_to(self, trial: FrozenTrial) -> Any:
        """The id of the driver that a trial belongs to; None where it was made by something else."""
        return trial.system_attrs.get(DRIVER)
