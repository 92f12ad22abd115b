"""A study in memory, in which a report costs the same whatever came before it."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

__all__ = ["Memory"]


class Memory(InMemoryStorage):
    """Optuna's in-memory storage, without a copy of the trial at every write.

    What a storage hands out must not change under its reader. Optuna's own copies the trial, and all that it has
    reported so far, for each value that is written. Here a trial is copied before a write only if it was handed out
    since it was copied last; else it is written to in place. As there, an object that was handed out never changes.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(storage=Memory())
        >>> trial = study.ask()
        >>> before = study.trials[0]
        >>> trial.report(0.5, step=1)
        >>> before.intermediate_values, study.trials[0].intermediate_values
        ({}, {1: 0.5})
    """

    def __init__(self) -> None:
        super().__init__()
        self._own: dict[int, FrozenTrial] = {}
        """By id: the trials that go on and that nobody else holds, the very objects that are stored."""

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._lock:
            self._check_study_id(study_id)
            trial = self._create_running_trial() if template_trial is None else _copy(template_trial)
            for attrs in (trial.user_attrs, trial.system_attrs):
                if attrs:
                    attrs.update(copy.deepcopy(attrs))
            return self.take_in(study_id, trial)

    def take_in(self, study_id: int, trial: FrozenTrial) -> int:
        """Stores a new trial, the object itself, which nobody else may hold. Returns its id."""
        with self._lock:
            trials = self._studies[study_id].trials
            trial_id = self._max_trial_id = self._max_trial_id + 1
            trial.number, trial._trial_id = len(trials), trial_id
            self._trial_id_to_study_id_and_number[trial_id] = (study_id, trial.number)
            trials.append(trial)
            if trial.state.is_finished():
                self._update_cache(trial_id, study_id)
            else:
                self._own[trial_id] = trial
            return trial_id

    def delete_study(self, study_id: int) -> None:
        with self._lock:
            super().delete_study(study_id)
            self._own.clear()

    # Reading

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._lock:
            self._own.pop(trial_id, None)
            return self._get_trial(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        with self._lock:
            trials = super().get_all_trials(study_id, deepcopy, states)
            # Those that have ended are not written to any more.
            if (
                trials
                and not deepcopy
                and (states is None or TrialState.RUNNING in states or TrialState.WAITING in states)
            ):
                self._own.clear()
            return trials

    # Writing

    def _writable(self, trial_id: int) -> FrozenTrial:
        """The stored trial, as an object that nobody else holds. The lock is held.

        Raises:
            KeyError: there is no such trial.
            optuna.exceptions.UpdateFinishedTrialError: it has ended.
        """
        own = self._own.get(trial_id)
        if own is None:
            trial = self._get_trial(trial_id)
            self.check_trial_is_updatable(trial_id, trial.state)
            own = self._own[trial_id] = _copy(trial)
            self._set_trial(trial_id, own)
        return own

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        with self._lock:
            trial = self._writable(trial_id)
            study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
            known = self._studies[study_id].param_distribution
            if param_name in known:
                check_distribution_compatibility(known[param_name], distribution)
            known[param_name] = distribution
            trial.params[param_name] = distribution.to_external_repr(param_value_internal)
            trial.distributions[param_name] = distribution

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        with self._lock:
            trial = self._writable(trial_id)
            if state is TrialState.RUNNING and trial.state is not TrialState.WAITING:
                return False
            trial.state = state
            if values is not None:
                trial.values = values
            if state is TrialState.RUNNING:
                trial.datetime_start = datetime.now()  # noqa: TID251 - Optuna's storages take this time themselves
            elif state.is_finished():
                trial.datetime_complete = datetime.now()  # noqa: TID251
                del self._own[trial_id]
                self._update_cache(trial_id, self._trial_id_to_study_id_and_number[trial_id][0])
            return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._lock:
            self._writable(trial_id).intermediate_values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._lock:
            self._writable(trial_id).user_attrs[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._lock:
            self._writable(trial_id).system_attrs[key] = value


def _copy(trial: FrozenTrial) -> FrozenTrial:
    """A copy that shares nothing that can change; ``copy.copy`` takes three times as long."""
    copied = FrozenTrial.__new__(FrozenTrial)
    fields = copied.__dict__
    fields.update(trial.__dict__)
    for name in ("_params", "_distributions", "_user_attrs", "_system_attrs", "intermediate_values"):
        fields[name] = fields[name].copy()
    return copied
