"""Gaussian-process optimisation by the library bayesian-optimization, as an Optuna sampler.

pip install 'tuneflow[bayesopt]'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from bayes_opt import BayesianOptimization, UtilityFunction

from tuneflow.errors import InvalidArgument
from tuneflow.samplers.axes import Axis, axis_of, is_within
from tuneflow.samplers.foreign import Distributions, ForeignSampler, Model, refuse
from tuneflow.samplers.ledger import Observation, Running

if TYPE_CHECKING:
    from tuneflow.space import Space

__all__ = ["BayesOptSampler", "make_sampler"]

_Point = tuple[float, ...]


class BayesOptSampler(ForeignSampler):
    """bayesian-optimization's Gaussian process for any Optuna study over numbers.

    With ``search_space`` given, trial after trial is what ``BayesianOptimization(f, pbounds,
    random_state=numpy.random.RandomState(seed)).maximize(init_points=random_search_steps)`` would try, wherever that
    does not propose a point that it knows. The library knows intervals only: logarithmic parameters are modelled by
    their logarithms, integers and steps as continuous ones that are rounded. A proposal that is known already gives way
    to a random one. Trials that run at the same time count with the mean of what is known (Ginsbourger et al. 2010,
    "Kriging is well-suited to parallelize optimization", section 4.2), so that proposals differ.

    Args:
        search_space: parameters known beforehand, as Optuna distributions by name.
        seed: an integer >= 0; None for a random one.
        random_search_steps: trials that are drawn at random before the model is asked, >= 1.
        kind: the acquisition function: "ucb", "ei" or "poi".
        kappa: of "ucb": weight of the uncertainty, >= 0.
        xi: of "ei" and "poi": how much better to look for, >= 0.

    Raises:
        InvalidArgument: a value breaks its rule; a categorical parameter; several objectives.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=BayesOptSampler(seed=0))
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=10)
        >>> study.best_value < 0.01
        True
    """

    def __init__(
        self,
        search_space: Distributions | None = None,
        *,
        seed: int | None = None,
        random_search_steps: int = 4,
        kind: str = "ucb",
        kappa: float = 2.576,
        xi: float = 0.0,
    ) -> None:
        steps = random_search_steps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InvalidArgument(f"random_search_steps={steps!r} must be an integer >= 1")
        if kind not in ("ucb", "ei", "poi"):
            raise InvalidArgument(f"kind={kind!r} must be 'ucb', 'ei' or 'poi'")
        for name, value in (("kappa", kappa), ("xi", xi)):
            if not value >= 0:
                raise InvalidArgument(f"{name}={value!r} must be >= 0")
        self.random_search_steps = steps
        self.acquisition = UtilityFunction(kind=kind, kappa=kappa, xi=xi)
        super().__init__(search_space, seed=seed)

    def check(self, space: Distributions) -> None:
        for name, distribution in space.items():
            if axis_of(distribution) is None and not distribution.single():
                raise refuse(
                    "bayesian-optimization",
                    name,
                    distribution,
                    "it knows numbers only. Number the options (tune.randint(0, n)) if their order means something, or "
                    "use a sampler that knows choices: 'tpe', 'hyperopt', 'nevergrad', 'ax'",
                )

    def make_model(self, space: Distributions) -> Model:
        axes = {name: axis for name, distribution in space.items() if (axis := axis_of(distribution)) is not None}
        return _Process(axes, self)


def make_sampler(*, space: Space | None = None, seed: int | None = None, **options: Any) -> BayesOptSampler:
    """What ``sampler="bayesopt"`` and ``tuneflow.search.BayesOptSearch`` make."""
    return BayesOptSampler(None if space is None else space.distributions, seed=seed, **options)


class _Process(Model):
    """The library's optimiser, which maximises and wants every point once.

    Trials at the same point count with their mean. The optimiser is told points as they come; only when what it was
    told of a point has changed (a paused trial went on, a point was tried again) is it made anew.
    """

    def __init__(self, axes: Mapping[str, Axis], sampler: BayesOptSampler) -> None:
        self._axes = {name: axes[name] for name in sorted(axes)}  # the library's order
        self._sampler = sampler
        self._random_state = np.random.RandomState(sampler.seed & 0xFFFFFFFF)
        self._where: dict[int, _Point] = {}
        self._losses: dict[_Point, dict[int, float]] = {}
        self._optimizer = self._fresh()
        self._n_told = 0  # of the points, in their order
        self._is_stale = False
        self._has_infinite = False  # what those count as depends on all the others

    def reseed(self, seed: int) -> None:
        self._random_state.seed(seed & 0xFFFFFFFF)

    def observe(self, seen: Observation) -> None:
        point = self._point(seen.params)
        self._where[seen.number] = point
        at_point = self._losses.setdefault(point, {})
        self._is_stale = self._is_stale or bool(at_point)
        self._has_infinite = self._has_infinite or math.isinf(seen.loss)
        at_point[seen.number] = seen.loss

    def suggest(self, number: int, running: Sequence[Running]) -> dict[str, Any]:
        points = [self._point(trial.params) for trial in running if self._fits(trial.params)]
        pending = dict.fromkeys(point for point in points if point not in self._losses)
        if len(self._where) + len(pending) < self._sampler.random_search_steps:
            return self._params(self._optimizer.space.random_sample())
        optimizer = self._told(pending)
        proposed = optimizer.suggest(self._sampler.acquisition)
        params = self._params([proposed[name] for name in self._axes])
        point = self._point(params)
        if point in self._losses or point in pending:
            return self._params(optimizer.space.random_sample())
        return params

    def _told(self, pending: Mapping[_Point, None]) -> BayesianOptimization:
        """The optimiser as it is to be asked; one of its own where it must not remember what it is told."""
        if self._is_stale or self._has_infinite or pending:
            optimizer, n_told = self._fresh(), 0
        else:
            optimizer, n_told = self._optimizer, self._n_told
        targets = self._targets()
        for point, target in list(zip(self._losses, targets, strict=True))[n_told:]:
            optimizer.register(np.array(point), target)
        if pending:
            guess = fmean(targets) if targets else 0.0
            for point in pending:
                optimizer.register(np.array(point), guess)
        else:
            self._optimizer, self._n_told, self._is_stale = optimizer, len(targets), False
        return optimizer

    def _targets(self) -> list[float]:
        """One per point, higher is better; infinite losses replaced by the best or worst finite one."""
        known = [loss for losses in self._losses.values() for loss in losses.values() if math.isfinite(loss)] or [0.0]
        low, high = min(known), max(known)
        return [-fmean(min(max(loss, low), high) for loss in losses.values()) for losses in self._losses.values()]

    def _fresh(self) -> BayesianOptimization:
        bounds = {name: (axis.low, axis.high) for name, axis in self._axes.items()}
        return BayesianOptimization(None, bounds, random_state=self._random_state, verbose=0)

    def _fits(self, params: Mapping[str, Any]) -> bool:
        return all(name in params and is_within(params[name], axis.distribution) for name, axis in self._axes.items())

    def _point(self, params: Mapping[str, Any]) -> _Point:
        return tuple(axis.position_of(params[name]) for name, axis in self._axes.items())

    def _params(self, position: Sequence[float]) -> dict[str, Any]:
        return {name: axis.value_at(float(x)) for (name, axis), x in zip(self._axes.items(), position, strict=True)}
