"""Schedulers that change configurations while trials train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow import pruners
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.moved import refusing
from tuneflow.schedulers.base import ComparingScheduler

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PB2", "PopulationBasedTraining"]


@refusing("scheduler")
@dataclass(frozen=True, eq=False)
class PopulationBasedTraining(ComparingScheduler):
    """Population based training: ``tuneflow.pruners.PBT``. The population is all trials of the run.

    Every entry that is mutated has to stand in the run's ``config``. Unlike Tune's, mutations stay within their bounds.

    Args:
        time_attr: an integer result that grows with training.
        metric: the result to compare; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        perturbation_interval: steps from one decision of a trial to its next (Tune: 60 seconds).
        burn_in_period: step before which nothing happens.
        hyperparam_mutations: what is changed, nested or flat: domains, lists of values, functions ``() -> value``.
        quantile_fraction: share of the population that is replaced, in [0, 0.5].
        resample_probability: chance that an entry is drawn anew instead of perturbed.
        perturbation_factors: what numbers are multiplied by.
        custom_explore_fn: ``(config) -> config``, applied last. ``tuneflow.pruners.PBT`` takes one that is given a
            random generator, for runs that can be repeated.
        log_config: only True; the schedule of every trial is kept with it.
        require_attrs: only True; a result without the metric or ``time_attr`` is an error.
        synch: whether the population decides together, once all have arrived.

    Raises:
        InvalidArgument: a value breaks its rule, nothing to mutate, or ``time_attr`` counts seconds.
        InvalidArgumentType: a mutation that is none of the kinds above.

    Example:
        >>> pbt = PopulationBasedTraining(hyperparam_mutations={"lr": [0.1, 0.01]}, perturbation_interval=2)
        >>> pbt.to_pruner(num_samples=8).population_size
        8
    """

    perturbation_interval: int = 5
    burn_in_period: int = 0
    hyperparam_mutations: Mapping[str, Any] | None = None
    quantile_fraction: float = 0.25
    resample_probability: float = 0.25
    perturbation_factors: Sequence[float] = (1.2, 0.8)
    custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    log_config: bool = True
    require_attrs: bool = True
    synch: bool = False

    _spelling: ClassVar[Mapping[str, str]] = {
        "burn_in": "burn_in_period",
        "mutations": "hyperparam_mutations",
        "synchronous": "synch",
    }

    def _check(self) -> None:
        _check_population(self.log_config, self.require_attrs)
        if not self.hyperparam_mutations and self.custom_explore_fn is None:
            raise InvalidArgument(
                "PopulationBasedTraining has nothing to mutate; pass hyperparam_mutations={'lr': tune.loguniform(1e-4, "
                "1e-1)} with your own keys, or custom_explore_fn"
            )

    def _pruner(self, num_samples: int | None) -> pruners.Pruner:
        return pruners.PBT(
            {} if self.hyperparam_mutations is None else self.hyperparam_mutations,
            population_size=_population_size(num_samples, self.synch),
            perturbation_interval=self.perturbation_interval,
            quantile_fraction=self.quantile_fraction,
            resample_probability=self.resample_probability,
            perturbation_factors=self.perturbation_factors,
            burn_in=self.burn_in_period,
            synchronous=self.synch,
            custom_explore=_without_rng(self.custom_explore_fn),
        )


@refusing("scheduler")
@dataclass(frozen=True, eq=False)
class PB2(ComparingScheduler):
    """Population based bandits: ``tuneflow.pruners.PB2``. The population is all trials of the run.

    Args:
        time_attr: an integer result that grows with training.
        metric: the result to compare; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        perturbation_interval: steps from one decision of a trial to its next (Tune: 60 seconds).
        hyperparam_bounds: ``{"lr": [lower, upper]}``, nested or flat, both bounds included.
        quantile_fraction: share of the population that is replaced, in [0, 0.5].
        log_config: only True; the schedule of every trial is kept with it.
        require_attrs: only True; a result without the metric or ``time_attr`` is an error.
        synch: whether the population decides together, once all have arrived.
        custom_explore_fn: ``(config) -> config``, applied last.

    Raises:
        InvalidArgument: a value breaks its rule, no bounds, or ``time_attr`` counts seconds.
        MissingLibrary: scikit-learn is not installed.

    Example:
        >>> pb2 = PB2(metric="score", mode="max", hyperparam_bounds={"lr": [0.0001, 0.1]})
        >>> pb2.to_pruner(num_samples=4).population_size
        4
    """

    perturbation_interval: int = 5
    hyperparam_bounds: Mapping[str, Any] | None = None
    quantile_fraction: float = 0.25
    log_config: bool = True
    require_attrs: bool = True
    synch: bool = False
    custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    # Nested bounds are flattened where mutations are, and by that name they are refused if they are no dict.
    _spelling: ClassVar[Mapping[str, str]] = {
        "bounds": "hyperparam_bounds",
        "mutations": "hyperparam_bounds",
        "synchronous": "synch",
    }

    def _check(self) -> None:
        _check_population(self.log_config, self.require_attrs)

    def _pruner(self, num_samples: int | None) -> pruners.Pruner:
        return pruners.PB2(
            population_size=_population_size(num_samples, self.synch),
            perturbation_interval=self.perturbation_interval,
            quantile_fraction=self.quantile_fraction,
            synchronous=self.synch,
            custom_explore=_without_rng(self.custom_explore_fn),
            bounds=self.hyperparam_bounds,
        )


def _check_population(log_config: object, require_attrs: object) -> None:
    if not log_config:
        raise InvalidArgument(
            f"log_config={log_config!r} must be True: the schedule of every trial is kept, since a run that is resumed "
            f"needs it; leave log_config out"
        )
    if not require_attrs:
        raise InvalidArgument(
            f"require_attrs={require_attrs!r} must be True: report the metric and time_attr with every result, and "
            f"leave require_attrs out"
        )


def _population_size(num_samples: int | None, is_synchronous: bool) -> int | None:
    if num_samples in (None, -1):
        if is_synchronous:
            raise InvalidArgument(
                "synch=True waits for the whole population, whose size is the number of trials: pass num_samples to "
                "tune.run. For a study of your own, pass tuneflow.pruners.PBT or PB2 with population_size"
            )
        return None
    return num_samples


def _without_rng(
    explore: Callable[[dict[str, Any]], dict[str, Any]] | None,
) -> Callable[[dict[str, Any], np.random.Generator], dict[str, Any]] | None:
    if explore is None:
        return None
    if not callable(explore):
        raise InvalidArgumentType(f"custom_explore_fn={explore!r} must be a function (config) -> config")

    def custom_explore(config: dict[str, Any], _rng: np.random.Generator) -> dict[str, Any]:
        return explore(config)

    return custom_explore
