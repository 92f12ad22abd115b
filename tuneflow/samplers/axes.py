"""A numeric parameter as an interval of the real line, for libraries that know nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Axis", "Coded", "axis_of", "is_within"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An interval whose uniform draws give what the distribution gives: all of its values with equal probability.

    Continuous values stand for themselves, or for their logarithm where they are searched on a log scale. The values of
    a grid are numbered from 0 and each owns the interval of width 1 around its number; those of a logarithmic integer
    own what lies between the logarithms of the halves beside it.

    Attributes:
        low: the lower end.
        high: the upper end.
        n_values: how many values there are; None for a continuous parameter.
        distribution: what it was made of.

    Example:
        >>> from optuna.distributions import IntDistribution
        >>> axis = axis_of(IntDistribution(2, 8, step=3))
        >>> axis.low, axis.high, axis.value_at(1.2), axis.position_of(8)
        (-0.5, 2.5, 5, 2.0)
    """

    low: float
    high: float
    n_values: int | None
    distribution: FloatDistribution | IntDistribution

    @property
    def is_log(self) -> bool:
        """Whether the axis is one of logarithms."""
        return self.distribution.log

    def value_at(self, position: float) -> float | int:
        """The parameter's value at a position, of the distribution's type; the nearest where it lies outside."""
        position = min(max(float(position), self.low), self.high)
        if self.is_log:
            return self.nearest(math.exp(position))
        if self.n_values is None:
            return self.nearest(position)
        return self.nearest(self.distribution.low + round(position) * (self.distribution.step or 1))

    def nearest(self, value: float) -> float | int:
        """The value of the distribution, of its type, that is nearest to ``value``."""
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        value = min(max(value, low), high)
        if isinstance(self.distribution, IntDistribution):
            return int(low) + round((value - low) / (step or 1)) * int(step or 1)
        return float(value) if step is None else min(low + round((value - low) / step) * step, high)

    def position_of(self, value: float) -> float:
        """Where a value of the parameter stands."""
        if self.is_log:
            return math.log(value)
        if self.n_values is None:
            return float(value)
        step = self.distribution.step
        return (value - self.distribution.low) / (step or 1)


def axis_of(distribution: BaseDistribution) -> Axis | None:
    """The axis of a numeric distribution that holds more than one value; None for a categorical one."""
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution) and distribution.log:
        n_values = int(high) - int(low) + 1
        return Axis(low=math.log(low - 0.5), high=math.log(high + 0.5), n_values=n_values, distribution=distribution)
    if step is not None:
        n_values = round((high - low) / step) + 1
        return Axis(low=-0.5, high=n_values - 0.5, n_values=n_values, distribution=distribution)
    if distribution.log:
        return Axis(low=math.log(low), high=math.log(high), n_values=None, distribution=distribution)
    return Axis(low=low, high=high, n_values=None, distribution=distribution)


class Coded:
    """A parameter for a library that takes numbers only: a choice, or a value on a grid, goes by its index.

    What is searched on a log scale goes by its own value: such libraries have a log scale of their own.

    Attributes:
        distribution: of the parameter.
        axis: None for a choice.

    Example:
        >>> from optuna.distributions import CategoricalDistribution, FloatDistribution
        >>> Coded(CategoricalDistribution(["a", "b"])).value_of("b")
        1
        >>> Coded(FloatDistribution(0, 1, step=0.25)).param_of(3)
        0.75
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        self.distribution = distribution
        self.axis = axis_of(distribution)

    @property
    def n_choices(self) -> int:
        """How many choices there are, of a categorical parameter."""
        return len(self.distribution.choices)  # type: ignore[attr-defined]

    def value_of(self, param: Any) -> Any:
        """The library's value of a parameter."""
        if self.axis is None:
            return int(self.distribution.to_internal_repr(param))
        if self.axis.is_log:
            return param
        return self.axis.position_of(param) if self.axis.n_values is None else round(self.axis.position_of(param))

    def param_of(self, value: Any) -> Any:
        """The parameter of the library's value."""
        if self.axis is None:
            return self.distribution.to_external_repr(int(value))
        return self.axis.nearest(float(value)) if self.axis.is_log else self.axis.value_at(float(value))


def is_within(value: object, distribution: BaseDistribution) -> bool:
    """Whether a distribution could have given a parameter's value."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False
