"""Float domains between two bounds: uniform and log-uniform, as they are or in steps of q."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from tuneflow.errors import InvalidArgument
from tuneflow.space.arguments import Arguments, as_float
from tuneflow.space.domain import Domain, set_fields
from tuneflow.space.multiples import Multiples, multiple_of

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

__all__ = ["LogUniform", "QLogUniform", "QUniform", "Uniform", "finite_or_fail"]

_LARGEST_STEPPED = 10**6
"""Optuna checks (value - low) / step against a fixed tolerance, which rounding breaks in longer grids."""


def finite_or_fail(domain: Domain, value: object) -> float:
    """A value to clip as a float, infinities allowed; raises ``InvalidArgument`` for NaN and for no number."""
    number = as_float(value)
    if number is None or math.isnan(number):
        raise InvalidArgument(f"{value!r} cannot be brought into {domain!r}: it must be a number and not NaN")
    return number


class _Continuous(Domain):
    """[lower, upper): every double but the upper bound, which only a user gives."""

    __slots__ = ()
    lower: float
    upper: float
    _last: float

    @property
    def is_exact(self) -> bool:
        return True

    def broken_rule(self, value: object) -> str | None:
        number = as_float(value)
        if number is None:
            return "must be a number"
        return None if self.lower <= number <= self.upper else f"must lie in [{self.lower!r}, {self.upper!r}]"

    def _cast(self, value: Any) -> float:
        return cast(float, as_float(value))

    def clip(self, value: object) -> float:
        return self.to_natural(finite_or_fail(self, value))

    def to_natural(self, param: Any, *, given: bool = False) -> float:
        value = float(param)
        if given or self.lower <= value <= self._last:
            return value
        return self.lower if value < self.lower else self._last

    def to_param(self, value: object) -> float:
        accepted: float = self.accept(value)
        return accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform(_Continuous):
    """Every float in [lower, upper) with the same density.

    Attributes:
        lower: the smallest value, finite.
        upper: excluded, finite; never drawn, accepted when given.

    Example:
        >>> Uniform(lower=0, upper=1).clip(7)
        0.9999999999999999
    """

    lower: float
    upper: float
    _last: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("uniform", lower=self.lower, upper=self.upper)
        lower, upper = arguments.number("lower"), arguments.number("upper")
        arguments.check_order(lower, upper)
        set_fields(self, lower=lower, upper=upper, _last=math.nextafter(upper, lower))

    def _draw(self, rng: np.random.Generator) -> float:
        return self.to_natural(rng.uniform(self.lower, self.upper))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.lower, self.upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogUniform(_Continuous):
    """Every float in [lower, upper), its logarithm with the same density.

    Attributes:
        lower: the smallest value, above zero, finite.
        upper: excluded, finite; never drawn, accepted when given.
        base: of the logarithm, > 1; it does not change the distribution.

    Example:
        >>> LogUniform(lower=1e-4, upper=1e-1).clip(0)
        0.0001
    """

    lower: float
    upper: float
    base: float = 10.0
    _last: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("loguniform", lower=self.lower, upper=self.upper, base=self.base)
        lower, upper = arguments.positive("lower"), arguments.number("upper")
        arguments.check_order(lower, upper)
        base = arguments.check_base()
        set_fields(self, lower=lower, upper=upper, base=base, _last=math.nextafter(upper, lower))

    def _draw(self, rng: np.random.Generator) -> float:
        return self.to_natural(math.exp(rng.uniform(math.log(self.lower), math.log(self.upper))))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.lower, self.upper, log=True)


class _Stepped(Domain):
    """The multiples of q from lower to upper, both included."""

    __slots__ = ()
    lower: float
    upper: float
    q: float
    _grid: Multiples

    def broken_rule(self, value: object) -> str | None:
        number = as_float(value)
        if number is None:
            return "must be a number"
        if self._grid.has(number):
            return None
        return f"must be a multiple of {self.q!r} in [{self.lower!r}, {self.upper!r}]"

    def _cast(self, value: Any) -> float:
        return self._grid.nearest(cast(float, as_float(value)))

    def clip(self, value: object) -> float:
        return self._grid.nearest(finite_or_fail(self, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class QUniform(_Stepped):
    """The multiples of q from lower to upper, both included, each with the same probability.

    The param is the value itself. Where Optuna's step cannot express the grid (q = 1/3 does not divide 1 in decimals;
    a million steps and more), the param is the integer k of k * q.

    Attributes:
        lower: the smallest value, a multiple of q.
        upper: the largest value, a multiple of q.
        q: the step, above zero.

    Example:
        >>> QUniform(lower=3.2, upper=5.4, q=0.2).clip(3.47)
        3.4
    """

    lower: float
    upper: float
    q: float
    _grid: Multiples = field(init=False, repr=False, compare=False)
    _is_counted: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("quniform", lower=self.lower, upper=self.upper, q=self.q)
        lower, upper, q = arguments.number("lower"), arguments.number("upper"), arguments.positive("q")
        arguments.check_order(lower, upper)
        grid = Multiples.between(arguments, lower, upper, q)
        lower, upper = grid.value(grid.first), grid.value(grid.last)
        # The very test by which Optuna would warn and move the upper bound.
        divides = (Decimal(str(upper)) - Decimal(str(lower))) % Decimal(str(q)) == 0
        is_counted = not divides or len(grid) > _LARGEST_STEPPED
        set_fields(self, lower=lower, upper=upper, q=q, _grid=grid, _is_counted=is_counted)

    @property
    def is_exact(self) -> bool:
        return not self._is_counted

    def _draw(self, rng: np.random.Generator) -> float:
        return self._grid.value(int(rng.integers(self._grid.first, self._grid.last, endpoint=True)))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self._is_counted:
            return IntDistribution(self._grid.first, self._grid.last)
        return FloatDistribution(self.lower, self.upper, step=self.q)

    def to_natural(self, param: Any, *, given: bool = False) -> float:
        if self._is_counted:
            return self._grid.value(int(param) if given else min(max(int(param), self._grid.first), self._grid.last))
        if not given:
            return self._grid.nearest(float(param))
        count = multiple_of(float(param), self.q)
        return float(param) if count is None else self._grid.value(count)

    def to_param(self, value: object) -> float | int:
        natural: float = self.accept(value)
        return round(natural / self.q) if self._is_counted else natural


@dataclass(frozen=True, slots=True, kw_only=True)
class QLogUniform(_Stepped):
    """The multiples of q from lower to upper, both included, each with its share of the logarithmic axis.

    The param is a log-uniform float between half a step below the lower and half a step above the upper bound, and the
    value is the multiple nearest to it: a multiple m has the weight log((m + q/2) / (m - q/2)). Half a step below is
    above zero, since lower is a positive multiple of q.

    Attributes:
        lower: the smallest value, a multiple of q above zero.
        upper: the largest value, a multiple of q.
        q: the step, above zero.
        base: of the logarithm, > 1; it does not change the distribution.

    Example:
        >>> QLogUniform(lower=1e-4, upper=1e-1, q=5e-5).to_natural(0.00017)
        0.00015
    """

    lower: float
    upper: float
    q: float
    base: float = 10.0
    _grid: Multiples = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("qloguniform", lower=self.lower, upper=self.upper, q=self.q, base=self.base)
        lower, upper, q = arguments.positive("lower"), arguments.number("upper"), arguments.positive("q")
        arguments.check_order(lower, upper)
        grid = Multiples.between(arguments, lower, upper, q)
        if grid.first < 1:
            arguments.fail("lower must be at least q")
        lower, upper = grid.value(grid.first), grid.value(grid.last)
        set_fields(self, lower=lower, upper=upper, q=q, base=arguments.check_base(), _grid=grid)

    @property
    def is_exact(self) -> bool:
        return False

    def _edges(self) -> tuple[float, float]:
        return (self._grid.first - 0.5) * self.q, (self._grid.last + 0.5) * self.q

    def _draw(self, rng: np.random.Generator) -> float:
        low, high = self._edges()
        return self._grid.nearest(math.exp(rng.uniform(math.log(low), math.log(high))))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        low, high = self._edges()
        return FloatDistribution(low, high, log=True)

    def to_natural(self, param: Any, *, given: bool = False) -> float:
        return self._grid.nearest(float(param))

    def to_param(self, value: object) -> float:
        natural: float = self.accept(value)
        return natural
