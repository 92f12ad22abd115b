"""What samplers over other libraries share: the space, the history, the randomness."""

from __future__ import annotations

import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace

from tuneflow.errors import InvalidArgument
from tuneflow.samplers.axes import is_within
from tuneflow.samplers.ledger import Ledger, Observation, Running
from tuneflow.samplers.random import RandomSampler
from tuneflow.samplers.seeding import reseed

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["Distributions", "ForeignSampler", "Model", "refuse"]

Distributions = Mapping[str, BaseDistribution]

_MAX_MODELS = 32
"""More spaces than a study has, unless its ranges change from trial to trial."""


class Model(ABC):
    """A library's optimiser over one fixed space. It is told every observation once, in order."""

    @abstractmethod
    def observe(self, seen: Observation) -> None:
        """Learns from a trial, whose parameters are all there and within the space (but see ``takes_partial``).

        Args:
            seen: its ``number`` stood in an earlier call if the trial was paused then; what is given now replaces that.
        """

    @abstractmethod
    def suggest(self, number: int, running: Sequence[Running]) -> dict[str, Any]:
        """All parameters of the space for the trial of that number, as plain Python values.

        Args:
            number: the trial that asks.
            running: other trials that run now; their parameters need not fit the space.
        """

    def reseed(self, seed: int) -> None:  # noqa: B027 - most have no randomness of their own
        """Lets what is drawn from now on follow from ``seed``. Nothing to do where the sampler's ``rng`` is used."""


class ForeignSampler(BaseSampler, ABC):
    """An Optuna sampler over a library that has its own idea of spaces and history.

    The space is what all trials so far have in common, pruned ones included, as with Optuna's own samplers, and
    ``search_space``, which is therefore known from the first trial on. For each space the library's optimiser is made
    once and told each trial once. Parameters outside of it (conditional ones, ranges that change, everything in the
    first trial of a space that is not declared) are drawn at random, or modelled on their own where the library can.

    A pruned or paused trial teaches its last report. Failed trials, and those that were pruned before they reported,
    teach nothing. Constraints are not known to these libraries.

    Args:
        search_space: parameters known beforehand, as Optuna distributions by name.
        seed: an integer >= 0; None for a random one.

    Attributes:
        rng: the randomness of what is drawn next.
        seed: what ``rng`` was last made of.

    Raises:
        InvalidArgument: the library cannot express a distribution of ``search_space``.
    """

    takes_partial: ClassVar[bool] = False
    """Whether a trial that lacks parameters of a space is an observation in it all the same."""

    models_alone: ClassVar[bool] = False
    """Whether a parameter outside of the space gets a model of its own, rather than a random draw."""

    def __init__(self, search_space: Distributions | None = None, *, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
            raise InvalidArgument(f"seed={seed!r} must be an integer >= 0, or None for a random one")
        self._declared = {name: d for name, d in (search_space or {}).items() if not d.single()}
        self.check(self._declared)
        self.seed = secrets.randbits(32) if seed is None else int(seed)
        self.rng = np.random.default_rng(self.seed)
        self._random = RandomSampler(seed=self.seed & 0xFFFFFFFF)
        self._start_over()
        self._lock = threading.RLock()

    def _start_over(self) -> None:
        self._common = IntersectionSearchSpace(include_pruned=True)
        self._models: dict[tuple[tuple[str, BaseDistribution], ...], tuple[Model, int]] = {}
        if not hasattr(self, "_ledger"):
            self._ledger = Ledger()

    @abstractmethod
    def check(self, space: Distributions) -> None:
        """Raises ``InvalidArgument`` where the library cannot express a distribution; see ``refuse``."""

    @abstractmethod
    def make_model(self, space: Distributions) -> Model:
        """A fresh optimiser over a space that was checked: one parameter or more, none with a single value."""

    # What Optuna calls.

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        with self._lock:
            self._follow(study, trial)
            common = self._common.calculate(study, use_cache=True)
            found = {name: d for name, d in common.items() if name not in self._declared and not d.single()}
            return {**self._declared, **found}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        with self._lock:
            self._follow(study, trial)
            return self._suggest(search_space, trial)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        alone = {param_name: param_distribution}
        with self._lock:
            self._follow(study, trial)
            if self.models_alone:
                return self._suggest(alone, trial)[param_name]
            self.check(alone)
            return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        with self._lock:
            self.reseed_for_trial(secrets.randbits(32))

    def reseed_for_trial(self, seed: int) -> None:
        """What a Study with a seed calls before each trial, so that its parameters do not depend on restarts."""
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        reseed(self._random, seed & 0xFFFFFFFF)
        for model, _ in self._models.values():
            model.reseed(seed)

    # What they have in common.

    def _follow(self, study: Study, trial: FrozenTrial) -> None:
        if self._ledger.follow(study, trial.number):
            self._start_over()

    def _suggest(self, space: Distributions, trial: FrozenTrial) -> dict[str, Any]:
        key = tuple(space.items())
        if key in self._models:
            model, n_told = self._models.pop(key)
        else:
            self.check(space)
            model, n_told = self.make_model(space), 0
        observations = self._ledger.observations
        for seen in observations[n_told:]:
            if self._fits(seen, space):
                model.observe(seen)
        self._models[key] = model, len(observations)  # the space used last stands last
        if len(self._models) > _MAX_MODELS:
            del self._models[next(iter(self._models))]
        return model.suggest(trial.number, self._ledger.running)

    def _fits(self, seen: Observation, space: Distributions) -> bool:
        if self.takes_partial:
            return True
        return all(name in seen.params and is_within(seen.params[name], d) for name, d in space.items())

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()


def refuse(library: str, name: str, distribution: BaseDistribution, advice: str) -> InvalidArgument:
    """The error for a parameter that a library cannot express.

    Args:
        library: as its users call it.
        name: the parameter's.
        distribution: its distribution.
        advice: what to do instead.
    """
    return InvalidArgument(f"{library} cannot express parameter {name!r}, which is {distribution!r}: {advice}")
