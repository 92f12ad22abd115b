"""Trials of a former driver: taken over from what the storage and their folders hold."""

from __future__ import annotations

from optuna.trial import TrialState

from tuneflow.pruners.base import Exploit, Pause
from tuneflow.study_core import StudyCore
from tuneflow.trial import Trial
from tuneflow.verdicts import PAUSED, is_paused

__all__ = ["AdoptingStudy"]

_RUNNING = TrialState.RUNNING


class AdoptingStudy(StudyCore):
    """A study that can go on with what another process began."""

    def adopt(self) -> int:
        """Takes over the trials that a dead driver left RUNNING; ``resume`` hands out those that were not paused first.

        Returns:
            How many were taken over.
        """
        left = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False, states=(_RUNNING,))
        adopted = [frozen for frozen in left if frozen.number not in self._live]
        for frozen in adopted:
            self._take_over(frozen.number)
            if PAUSED in frozen.user_attrs:
                self.sampling.mark_paused(frozen.number)
            if not is_paused(frozen) or self._verdicts is None:
                self._again.append(frozen.number)
        self._again.sort()
        return len(adopted)

    def _take_over(self, number: int) -> Trial:
        frozen = self._storage.get_trial(self._storage_id(number))
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
