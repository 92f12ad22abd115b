"""Trials of a former driver: taken over from what the storage and their folders hold."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from tuneflow.pruners.base import Exploit, Pause
from tuneflow.study_core import StudyCore
from tuneflow.trial import Trial
from tuneflow.verdicts import PAUSED, is_paused

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["AdoptingStudy"]

_RUNNING = TrialState.RUNNING


class AdoptingStudy(StudyCore):
    """A study that can go on with what another process began."""

    def adopt(self) -> int:
        """Takes over all trials that are RUNNING, for a driver that knows itself alone.

        ``resume`` hands out those that were not paused first.

        Returns:
            How many were taken over.
        """
        left = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False, states=(_RUNNING,))
        n_adopted = self._adopt([frozen for frozen in left if frozen.number not in self._live])
        self.sharing.drivers.take_all()
        return n_adopted

    def adopt_dead(self) -> int:
        """Takes over the trials of drivers that are dead, as ``adopt`` does; looks for some every few seconds.

        Returns:
            How many were taken over.
        """
        drivers = self.sharing.drivers
        n_adopted = 0
        for dead in drivers.dead():
            with drivers.taking_over(dead) as trials:
                self.fold_others()
                n_adopted += self._adopt(trials)
        return n_adopted

    def resume(self, more: bool = True, *, busy: Container[int] = ()) -> Trial | None:
        """As ``StudyCore.resume``; trials of dead drivers are among those that may go on."""
        if self.sharing.is_possible:
            self.adopt_dead()
            self.fold_others()
        return super().resume(more, busy=busy)

    def _adopt(self, trials: list[FrozenTrial]) -> int:
        for frozen in trials:
            self._take_over(frozen.number)
            if PAUSED in frozen.user_attrs:
                self.sampling.mark_paused(frozen.number)
            if not is_paused(frozen) or self._verdicts is None:
                self._again.append(frozen.number)
        self._again.sort()
        return len(trials)

    def _take_over(self, number: int) -> Trial:
        frozen = self._storage.get_trial(self._storage_id(number))
        self.sharing.drivers.take(frozen)
        if self._verdicts is not None:
            self._verdicts.take_over(frozen)
        trial = Trial(self, frozen._trial_id, number, _RUNNING)
        steps = sorted(frozen.intermediate_values)
        trial.n_reports = len(steps)
        if steps:
            trial.last_step, trial.last_value = steps[-1], frozen.intermediate_values[steps[-1]]
        for step, config, donor in self._exploits_of(frozen):
            trial.change_config(Exploit(donor, config), step)
        if is_paused(frozen):
            trial.decision = Pause()
        self._live[number] = trial
        self.saving.adopt(number, trial.last_step or 0)
        return trial
