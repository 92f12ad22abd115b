"""The multiples of a float q, counted by integers so that they print as they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from tuneflow.space.arguments import Arguments

__all__ = ["Multiples", "decimals", "multiple_of"]

_FINEST = 1e12
"""Counts beyond this one leave too few digits to tell a multiple from a value between two."""


def decimals(q: float) -> int:
    """How many digits after the point ``q`` is written with: 2 for 0.25, 5 for 5e-05, 0 for 20.0."""
    exponent = Decimal(repr(q)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def multiple_of(value: float, q: float) -> int | None:
    """The k with ``value`` = k * q up to rounding, else None. 0.30000000000000004 is 3 * 0.1, 0.3000001 is not."""
    ratio = value / q
    if not math.isfinite(ratio) or abs(ratio) > _FINEST:
        return None
    nearest = round(ratio)
    return nearest if abs(ratio - nearest) <= 1e-9 + 4e-15 * abs(ratio) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiples:
    """k * q for k from ``first`` to ``last``, both included.

    Example:
        >>> Multiples(q=0.2, first=16, last=27, digits=1).value(17)
        3.4
    """

    q: float
    first: int
    last: int
    digits: int

    @classmethod
    def between(cls, arguments: Arguments, lower: float, upper: float, q: float) -> Multiples:
        """The multiples from ``lower`` to ``upper``, of which q must be a divisor up to rounding."""
        if max(abs(lower), abs(upper)) / q > _FINEST:
            arguments.fail("q must be at least a 1e-12th of the bounds; finer steps are lost in rounding")

        def count(name: str, value: float) -> int:
            found = multiple_of(value, q)
            if found is None:
                nearest = round(round(value / q) * q, decimals(q))
                arguments.fail(f"{name} must be a multiple of q; the nearest one is {nearest!r}")
            return found

        first, last = count("lower", lower), count("upper", upper)
        if first >= last:
            arguments.fail("lower must be < upper")
        return cls(q=q, first=first, last=last, digits=decimals(q))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def value(self, count: int) -> float:
        """The ``count``-th multiple, rounded to the digits of q: 3.4, not 3.4000000000000004."""
        return round(count * self.q, self.digits)

    def nearest(self, value: float) -> float:
        """The multiple nearest to ``value``, which may be infinite, within the bounds."""
        ratio = value / self.q
        if ratio >= self.last:
            return self.value(self.last)
        if ratio <= self.first:
            return self.value(self.first)
        return self.value(round(ratio))

    def has(self, value: float) -> bool:
        """Whether ``value`` is one of them, up to rounding."""
        count = multiple_of(value, self.q)
        return count is not None and self.first <= count <= self.last
