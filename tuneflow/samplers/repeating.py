"""The same parameters several times: a sampler learns the mean of the repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from tuneflow.arguments import check_whole
from tuneflow.samplers.wrapping import WrappingSampler, shown_as
from tuneflow.storage.view import DRIVER

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

__all__ = ["REPEAT_OF", "RepeatingSampler"]

REPEAT_OF = "tuneflow:repeat_of"
"""The user attribute of every trial: the number of the first trial with its parameters, its own for that one."""

_GIVEN = "tuneflow:given"  # natural values that a user gave the first trial and that parameters cannot carry


class RepeatingSampler(WrappingSampler):
    """Gives every configuration to several trials; to the sampler inside they are one, with the mean of their values.

    A new trial repeats the oldest configuration that has fewer than ``repeat`` trials, unless its first trial runs in
    another driver of the study; where there is none, the sampler proposes a new one. A point of a user's
    (``enqueue_trial``) begins a configuration of its own, unless it is one that was tried already, which it then
    repeats once more. Groups are stored with the trials, so that a restarted study goes on with them.

    To the sampler inside, the first trial of a configuration runs until all its repeats have ended. Then it has the
    mean of the values that they have, NaN and failed ones left out; it is COMPLETE where any of them is, else PRUNED or
    FAIL. The other repeats look failed to it, which every sampler ignores.

    Args:
        sampler: what proposes parameters.
        repeat: trials of a configuration, >= 1.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=RepeatingSampler(optuna.samplers.TPESampler(seed=0), 2))
        >>> space = {"x": optuna.distributions.FloatDistribution(0, 1)}
        >>> first, second = study.ask(space), study.ask(space)
        >>> first.params == second.params
        True
        >>> _ = study.tell(first, 1.0), study.tell(second, 2.0)
        >>> study.sampler.shown(study).best_value
        1.5
    """

    def __init__(self, sampler: BaseSampler, repeat: int) -> None:
        super().__init__(sampler)
        self.repeat = check_whole("repeat", repeat, 1)
        self._told: dict[int, tuple[TrialState, Sequence[float] | None]] = {}
        self._heard: set[int] = set()  # configurations that the sampler inside was told of

    # Groups

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if REPEAT_OF not in trial.user_attrs:
            leader = self._leader_for(study, trial)
            attrs = {REPEAT_OF: trial.number if leader is None else leader.number}
            if leader is not None and _GIVEN in leader.user_attrs:
                attrs[_GIVEN] = leader.user_attrs[_GIVEN]
            for name, value in attrs.items():
                study._storage.set_trial_user_attr(trial._trial_id, name, value)
            trial.user_attrs = {**trial.user_attrs, **attrs}
        if self._leads(trial):
            super().before_trial(study, trial)

    def _leader_for(self, study: Study, trial: FrozenTrial) -> FrozenTrial | None:
        """The first trial of the configuration that a new one is to repeat; None where it begins one."""
        fixed = trial.system_attrs.get("fixed_params")
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        for number, group in _groups(trials).items():
            leader = trials[number]
            if leader.state is TrialState.RUNNING and leader.system_attrs.get(DRIVER) != trial.system_attrs.get(DRIVER):
                continue  # another driver may be at drawing its parameters
            if leader.params == fixed if fixed else len(group) < self.repeat:
                return leader
        return None

    @staticmethod
    def _leads(trial: FrozenTrial) -> bool:
        return bool(trial.user_attrs.get(REPEAT_OF, trial.number) == trial.number)

    def show(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        shown = list(trials)
        for number, group in _groups(trials).items():
            if number != group[0].number:
                continue  # its first trial is in no list that is shown here
            for trial in group[1:]:
                shown[trial.number] = shown_as(trial, TrialState.FAIL)
            shown[number] = self._together(group)
        return shown

    def _together(self, group: Sequence[FrozenTrial]) -> FrozenTrial:
        """The first trial as the sampler sees it: with what all repeats came to."""
        ends = [self._told.get(trial.number) or _end_of(trial) for trial in group]  # Optuna tells, then writes
        leader = group[0]
        if len(group) < self.repeat or not all(state.is_finished() for state, _ in ends):
            return leader if leader.state is TrialState.WAITING else shown_as(leader, TrialState.RUNNING)
        states = [state for state, _ in ends]
        state = next((s for s in (TrialState.COMPLETE, TrialState.PRUNED) if s in states), TrialState.FAIL)
        return shown_as(leader, state, None if state is TrialState.FAIL else _means([values for _, values in ends]))

    # Sampling

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(study, trial) if self._leads(trial) else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(study, trial, search_space) if self._leads(trial) else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        known = self._known_params(study, trial)
        if param_name in known:
            value = known[param_name]
            if param_distribution._contains(param_distribution.to_internal_repr(value)):
                return value
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _known_params(self, study: Study, trial: FrozenTrial) -> Mapping[str, Any]:
        """What the other trials of the configuration were given, as far as they have asked for it."""
        leader = trial.user_attrs.get(REPEAT_OF, trial.number)
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        known: dict[str, Any] = trials[leader].params
        if leader != trial.number and known:
            return known
        return {
            name: value
            for other in reversed(_groups(trials).get(leader, ()))
            if other.number != trial.number
            for name, value in other.params.items()
        }

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._told[trial.number] = (state, values)
        leader = trial.user_attrs.get(REPEAT_OF, trial.number)
        shown = self.shown(study)
        together = shown.get_trials(deepcopy=False)[leader]
        if not together.state.is_finished():
            return
        if leader not in self._heard:
            self._heard.add(leader)
            self.sampler.after_trial(shown, together, together.state, together.values)


def _end_of(trial: FrozenTrial) -> tuple[TrialState, Sequence[float] | None]:
    return trial.state, trial.values


def _groups(trials: Sequence[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """The trials of each configuration by the number of its first one, in order."""
    groups: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        leader = trial.user_attrs.get(REPEAT_OF)
        if leader is not None:
            groups.setdefault(leader, []).append(trial)
    return groups


def _means(values: Sequence[Sequence[float] | None]) -> list[float] | None:
    """The mean of each objective over those that have values; NaN is none."""
    known = [listed for listed in values if listed is not None and not any(map(math.isnan, listed))]
    return [sum(column) / len(known) for column in zip(*known, strict=True)] if known else None
