"""Nevergrad's gradient-free optimisers, as an Optuna sampler.

pip install 'tuneflow[nevergrad]'
"""

from __future__ import annotations

import contextlib
import difflib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import nevergrad as ng
import numpy as np
from nevergrad.common.errors import TellNotAskedNotSupportedError

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.samplers.axes import Coded
from tuneflow.samplers.foreign import Distributions, ForeignSampler, Model
from tuneflow.samplers.ledger import Observation, Running

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from tuneflow.space import Space

__all__ = ["NevergradSampler", "make_sampler"]

_LARGEST = 1e20
"""Nevergrad replaces larger losses, with a warning."""


class NevergradSampler(ForeignSampler):
    """Any of Nevergrad's optimisers for any Optuna study.

    Points that the optimiser did not propose (enqueued ones, another process's, a paused trial's second value) are told
    as such; the few optimisers that cannot learn from those leave them out. Integers and steps are Nevergrad's
    integers, choices its unordered ones.

    Args:
        search_space: parameters known beforehand, as Optuna distributions by name.
        seed: an integer >= 0; None for a random one.
        optimizer: a name in ``nevergrad.optimizers.registry``, a class, or a configured optimiser. "Shiwa" chooses by
            the space (Liu et al. 2020, "Versatile black-box optimization"). The newer "NGOpt" does too, but the
            surrogate that it takes for small budgets fails with NumPy 2.4 (Nevergrad 1.0.12).
        budget: how many trials the optimiser plans for, >= 1; more may be asked for.
        num_workers: how many it plans to have running at once, >= 2: with one, optimisers are taken that only run on
            their own.

    Raises:
        InvalidArgument: a value breaks its rule; the optimiser cannot be asked and told; several objectives.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=NevergradSampler(seed=0, optimizer="OnePlusOne"))
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=30)
        >>> study.best_value < 0.1
        True
    """

    def __init__(
        self,
        search_space: Distributions | None = None,
        *,
        seed: int | None = None,
        optimizer: Any = "Shiwa",
        budget: int = 100,
        num_workers: int = 2,
    ) -> None:
        for name, count, least in (("budget", budget, 1), ("num_workers", num_workers, 2)):
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise InvalidArgument(f"{name}={count!r} must be an integer >= {least}")
        self._make_optimizer = _found(optimizer)
        self._budget, self._num_workers = budget, num_workers
        super().__init__(search_space, seed=seed)

    def check(self, space: Distributions) -> None:
        """Nevergrad expresses all of Optuna's distributions."""

    def make_model(self, space: Distributions) -> Model:
        entries = {name: _Entry(distribution) for name, distribution in space.items()}
        parametrization = ng.p.Dict(**{name: entry.parameter for name, entry in entries.items()})
        parametrization.random_state = np.random.RandomState(self.seed & 0xFFFFFFFF)
        optimizer = self._make_optimizer(parametrization, budget=self._budget, num_workers=self._num_workers)
        return _Asked(entries, optimizer)


def make_sampler(*, space: Space | None = None, seed: int | None = None, **options: Any) -> NevergradSampler:
    """What ``sampler="nevergrad"`` and ``tuneflow.search.NevergradSearch`` make."""
    return NevergradSampler(None if space is None else space.distributions, seed=seed, **options)


def _found(given: Any) -> Callable[..., Any]:
    if isinstance(given, str):
        if given not in ng.optimizers.registry:
            near = difflib.get_close_matches(given, ng.optimizers.registry, n=5) or ["Shiwa", "CMA", "OnePlusOne"]
            raise InvalidArgument(
                f"optimizer={given!r} is none of Nevergrad's; near it are: {', '.join(near)}, and "
                f"nevergrad.optimizers.registry lists all"
            )
        given = ng.optimizers.registry[given]
    if isinstance(given, ng.optimizers.base.Optimizer):
        raise InvalidArgumentType(
            f"optimizer={given!r} is bound to a parametrization of its own; pass its class or its name: the space is "
            f"converted for you"
        )
    if isinstance(given, type) and issubclass(given, ng.optimizers.base.ConfiguredOptimizer):
        given = given()
    if not callable(given):
        raise InvalidArgumentType(f"optimizer={given!r} must be the name of a Nevergrad optimiser or its class")
    if getattr(given, "recast", False) or getattr(given, "no_parallelization", False):
        raise InvalidArgument(
            f"optimizer={given!r} runs on its own, one trial after the other, and cannot be asked and told; take "
            f"another, 'Shiwa', 'CMA' or 'TwoPointsDE' for instance"
        )
    make: Callable[..., Any] = given
    return make


class _Asked(Model):
    """One of Nevergrad's optimisers, and the candidates that it waits for."""

    def __init__(self, entries: Mapping[str, _Entry], optimizer: Any) -> None:
        self._entries = entries
        self._optimizer = optimizer
        self._asked: dict[int, tuple[dict[str, Any], Any]] = {}

    def reseed(self, seed: int) -> None:
        self._optimizer.parametrization.random_state.seed(seed & 0xFFFFFFFF)

    def observe(self, seen: Observation) -> None:
        params = {name: seen.params[name] for name in self._entries}
        proposed, candidate = self._asked.pop(seen.number, (None, None))
        if proposed != params:
            value = {name: entry.value_of(params[name]) for name, entry in self._entries.items()}
            candidate = self._optimizer.parametrization.spawn_child(new_value=value)
        with _quiet(), contextlib.suppress(TellNotAskedNotSupportedError):
            self._optimizer.tell(candidate, min(max(seen.loss, -_LARGEST), _LARGEST))

    def suggest(self, number: int, running: Sequence[Running]) -> dict[str, Any]:
        with _quiet():
            candidate = self._optimizer.ask()
        params = {name: entry.param_of(candidate.value[name]) for name, entry in self._entries.items()}
        self._asked[number] = params, candidate
        return dict(params)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of Nevergrad and of cma below it on how the one calls the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Entry(Coded):
    """A parameter in Nevergrad's terms."""

    def __init__(self, distribution: BaseDistribution) -> None:
        super().__init__(distribution)
        axis = self.axis
        if axis is None:
            self.parameter = ng.p.Choice(range(self.n_choices))
            return
        if axis.is_log:
            self.parameter = ng.p.Log(lower=math.exp(axis.low), upper=math.exp(axis.high))
        else:
            self.parameter = ng.p.Scalar(lower=axis.low, upper=axis.high)
        if axis.n_values is not None:
            self.parameter.set_integer_casting()
