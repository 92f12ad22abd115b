"""Integer domains: uniform and log-uniform, with the upper bound excluded, or in steps of q with both included."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from tuneflow.space.arguments import Arguments, as_integer
from tuneflow.space.domain import Domain, set_fields
from tuneflow.space.floats import finite_or_fail

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

__all__ = ["LogRandInt", "QLogRandInt", "QRandInt", "RandInt"]


class _HalfOpen(Domain):
    """The integers from lower to upper - 1; ``upper`` itself only when a user gives it."""

    __slots__ = ()
    lower: int
    upper: int

    @property
    def is_exact(self) -> bool:
        return True

    def broken_rule(self, value: object) -> str | None:
        number = as_integer(value)
        if number is None:
            return "must be a whole number"
        return None if self.lower <= number <= self.upper else f"must lie in [{self.lower}, {self.upper}]"

    def _cast(self, value: Any) -> int:
        return cast(int, as_integer(value))

    def clip(self, value: object) -> int:
        number = finite_or_fail(self, value)
        return round(min(max(number, self.lower), self.upper - 1))

    def to_natural(self, param: Any, *, given: bool = False) -> int:
        value = int(param)
        if given or self.lower <= value < self.upper:
            return value
        return self.lower if value < self.lower else self.upper - 1

    def to_param(self, value: object) -> int:
        # The excluded bound lies outside the distribution. Widening that for one trial would make Optuna drop the
        # parameter from the space its samplers model jointly, so the bound is recorded as its neighbour.
        return min(cast(int, self.accept(value)), self.upper - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandInt(_HalfOpen):
    """The integers from lower to upper - 1, each with the same probability.

    Attributes:
        lower: the smallest value.
        upper: excluded; never drawn, accepted when given.

    Example:
        >>> RandInt(lower=-9, upper=15).clip(20.3)
        14
    """

    lower: int
    upper: int

    def __post_init__(self) -> None:
        arguments = Arguments("randint", lower=self.lower, upper=self.upper)
        lower, upper = arguments.integer("lower"), arguments.integer("upper")
        arguments.check_order(lower, upper)
        set_fields(self, lower=lower, upper=upper)

    def _draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.lower, self.upper))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.lower, self.upper - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRandInt(_HalfOpen):
    """The integers from lower to upper - 1, each with its share of the logarithmic axis.

    The integer k has the weight log((k + 1/2) / (k - 1/2)), as in Optuna's log-scaled integers.

    Attributes:
        lower: the smallest value, at least 1.
        upper: excluded; never drawn, accepted when given.
        base: of the logarithm, > 1; it does not change the distribution.

    Example:
        >>> LogRandInt(lower=1, upper=10).clip(10)
        9
    """

    lower: int
    upper: int
    base: float = 10.0

    def __post_init__(self) -> None:
        arguments = Arguments("lograndint", lower=self.lower, upper=self.upper, base=self.base)
        lower, upper = arguments.positive_integer("lower"), arguments.integer("upper")
        arguments.check_order(lower, upper)
        set_fields(self, lower=lower, upper=upper, base=arguments.check_base())

    def _draw(self, rng: np.random.Generator) -> int:
        return self.clip(math.exp(rng.uniform(math.log(self.lower - 0.5), math.log(self.upper - 0.5))))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.lower, self.upper - 1, log=True)


class _Stepped(Domain):
    """The multiples of q between two bounds that need not be multiples themselves."""

    __slots__ = ()
    lower: int
    upper: int
    q: int
    _first: int
    _last: int

    def broken_rule(self, value: object) -> str | None:
        number = as_integer(value)
        if number is None:
            return "must be a whole number"
        if self._first <= number <= self._last and number % self.q == 0:
            return None
        return f"must be a multiple of {self.q} in [{self.lower}, {self.upper}]"

    def _cast(self, value: Any) -> int:
        return cast(int, as_integer(value))

    def clip(self, value: object) -> int:
        return self._nearest(finite_or_fail(self, value))

    def _nearest(self, value: float) -> int:
        return round(min(max(value, self._first), self._last) / self.q) * self.q


def _multiples(arguments: Arguments, lower: int, upper: int, q: int) -> tuple[int, int]:
    first, last = -(-lower // q) * q, upper // q * q
    if first > last:
        arguments.fail("a multiple of q must lie between lower and upper")
    return first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class QRandInt(_Stepped):
    """The multiples of q from lower to upper, both included, each with the same probability.

    Attributes:
        lower: a bound; the smallest value is the first multiple of q from here.
        upper: a bound, included; the largest value is the last multiple of q up to here.
        q: the step, at least 1.

    Example:
        >>> QRandInt(lower=-21, upper=12, q=3).clip(11)
        12
    """

    lower: int
    upper: int
    q: int = 1
    _first: int = field(init=False, repr=False, compare=False)
    _last: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("qrandint", lower=self.lower, upper=self.upper, q=self.q)
        lower, upper, q = arguments.integer("lower"), arguments.integer("upper"), arguments.positive_integer("q")
        arguments.check_order(lower, upper)
        first, last = _multiples(arguments, lower, upper, q)
        set_fields(self, lower=lower, upper=upper, q=q, _first=first, _last=last)

    @property
    def is_exact(self) -> bool:
        return True

    def _draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self._first // self.q, self._last // self.q, endpoint=True)) * self.q

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self._first, self._last, step=self.q)

    def to_natural(self, param: Any, *, given: bool = False) -> int:
        return int(param) if given else self._nearest(int(param))

    def to_param(self, value: object) -> int:
        return cast(int, self.accept(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class QLogRandInt(_Stepped):
    """The multiples of q from lower to upper, both included, each with its share of the logarithmic axis.

    Represented as ``QLogUniform`` is: a multiple m has the weight log((m + q/2) / (m - q/2)).

    Attributes:
        lower: a bound, at least 1; the smallest value is the first multiple of q from here.
        upper: a bound, included; the largest value is the last multiple of q up to here.
        q: the step, at least 1.
        base: of the logarithm, > 1; it does not change the distribution.

    Example:
        >>> QLogRandInt(lower=1, upper=10, q=2).to_natural(1.2)
        2
    """

    lower: int
    upper: int
    q: int
    base: float = 10.0
    _first: int = field(init=False, repr=False, compare=False)
    _last: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("qlograndint", lower=self.lower, upper=self.upper, q=self.q, base=self.base)
        lower, upper = arguments.positive_integer("lower"), arguments.integer("upper")
        q = arguments.positive_integer("q")
        arguments.check_order(lower, upper)
        first, last = _multiples(arguments, lower, upper, q)
        set_fields(self, lower=lower, upper=upper, q=q, base=arguments.check_base(), _first=first, _last=last)

    @property
    def is_exact(self) -> bool:
        return False

    def _draw(self, rng: np.random.Generator) -> int:
        low, high = self._first - 0.5 * self.q, self._last + 0.5 * self.q
        return self._nearest(math.exp(rng.uniform(math.log(low), math.log(high))))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self._first - 0.5 * self.q, self._last + 0.5 * self.q, log=True)

    def to_natural(self, param: Any, *, given: bool = False) -> int:
        return self._nearest(float(param))

    def to_param(self, value: object) -> float:
        return float(cast(int, self.accept(value)))
