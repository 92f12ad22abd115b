"""Checks of arguments, and errors that name an argument as the caller wrote it."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType

__all__ = ["check_number", "check_real", "check_seconds", "check_whole", "refuse_class", "spelt"]


def refuse_class(**given: Any) -> None:
    """Refuses a class where an object of it is wanted.

    Raises:
        InvalidArgumentType: one of the arguments is a class.
    """
    for name, value in given.items():
        if isinstance(value, type):
            raise InvalidArgumentType(f"{name}={value.__name__} is a class; pass an object: {name}={value.__name__}()")


def check_real(name: str, value: Any) -> None:
    """Refuses what is no number; infinities and NaN are numbers here.

    Raises:
        InvalidArgumentType: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgumentType(f"{name}={value!r} must be a number")


def check_number(name: str, value: Any, minimum: float) -> float:
    """Returns ``value`` if it is a finite number that is at least ``minimum``.

    Raises:
        InvalidArgumentType: it is no number.
        InvalidArgument: it is too small, infinite or NaN.
    """
    check_real(name, value)
    if not math.isfinite(value):
        raise InvalidArgument(f"{name}={value} must be finite")
    if value < minimum:
        raise InvalidArgument(f"{name}={value} must be >= {minimum}")
    return int(value) if isinstance(value, Integral) else float(value)


def check_whole(name: str, value: Any, minimum: int) -> int:
    """Returns ``value`` as an int if it is a whole number (4.0 is one) that is at least ``minimum``.

    Raises:
        InvalidArgumentType: it is no number.
        InvalidArgument: it is too small, or not whole.
    """
    number = check_number(name, value, minimum)
    if number != int(number):
        raise InvalidArgument(f"{name}={value} must be a whole number")
    return int(number)


def check_seconds(name: str, value: Any) -> None:
    """Refuses a time limit that is no number above zero; None is no limit, infinity is one.

    Raises:
        InvalidArgumentType: it is no number.
        InvalidArgument: it is not above zero.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgumentType(f"{name}={value!r} must be a number of seconds, or None for no limit")
    if not float(value) > 0:
        raise InvalidArgument(f"{name}={value} must be > 0 seconds, or None for no limit")


@contextlib.contextmanager
def spelt(spelling: Mapping[str, str]) -> Iterator[None]:
    """Has errors about arguments name them as the user wrote them.

    Args:
        spelling: the caller's name of each argument that the code inside knows by another one. What stands before
            ``=``, ``[``, a quoted value, " is " or " has " counts as a name.

    Example:
        >>> with spelt({"pruner": "scheduler"}):
        ...     raise InvalidArgument("pruner='x' is unknown")
        Traceback (most recent call last):
        ...
        tuneflow.errors.InvalidArgument: scheduler='x' is unknown
    """
    try:
        yield
    except (InvalidArgument, InvalidArgumentType) as error:
        names = "|".join(map(re.escape, spelling)) or "(?!)"
        text = re.sub(rf"\b({names})(?=[=\[]| '| is | has )", lambda found: spelling[found[1]], str(error))
        error.args = (text, *error.args[1:])
        raise
