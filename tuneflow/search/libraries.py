"""Searchers of other libraries.

Each is looked up by its sampler's name in ``tuneflow.registry``, so that the library is needed only once a run uses it.
What is found there is called as ``make_sampler(space=..., seed=..., **options)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow import registry
from tuneflow.errors import InvalidArgument
from tuneflow.moved import refusing
from tuneflow.search.base import Points, Searcher, SpaceDict

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from tuneflow.space import Space

__all__ = ["AxSearch", "BayesOptSearch", "HyperOptSearch", "NevergradSearch"]


class _LibrarySearch(Searcher):
    """A searcher of another library, made by an integration."""

    _name: ClassVar[str]

    def _sampler(self, space: Space | None, seed: int | None) -> BaseSampler:
        make = registry.resolve("sampler", self._name)
        sampler: BaseSampler = make(space=space, seed=seed, **self._options())
        return sampler

    def _options(self) -> dict[str, Any]:
        """What the integration's ``make_sampler`` is given besides space and seed."""
        return {}


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class BayesOptSearch(_LibrarySearch):
    """Gaussian processes by the library bayesian-optimization: ``pip install 'tuneflow[bayesopt]'``.

    Args:
        space: a dict of tuneflow's domains; may stand in the run's ``config`` instead.
        metric: the result to optimise; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        points_to_evaluate: configurations to try first; missing entries are sampled.
        utility_kwargs: only None.
        random_state: seed, an integer >= 0.
        random_search_steps: trials that are drawn at random before the model is asked, >= 1.
        analysis: only None.

    Raises:
        InvalidArgument: a value breaks its rule.

    Example:
        >>> BayesOptSearch(metric="score", mode="max", random_search_steps=4).mode
        'max'
    """

    space: SpaceDict | None = None
    metric: str | None = None
    mode: str | None = None
    points_to_evaluate: Points | None = None
    utility_kwargs: Mapping[str, Any] | None = None
    random_state: int | None = None
    random_search_steps: int = 4
    analysis: Any = None

    _name: ClassVar[str] = "bayesopt"
    _seed_argument: ClassVar[str] = "random_state"
    _refused: ClassVar[Mapping[str, str]] = {
        "utility_kwargs": "The acquisition function is chosen by the integration",
        "analysis": "Name good configurations in points_to_evaluate",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("random_search_steps", self.random_search_steps)

    def _options(self) -> dict[str, Any]:
        return {"random_search_steps": self.random_search_steps}


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class HyperOptSearch(_LibrarySearch):
    """Tree-structured Parzen estimators by HyperOpt: ``pip install 'tuneflow[hyperopt]'``.

    Args:
        space: a dict of tuneflow's domains; may stand in the run's ``config`` instead.
        metric: the result to optimise; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        points_to_evaluate: configurations to try first; missing entries are sampled.
        n_initial_points: trials that are drawn at random before the model is asked, >= 1.
        random_state_seed: seed, an integer >= 0.
        gamma: share of the trials that counts as good, in (0, 1).

    Raises:
        InvalidArgument: a value breaks its rule.

    Example:
        >>> HyperOptSearch(metric="loss", mode="min", n_initial_points=5).n_initial_points
        5
    """

    space: SpaceDict | None = None
    metric: str | None = None
    mode: str | None = None
    points_to_evaluate: Points | None = None
    n_initial_points: int = 20
    random_state_seed: int | None = None
    gamma: float = 0.25

    _name: ClassVar[str] = "hyperopt"
    _seed_argument: ClassVar[str] = "random_state_seed"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("n_initial_points", self.n_initial_points)
        if not isinstance(self.gamma, int | float) or not 0 < self.gamma < 1:
            raise InvalidArgument(f"gamma={self.gamma!r} must be a number in (0, 1)")

    def _options(self) -> dict[str, Any]:
        return {"n_initial_points": self.n_initial_points, "gamma": self.gamma}


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class NevergradSearch(_LibrarySearch):
    """Gradient-free optimisers by Nevergrad: ``pip install 'tuneflow[nevergrad]'``.

    Args:
        optimizer: an optimiser's name or class; Nevergrad's own choice by default.
        optimizer_kwargs: only None.
        space: a dict of tuneflow's domains; may stand in the run's ``config`` instead.
        metric: the result to optimise; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        points_to_evaluate: configurations to try first; missing entries are sampled.

    Raises:
        InvalidArgument: a value breaks its rule.

    Example:
        >>> NevergradSearch(optimizer="OnePlusOne", metric="loss", mode="min").optimizer
        'OnePlusOne'
    """

    optimizer: Any = None
    optimizer_kwargs: Mapping[str, Any] | None = None
    space: SpaceDict | None = None
    metric: str | None = None
    mode: str | None = None
    points_to_evaluate: Points | None = None

    _name: ClassVar[str] = "nevergrad"
    _refused: ClassVar[Mapping[str, str]] = {"optimizer_kwargs": "Pass a configured optimizer"}

    def _options(self) -> dict[str, Any]:
        return {} if self.optimizer is None else {"optimizer": self.optimizer}


@refusing("searcher")
@dataclass(frozen=True, eq=False)
class AxSearch(_LibrarySearch):
    """Bayesian optimisation by Ax: ``pip install 'tuneflow[ax]'``.

    Args:
        space: a dict of tuneflow's domains; may stand in the run's ``config`` instead.
        metric: the result to optimise; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        points_to_evaluate: configurations to try first; missing entries are sampled.
        parameter_constraints: only None.
        outcome_constraints: only None.
        ax_client: only None.

    Raises:
        InvalidArgument: a value breaks its rule.

    Example:
        >>> AxSearch(metric="loss", mode="min").metric
        'loss'
    """

    space: SpaceDict | None = None
    metric: str | None = None
    mode: str | None = None
    points_to_evaluate: Points | None = None
    parameter_constraints: Sequence[Any] | None = None
    outcome_constraints: Sequence[Any] | None = None
    ax_client: Any = None

    _name: ClassVar[str] = "ax"
    _refused: ClassVar[Mapping[str, str]] = {
        "parameter_constraints": "Compute the constrained entry from the others with tune.sample_from",
        "outcome_constraints": "Optuna's samplers know constraints: see trial.set_constraint",
        "ax_client": "The client is made for the run",
    }


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(f"{name}={value!r} must be an integer >= 1")
