"""Normal domains. Optuna has none, so the param is the quantile, which is uniform between 0 and 1."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, cast

from tuneflow.errors import InvalidArgument
from tuneflow.space.arguments import Arguments, as_float
from tuneflow.space.domain import Domain, set_fields
from tuneflow.space.floats import finite_or_fail
from tuneflow.space.multiples import decimals, multiple_of

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

__all__ = ["QRandn", "Randn"]

_EDGE = 2.0**-53
"""The quantiles kept away from 0 and 1, where the inverse is infinite: values end at 8.2 standard deviations."""
_STANDARD = NormalDist()
_DIGITS = 9
"""Digits of a value, in units of the standard deviation, that survive the way through the quantile (to 5 sd)."""


class _Normal(Domain):
    """What the two normal domains share: the way between a value and its quantile."""

    __slots__ = ()
    mean: float
    sd: float

    @property
    def is_exact(self) -> bool:
        return False

    def _at(self, quantile: float) -> float:
        return self.mean + self.sd * _STANDARD.inv_cdf(min(max(quantile, _EDGE), 1.0 - _EDGE))

    def _quantile(self, value: float) -> float:
        # erfc keeps its digits in the lower tail, where 1 + erf has lost them.
        quantile = 0.5 * math.erfc(-(value - self.mean) / (self.sd * math.sqrt(2.0)))
        return min(max(quantile, _EDGE), 1.0 - _EDGE)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(_EDGE, 1.0 - _EDGE)

    def to_param(self, value: object) -> float:
        return self._quantile(self.accept(value))

    def clip(self, value: object) -> float:
        number = finite_or_fail(self, value)
        if math.isinf(number):
            raise InvalidArgument(f"{value!r} cannot be brought into {self!r}: it has no bounds, so none is nearest")
        return cast(float, self._cast(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Randn(_Normal):
    """A normal distribution. Values are rounded to a billionth of the standard deviation.

    The rounding lets a value that a user gives come back unchanged from its quantile. Any finite value may be given;
    what is drawn lies within 8.2 standard deviations.

    Attributes:
        mean: finite.
        sd: the standard deviation, above zero.

    Example:
        >>> Randn(mean=10, sd=2).to_natural(0.5)
        10.0
    """

    mean: float = 0.0
    sd: float = 1.0
    _digits: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("randn", mean=self.mean, sd=self.sd)
        mean, sd = arguments.number("mean"), arguments.positive("sd")
        if not math.isfinite(abs(mean) + 10 * sd):
            arguments.fail("mean + 10 * sd must be finite")
        set_fields(self, mean=mean, sd=sd, _digits=_DIGITS - math.floor(math.log10(sd)))

    def _draw(self, rng: np.random.Generator) -> float:
        return round(rng.normal(self.mean, self.sd), self._digits)

    def broken_rule(self, value: object) -> str | None:
        number = as_float(value)
        return None if number is not None and math.isfinite(number) else "must be a finite number"

    def _cast(self, value: Any) -> float:
        return cast(float, as_float(value))

    def to_natural(self, param: Any, *, given: bool = False) -> float:
        return round(self._at(float(param)), self._digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class QRandn(_Normal):
    """A normal distribution, rounded to the nearest multiple of q.

    Attributes:
        mean: finite; need not be a multiple of q.
        sd: the standard deviation before rounding, above zero.
        q: the step, above zero.

    Example:
        >>> QRandn(mean=10, sd=2, q=0.2).clip(9.27)
        9.2
    """

    mean: float
    sd: float
    q: float
    _digits: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments = Arguments("qrandn", mean=self.mean, sd=self.sd, q=self.q)
        mean, sd, q = arguments.number("mean"), arguments.positive("sd"), arguments.positive("q")
        if max(abs(mean), sd) / q > 1e11:
            arguments.fail("q must be at least a 1e-11th of mean and sd; finer steps are lost in rounding")
        set_fields(self, mean=mean, sd=sd, q=q, _digits=decimals(q))

    def _nearest(self, value: float) -> float:
        return round(round(value / self.q) * self.q, self._digits)

    def _draw(self, rng: np.random.Generator) -> float:
        return self._nearest(rng.normal(self.mean, self.sd))

    def broken_rule(self, value: object) -> str | None:
        number = as_float(value)
        is_legal = number is not None and math.isfinite(number) and multiple_of(number, self.q) is not None
        return None if is_legal else f"must be a multiple of {self.q!r}"

    def _cast(self, value: Any) -> float:
        return self._nearest(cast(float, as_float(value)))

    def to_natural(self, param: Any, *, given: bool = False) -> float:
        return self._nearest(self._at(float(param)))
