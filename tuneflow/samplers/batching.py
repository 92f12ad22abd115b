"""Results in batches: a sampler learns of a batch once all of it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from tuneflow.arguments import check_whole
from tuneflow.samplers.wrapping import WrappingSampler, shown_as

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["BatchingSampler"]


class BatchingSampler(WrappingSampler):
    """Keeps results back until every trial of a batch has ended, failed or paused.

    Trials 0 to ``batch_size - 1`` are the first batch, and so on by number. Until a batch is over, its trials look as
    though they were running and had reported nothing. So what a trial is given does not depend on which of the batch
    before it ended first, and a restarted study goes on with the same batches.

    Args:
        sampler: what proposes parameters.
        batch_size: trials of a batch, >= 1.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=BatchingSampler(optuna.samplers.TPESampler(seed=0), 2))
        >>> first, second = study.ask(), study.ask()
        >>> _ = study.tell(first, 1.0)
        >>> [trial.state.name for trial in study.sampler.shown(study).trials]
        ['RUNNING', 'RUNNING']
        >>> _ = study.tell(second, 2.0)
        >>> [trial.state.name for trial in study.sampler.shown(study).trials]
        ['COMPLETE', 'COMPLETE']
    """

    def __init__(self, sampler: BaseSampler, batch_size: int) -> None:
        super().__init__(sampler)
        self.batch_size = check_whole("batch_size", batch_size, 1)
        self._told: dict[int, tuple[TrialState, Sequence[float] | None]] = {}

    def show(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        shown: list[FrozenTrial] = []
        for start in range(0, len(trials), self.batch_size):
            batch = [self._as_told(trial) for trial in trials[start : start + self.batch_size]]
            is_over = len(batch) == self.batch_size and all(trial.state.is_finished() for trial in batch)
            shown += batch if is_over else [self._kept_back(trial) for trial in batch]
        return shown

    def _as_told(self, trial: FrozenTrial) -> FrozenTrial:
        """Optuna tells its sampler of an end before it writes it down."""
        if trial.number not in self._told:
            return trial
        state, values = self._told[trial.number]
        return shown_as(trial, state, None if values is None else list(values))

    def _kept_back(self, trial: FrozenTrial) -> FrozenTrial:
        return trial if trial.state is TrialState.WAITING else shown_as(trial, TrialState.RUNNING)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._told[trial.number] = (state, values)
        first = trial.number // self.batch_size * self.batch_size
        numbers = range(first, first + self.batch_size)
        shown = self.shown(study)
        batch = [other for other in shown.get_trials(deepcopy=False) if other.number in numbers]
        if len(batch) < self.batch_size or not all(other.state.is_finished() for other in batch):
            return
        for other in batch:
            if other.number in self._told:
                ended, told = self._told.pop(other.number)
                self.sampler.after_trial(shown, other, ended, told)
