"""Storages in which a trial stands where it stood before parameters were drawn, so that they are drawn as they were."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuneflow.storage.view import BEFORE, DelegatingStorage

__all__ = ["RedrawingStorage", "RewoundStorage"]


class RewoundStorage(DelegatingStorage):
    """An Optuna storage over another one, for a trial whose driver died when its sampler had drawn.

    What the sampler had replaced in the study by then is shown as it was before, and not written again.

    Args:
        inner: the storage below.
        trial_id: the trial.
    """

    def __init__(self, inner: BaseStorage, trial_id: int) -> None:
        super().__init__(inner)
        self._before: dict[str, Any] = self.inner.get_trial(trial_id).system_attrs.get(BEFORE, {})

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        found = {**self.inner.get_study_system_attrs(study_id), **self._before}
        return {key: value for key, value in found.items() if value is not None}

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        if key not in self._before or self.inner.get_study_system_attrs(study_id).get(key) == self._before[key]:
            self.inner.set_study_system_attr(study_id, key, value)


class RedrawingStorage(RewoundStorage):
    """The same, for a trial that is to be given all its parameters again.

    It is shown without those that were stored, and what is drawn now is kept here.

    Attributes:
        drawn: what was drawn, by name: Optuna's internal value and the distribution.

    Args:
        inner: the storage below.
        trial_id: the trial.
    """

    def __init__(self, inner: BaseStorage, trial_id: int) -> None:
        super().__init__(inner, trial_id)
        self._trial_id = trial_id
        self.drawn: dict[str, tuple[float, BaseDistribution]] = {}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._shown(self.inner.get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [self._shown(trial) for trial in self.inner.get_all_trials(study_id, deepcopy=deepcopy, states=states)]

    def _shown(self, trial: FrozenTrial) -> FrozenTrial:
        if trial._trial_id != self._trial_id:
            return trial
        shown = copy.copy(trial)
        shown.params, shown.distributions = {}, {}
        return shown

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self.drawn[param_name] = param_value_internal, distribution
