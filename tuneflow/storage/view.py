"""A storage as samplers should see it: paused trials as pruned ones."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial

__all__ = ["PAUSED_ATTRIBUTE", "DelegatingStorage", "ViewStorage"]

DRIVER = "tuneflow:driver"
"""The system attribute of a trial: the id of the driver that it belongs to."""

WANTED = "tuneflow:wanted:"
"""With a driver's id, the system attribute of a trial that waited: this driver was about to take it."""

BEFORE = "tuneflow:before"
"""The system attribute of a trial: by key, what its sampler replaced in the study while it drew; None for nothing."""

PAUSED_ATTRIBUTE = "tuneflow:paused"
"""The user attribute of a trial that was paused, resumed or not: the step at which it was; None where it was not."""


def _delegated(name: str) -> Callable[..., Any]:
    def method(self: DelegatingStorage, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.inner, name)(*args, **kwargs)

    return method


_METHODS = [name for name, value in vars(BaseStorage).items() if callable(value) and not name.startswith("_")]

if TYPE_CHECKING:
    # For the type checker: any storage that has all methods.
    from optuna.storages import InMemoryStorage as _Delegating
else:
    # Satisfies the abstract base; an object binds the inner storage's own methods over these.
    _Delegating = type("_Delegating", (BaseStorage,), {name: _delegated(name) for name in _METHODS})


class DelegatingStorage(_Delegating):
    """An Optuna storage over another one, whose methods it has unless a subclass overrides them.

    Attributes:
        inner: the storage below.

    Args:
        inner: any Optuna storage; one over a database gets Optuna's cache, as in ``optuna.create_study``.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self.inner = get_storage(inner)
        for name in _METHODS:
            if getattr(type(self), name) is getattr(_Delegating, name):
                setattr(self, name, getattr(self.inner, name))


class ViewStorage(DelegatingStorage):
    """An Optuna storage over another one, that shows paused and resumed trials as pruned.

    Optuna knows no paused state: such a trial is RUNNING and carries the user attribute ``tuneflow:paused``. TPE
    counts every running trial among the bad ones; as a pruned trial it is ranked by its reports. ``get_all_trials`` and
    ``get_n_trials`` show it as PRUNED, with the last reported value as its value unless that is NaN, and completed at
    its start. Everything else, writing and ``get_trial`` included, is the inner storage's: the trial can go on.

    In a study of several objectives a report says nothing about their values, and TPE fails on a pruned trial that has
    reports: there all pruned trials, paused ones included, are shown without.

    Attributes:
        inner: the storage below.
        n_paused: how many running trials carry the attribute, kept by its owner. While it is 0 and ``shared`` is
            False, every call costs what it costs below.
        shared: whether others may pause trials in the same study, so that ``n_paused`` says nothing.
        made: id of the trial that is being drawn; None where none is, or where nobody could go on with it.
        marks: system attributes of every trial that is started through the view. A new one has them from the moment
            that it exists, so that a trial whose driver dies at once is known to be that driver's.

    Args:
        inner: any Optuna storage; one over a database gets Optuna's cache, as in ``optuna.create_study``.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        >>> trial = study.ask()
        >>> trial.report(0.5, step=1)
        >>> trial.set_user_attr("tuneflow:paused", 1)
        >>> view = ViewStorage(study._storage)
        >>> view.n_paused = 1
        >>> [(t.state.name, t.value) for t in view.get_all_trials(study._study_id)]
        [('PRUNED', 0.5)]
    """

    def __init__(self, inner: BaseStorage) -> None:
        super().__init__(inner)
        self.n_paused = 0
        self.shared = False
        self.marks: Mapping[str, Any] = {}
        self.made: int | None = None
        self._shown: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        is_affected = states is None or TrialState.PRUNED in states or TrialState.RUNNING in states
        if not is_affected or self._is_as_below(study_id):
            return self.inner.get_all_trials(study_id, deepcopy=deepcopy, states=states)
        below = None if states is None else [s for s in TrialState if s in states or s is TrialState.RUNNING]
        trials = self._translate(study_id, self.inner.get_all_trials(study_id, deepcopy=False, states=below))
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        if state is None or self._is_as_below(study_id):
            return self.inner.get_n_trials(study_id, state)
        states = (state,) if isinstance(state, TrialState) else state
        return len(self.get_all_trials(study_id, deepcopy=False, states=states))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is not None or not self.marks:  # a point to try, or a trial that has ended, is not drawn now
            return self.inner.create_new_trial(study_id, template_trial)
        started = create_trial(state=TrialState.RUNNING, system_attrs=dict(self.marks))
        self.made = self.inner.create_new_trial(study_id, started)
        return self.made

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if state is not TrialState.RUNNING or not self.marks:
            return self.inner.set_trial_state_values(trial_id, state, values)
        self.made = trial_id
        # A waiting trial is taken. Lest it be nobody's should this driver die at once, its wish is noted before: in a
        # place of its own, since others may want the trial too, and one of them may have just got and marked it.
        self._want(trial_id, True)
        is_ours = self.inner.set_trial_state_values(trial_id, state, values)
        if is_ours:
            for key, value in self.marks.items():
                self.inner.set_trial_system_attr(trial_id, key, value)
        else:
            self._want(trial_id, False)
        return is_ours

    def _want(self, trial_id: int, is_wanted: bool) -> None:
        with contextlib.suppress(UpdateFinishedTrialError):
            self.inner.set_trial_system_attr(trial_id, f"{WANTED}{self.marks.get(DRIVER, '')}", is_wanted)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        # Samplers count or keep something there (QMC, NSGA-II): how it was has to be known, should this driver die now.
        if self.made is not None:
            before = self.inner.get_trial(self.made).system_attrs.get(BEFORE, {})
            if key not in before:
                found = self.inner.get_study_system_attrs(study_id).get(key)
                self.inner.set_trial_system_attr(self.made, BEFORE, {**before, key: found})
        self.inner.set_study_system_attr(study_id, key, value)

    def _has_one_objective(self, study_id: int) -> bool:
        return len(self.inner.get_study_directions(study_id)) == 1

    def _is_as_below(self, study_id: int) -> bool:
        return not (self.n_paused or self.shared) and self._has_one_objective(study_id)

    def _translate(self, study_id: int, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        has_one_objective = self._has_one_objective(study_id)
        translated = []
        kept: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}
        for trial in trials:
            state = trial.state
            if (state is TrialState.RUNNING and trial.user_attrs.get(PAUSED_ATTRIBUTE) is not None) or (
                state is TrialState.PRUNED and not has_one_objective and trial.intermediate_values
            ):
                # A storage puts a new object in place of a trial that changes, so the same object is the same trial.
                seen = self._shown.get(trial._trial_id)
                if seen is None or seen[0] is not trial:
                    seen = (trial, _as_pruned(trial, has_one_objective))
                kept[trial._trial_id] = seen
                trial = seen[1]
            translated.append(trial)
        self._shown = kept
        return translated

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner, "n_paused": self.n_paused, "shared": self.shared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ViewStorage.__init__(self, state["inner"])
        self.n_paused, self.shared = state["n_paused"], state["shared"]


def _as_pruned(trial: FrozenTrial, has_one_objective: bool) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    if trial.state is not TrialState.PRUNED:
        shown.datetime_complete = trial.datetime_start
    if not has_one_objective:
        shown.intermediate_values = {}
    elif (last_step := trial.last_step) is not None:
        value = trial.intermediate_values[last_step]
        shown.values = None if math.isnan(value) else [value]
    return shown
