"""A study's dealings with its sampler: what is asked of it, and what it gets to see."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler
from optuna.trial import TrialState

from tuneflow.samplers.random import RandomSampler
from tuneflow.samplers.seeding import derive, is_reseedable, reseed
from tuneflow.storage.memory import Memory
from tuneflow.storage.redrawing import RedrawingStorage, RewoundStorage
from tuneflow.storage.view import BEFORE, ViewStorage

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["Sampling"]

_TOGETHER, _ALONE = 3, 4
"""What a generator is for, on the path that its seed is derived along."""


class _SamplingStudy(optuna.Study):
    """The study that samplers get: over the view of paused trials, and stopped when they have nothing left."""

    is_exhausted = False

    def stop(self) -> None:
        self.is_exhausted = True


class Asked(NamedTuple):
    """A trial that has just been made.

    Attributes:
        storage_id: its id in Optuna's storage.
        number: its number.
        handle: Optuna's own object for it; None where none was needed.
        drawn: the stored trial, not to be kept, where all parameters were drawn at once; None where they were not.
    """

    storage_id: int
    number: int
    handle: optuna.Trial | None
    drawn: FrozenTrial | None


class Sampling:
    """Asks Optuna's sampler, over a view of the storage in which paused trials look pruned.

    Args:
        inner: the real study.
        seed: of the study.
        is_seeded: the sampler draws from a generator of its own for each trial, derived from the seed and the
            trial's number, so that a trial's parameters do not depend on how often the process was restarted.
        n_known: trials that the study holds already.
    """

    def __init__(self, inner: optuna.Study, *, seed: int, is_seeded: bool, n_known: int) -> None:
        self._view = ViewStorage(inner._storage)
        self._study = _SamplingStudy(inner.study_name, self._view, sampler=inner.sampler, pruner=inner.pruner)
        self._seed = seed
        self._is_seeded = is_seeded and is_reseedable(inner.sampler)
        self._n_known = n_known
        self._once_paused: set[int] = set()
        if n_known:
            self._find_exhaustion()

    def _find_exhaustion(self) -> None:
        """Whether a sampler of Optuna's that enumerates has nothing left: it says so only when a trial ends."""
        study = self._study
        sampler = study.sampler
        if not isinstance(sampler, (GridSampler, BruteForceSampler)):
            return
        trials = study.get_trials(deepcopy=False)
        if not all(trial.state.is_finished() for trial in trials):
            return  # when those end it will say so
        if isinstance(sampler, GridSampler):
            study.is_exhausted = sampler.is_exhausted(study)
        elif (last := next((trial for trial in reversed(trials) if trial.params), None)) is not None:
            sampler.after_trial(study, last, last.state, last.values)

    @property
    def study(self) -> optuna.Study:
        """The study as samplers see it."""
        return self._study

    @property
    def is_exhausted(self) -> bool:
        """Whether there is nothing to try: for good, where the sampler has stopped the study (grid, brute force), or
        now, where it says so in an ``is_exhausted`` of its own. What a user has enqueued is tried all the same.
        """
        # Optuna's GridSampler has a method of that name, and stops the study besides.
        if getattr(self._study.sampler, "is_exhausted", False) is True:
            return True
        return self._study.is_exhausted and not self._is_any_waiting()

    def _is_any_waiting(self) -> bool:
        storage, study_id = self._view.inner, self._study._study_id
        return bool(storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,)))

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution] | None,
        point: Mapping[str, Any] | None = None,
        *,
        marks: Mapping[str, Any] | None = None,
        company: int = 0,
    ) -> Asked:
        """A waiting trial, or a new one.

        Args:
            distributions: suggested at once.
            point: parameters that are not to be sampled; what a waiting trial was given goes before them.
            marks: system attributes to store with the trial.
            company: 0 for the only driver of the study; else a number of this driver's own, so that drivers with the
                same seed do not all try the same.
        """
        if self._is_seeded:
            path = (self._n_known, company) if company else (self._n_known,)
            reseed(self._study.sampler, derive(self._seed, *path))
        self._view.marks = marks or {}
        try:
            asked = self._draw(distributions or {}, marks) if not point else None
            if asked is None:
                trial = self._ask_at(distributions or {}, point) if point else self._study.ask(distributions)  # type: ignore[arg-type]
                asked = Asked(trial._trial_id, trial.number, trial, None)
        finally:
            self._view.made = None
        self._n_known = asked.number + 1
        return asked

    def _ask_at(self, distributions: Mapping[str, BaseDistribution], point: Mapping[str, Any]) -> optuna.Trial:
        trial = self._study.ask()
        _suggest(trial, distributions, point)
        return trial

    def _draw(self, distributions: Mapping[str, BaseDistribution], marks: Mapping[str, Any] | None) -> Asked | None:
        """A new trial of a sampler that looks at no other one, written in one go; None where that cannot be."""
        study, storage = self._study, self._view.inner
        if not distributions or not isinstance(study.sampler, RandomSampler) or self._is_any_waiting():
            return None
        drawn = study.sampler.draw(distributions)
        drawn.system_attrs.update(marks or {})
        take_in = storage.take_in if isinstance(storage, Memory) else storage.create_new_trial
        storage_id = take_in(study._study_id, drawn)
        number = drawn.number if drawn.number >= 0 else storage.get_trial_number_from_id(storage_id)
        return Asked(storage_id, number, None, drawn)

    def trial(self, storage_id: int, number: int) -> optuna.Trial:
        """A trial that was started before."""
        if self._is_seeded:
            reseed(self._study.sampler, derive(self._seed, number))
        return optuna.Trial(self._study, storage_id)

    def prepare(self, trial: optuna.Trial, number: int, name: str) -> None:
        """A trial that is defined by run is about to ask for a parameter: it is drawn as it would be in any process.

        Its generator follows from the study's seed, the trial's number and the parameter's name, not from what was
        drawn before. What the sampler proposes for several parameters together comes with the first of them.
        """
        if not self._is_seeded or name in trial._cached_frozen_trial.params or name in trial._fixed_params:
            return
        if trial._relative_params is None:
            reseed(self._study.sampler, derive(self._seed, number, _TOGETHER))
            self._propose(trial)
        reseed(self._study.sampler, derive(self._seed, number, _ALONE, zlib.crc32(name.encode())))

    def _propose(self, trial: optuna.Trial) -> None:
        """Has the sampler propose parameters together; as it did, where a driver before this one had it do so."""
        study, self._view.made = trial.study, trial._trial_id
        try:
            if BEFORE in trial._cached_frozen_trial.system_attrs:
                rewound = RewoundStorage(self._view, trial._trial_id)
                trial.study = _SamplingStudy(study.study_name, rewound, sampler=study.sampler, pruner=study.pruner)
            _ = trial.relative_params
        finally:
            trial.study, self._view.made = study, None

    def complete(
        self, storage_id: int, number: int, distributions: Mapping[str, BaseDistribution], point: Mapping[str, Any]
    ) -> None:
        """Has the missing parameters drawn of a trial whose driver died while it was made, as they would have been.

        Args:
            storage_id: the trial's id in Optuna's storage.
            number: its number.
            distributions: of all its parameters.
            point: parameters that are not to be sampled.
        """
        self._view.made = storage_id
        try:
            if not self._is_seeded or not self._redraw(storage_id, number, distributions, point):
                _suggest(optuna.Trial(self._study, storage_id), distributions, point)
        finally:
            self._view.made = None

    def _redraw(
        self, storage_id: int, number: int, distributions: Mapping[str, BaseDistribution], point: Mapping[str, Any]
    ) -> bool:
        """Draws all parameters again, as the generator has to stand where it stood, and stores the missing ones.

        Returns:
            False where those that are stored were drawn otherwise, by a driver beside others; then nothing is stored.
        """
        stored = self._view.get_trial(storage_id)
        reseed(self._study.sampler, derive(self._seed, number))
        redrawing = RedrawingStorage(self._view, storage_id)
        study = _SamplingStudy(self._study.study_name, redrawing, sampler=self._study.sampler)
        _suggest(optuna.Trial(study, storage_id), distributions, point)
        for name, (value, _) in redrawing.drawn.items():
            if name in stored.params and stored.distributions[name].to_internal_repr(stored.params[name]) != value:
                # What is missing is not to repeat what is there.
                reseed(self._study.sampler, derive(self._seed, number, 2))
                return False
        for name, (value, distribution) in redrawing.drawn.items():
            if name not in stored.params:
                self._view.set_trial_param(storage_id, name, value, distribution)
        return True

    def enqueue(self, point: Mapping[str, Any], user_attrs: dict[str, Any] | None, *, skip_if_exists: bool) -> None:
        """Has a point tried next."""
        self._study.enqueue_trial(dict(point), user_attrs=user_attrs, skip_if_exists=skip_if_exists)

    def end(self, number: int, storage_id: int, state: TrialState, values: list[float] | None) -> None:
        """Lets the sampler learn from a trial and writes its end."""
        storage, study = self._view.inner, self._study
        study._thread_local.cached_all_trials = None
        try:
            if type(study.sampler).after_trial is not BaseSampler.after_trial:
                study.sampler.after_trial(study, storage.get_trial(storage_id), state, values)
        finally:
            storage.set_trial_state_values(storage_id, state, values)
        if number in self._once_paused:
            self._once_paused.discard(number)
            self._view.n_paused = len(self._once_paused)

    def mark_paused(self, number: int) -> None:
        """From now on samplers see this trial as pruned, also when it is resumed."""
        self._once_paused.add(number)
        self._view.n_paused = len(self._once_paused)

    def share(self) -> None:
        """Others may pause trials in this study too."""
        self._view.shared = True

    def would_prune(self, storage_id: int) -> bool:
        """Whether the study's Optuna pruner would stop a trial after its last report."""
        return self._study.pruner.prune(self._study, self._view.inner.get_trial(storage_id))


def _suggest(trial: optuna.Trial, distributions: Mapping[str, BaseDistribution], point: Mapping[str, Any]) -> None:
    """Gives a trial all its parameters; those in ``point`` are not sampled."""
    trial._fixed_params = {**point, **trial._fixed_params}
    for name, distribution in distributions.items():
        trial._suggest(name, distribution)
