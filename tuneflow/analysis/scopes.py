"""From a trial's values of a metric to the one number by which trials are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from tuneflow.errors import InvalidArgument

__all__ = ["Mode", "Scope", "check_mode", "check_scope", "is_better", "score"]

Scope = Literal["last", "all", "avg", "last-5-avg", "last-10-avg"]
Mode = Literal["min", "max"]


def check_scope(scope: str) -> None:
    """Refuses a scope that is not known."""
    if scope not in get_args(Scope):
        raise InvalidArgument(f"scope={scope!r} must be one of {', '.join(map(repr, get_args(Scope)))}")


def check_mode(mode: object) -> Mode:
    """``mode`` as "min" or "max".

    Raises:
        InvalidArgument: it is neither, nor Optuna's "minimize" or "maximize".
    """
    if mode in ("min", "minimize"):
        return "min"
    if mode in ("max", "maximize"):
        return "max"
    raise InvalidArgument(f"mode={mode!r} must be 'min' or 'max'")


def score(values: Sequence[float], scope: str, mode: Mode) -> float:
    """What a trial counts for.

    Args:
        values: the metric in order of report, NaN where it was NaN.
        scope: "last" value, best of "all", mean of all ("avg"), of the last 5 or 10.
        mode: which value is best, for "all".

    Returns:
        The score; NaN, which is never best, without values, where the last one or one to be averaged is NaN, or
        where all are.
    """
    if not values:
        return math.nan
    if scope == "last":
        return values[-1]
    if scope == "all":
        real = [value for value in values if value == value]
        if not real:
            return math.nan
        return min(real) if mode == "min" else max(real)
    last = {"last-5-avg": 5, "last-10-avg": 10}.get(scope)
    averaged = values if last is None else values[-last:]
    return sum(averaged) / len(averaged)


def is_better(value: float, best: float | None, mode: Mode) -> bool:
    """Whether ``value`` outranks ``best``; NaN never does, and everything else outranks None."""
    if value != value:
        return False
    if best is None or best != best:
        return True
    return value < best if mode == "min" else value > best
