"""The checks that every domain makes of its arguments, and the words in which they fail."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, NoReturn

from tuneflow.errors import InvalidArgument

__all__ = ["LARGEST_INTEGER", "Arguments", "as_float", "as_integer"]

LARGEST_INTEGER = 2**53
"""Optuna keeps every number as a double: integers beyond this one are no longer told apart."""


def as_float(value: object) -> float | None:
    """``value`` as a plain float; None where it is no real number (a bool is none). May return NaN or infinity.

    A single-precision scalar becomes the decimal number that it prints as: 0.1, not 0.10000000149011612.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        if isinstance(value, float | Integral):
            return float(value)
        return float(str(value))
    except OverflowError:
        return -math.inf if str(value).startswith("-") else math.inf
    except ValueError:
        return float(value)


def as_integer(value: object) -> int | None:
    """``value`` as a plain int; None where it is no whole number. 3.0 is taken for 3, True is not taken for 1."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    return int(number) if number.is_integer() else None


class Arguments:
    """The arguments of one call, taken out one by one; a message shows the whole call.

    Example:
        >>> Arguments("randn", mean=0.0, sd=-1).positive("sd")
        Traceback (most recent call last):
        ...
        tuneflow.errors.InvalidArgument: randn(mean=0.0, sd=-1): sd must be > 0
    """

    def __init__(self, function: str, **given: Any) -> None:
        self._function = function
        self._given = given

    def __str__(self) -> str:
        return f"{self._function}({', '.join(f'{name}={value!r}' for name, value in self._given.items())})"

    def fail(self, rule: str) -> NoReturn:
        """Raises ``InvalidArgument`` for the rule that is broken."""
        raise InvalidArgument(f"{self}: {rule}")

    def number(self, name: str) -> float:
        """A finite number, as a plain float."""
        value = as_float(self._given[name])
        if value is None:
            self.fail(f"{name} must be a number, not {type(self._given[name]).__name__}")
        if not math.isfinite(value):
            self.fail(f"{name} must be finite")
        return value

    def positive(self, name: str) -> float:
        """A finite number above zero, as a plain float."""
        value = self.number(name)
        if value <= 0:
            self.fail(f"{name} must be > 0")
        return value

    def integer(self, name: str) -> int:
        """A whole number that a double can hold exactly, as a plain int."""
        value = as_integer(self._given[name])
        if value is None:
            self.fail(f"{name} must be a whole number")
        if abs(value) > LARGEST_INTEGER:
            self.fail(f"{name} must lie within -2**53 and 2**53, where Optuna's numbers tell integers apart")
        return value

    def positive_integer(self, name: str) -> int:
        """A whole number from 1 on, as a plain int."""
        value = self.integer(name)
        if value < 1:
            self.fail(f"{name} must be >= 1")
        return value

    def check_order(self, lower: float, upper: float) -> None:
        """``lower < upper``, with a difference that is still finite."""
        if not lower < upper:
            self.fail("lower must be < upper")
        if not math.isfinite(float(upper) - float(lower)):
            self.fail("upper - lower must be finite")

    def check_base(self, name: str = "base") -> float:
        """The base of a logarithm, which changes the spelling of a log domain and not its distribution."""
        value = self.number(name)
        if value <= 1:
            self.fail(f"{name} must be > 1")
        return value
