"""A sampler around another one that gets to see the study's trials otherwise than they are."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuneflow.samplers.seeding import reseed
from tuneflow.storage.view import DelegatingStorage

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

__all__ = ["WrappingSampler", "shown_as"]


class WrappingSampler(BaseSampler):
    """Passes everything on to another sampler, over a view of the study that a subclass makes.

    What the inner sampler writes reaches the real study; what it reads is what ``show`` makes of it.

    Args:
        sampler: the inner one.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler = sampler
        self._study: _ShownStudy | None = None

    @abstractmethod
    def show(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials of a study as the inner sampler is to see them: as many, in the same order, by copies."""

    def shown(self, study: Study) -> Study:
        """The study over which the inner sampler is asked."""
        known = self._study
        if known is None or known.below is not study._storage or known.study_name != study.study_name:
            storage = _ShownStorage(study._storage, self)
            known = self._study = _ShownStudy(study.study_name, storage, sampler=self.sampler, pruner=study.pruner)
            known.below = study._storage
        known.outer = study
        known._thread_local.cached_all_trials = None
        return known

    # Optuna's sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.sampler.before_trial(self.shown(study), trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(self.shown(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(self.shown(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(self.shown(study), trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self.sampler.reseed_rng()

    def reseed_for_trial(self, seed: int) -> None:
        """Seeds the inner sampler; see ``tuneflow.samplers.seeding``."""
        reseed(self.sampler, seed)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_study": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sampler!r})"


class _ShownStudy(optuna.Study):
    """What the inner sampler is given; when it has nothing left, that is said to the real study."""

    below: BaseStorage
    outer: Study

    def stop(self) -> None:
        self.outer.stop()


class _ShownStorage(DelegatingStorage):
    """The storage of a study that is shown."""

    def __init__(self, inner: BaseStorage, sampler: WrappingSampler) -> None:
        super().__init__(inner)
        self._sampler = sampler

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._sampler.show(self.inner.get_all_trials(study_id, deepcopy=False))
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        states = (state,) if isinstance(state, TrialState) else state
        return len(self.get_all_trials(study_id, deepcopy=False, states=states))

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return BaseStorage.get_best_trial(self, study_id)


def shown_as(trial: FrozenTrial, state: TrialState, values: list[float] | None = None) -> FrozenTrial:
    """A copy of a trial in another state, with other values."""
    shown = copy.copy(trial)
    shown.state = state
    shown.values = values
    if state is TrialState.RUNNING:
        shown.datetime_complete = None
        shown.intermediate_values = {}
    elif shown.datetime_complete is None:
        shown.datetime_complete = trial.datetime_start
    return shown
