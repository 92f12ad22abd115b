"""How long simulated training takes, and when it reports."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType

__all__ = ["Pace", "check_count", "check_time"]


class Pace:
    """The timetable of a simulated training, in virtual time.

    Args:
        cost: time of a step, >= 0: a number, or a function ``cost(config, step)``.
        startup: time before the first step.
        checkpoint: time to save a checkpoint, and to load one.
        report_every: how many steps lie between reports, or the steps at which a trial reports.

    Attributes:
        cost: time of every step; None where a function says it.

    Raises:
        InvalidArgument: a value breaks its rule.
        InvalidArgumentType: a value is no number.

    Example:
        >>> pace = Pace(2.0, report_every=3)
        >>> pace.next_step(3, end=None), pace.next_step(6, end=7), pace.duration({}, 3, 6)
        (6, 7, 6.0)
    """

    __slots__ = ("_cost_of", "_every", "_steps", "checkpoint", "cost", "startup")

    def __init__(
        self,
        cost: float | Callable[[Mapping[str, Any], int], float] = 1.0,
        *,
        startup: float = 0.0,
        checkpoint: float = 0.0,
        report_every: int | Sequence[int] = 1,
    ) -> None:
        self._cost_of = cost if callable(cost) else None
        self.cost = None if callable(cost) else check_time("cost", cost)
        self.startup = check_time("startup", startup)
        self.checkpoint = check_time("checkpoint_cost", checkpoint)
        self._every, self._steps = _rhythm(report_every)

    def next_step(self, step: int, end: int | None) -> int:
        """The step of the report after ``step``: the next of the rhythm, and at last ``end``."""
        if self._every:
            due = step + self._every - step % self._every
        else:
            index = bisect_right(self._steps, step)
            due = self._steps[index] if index < len(self._steps) else end or step + 1
        return due if end is None or due < end else end

    def duration(self, config: Mapping[str, Any], step: int, due: int) -> float:
        """How long it takes from ``step`` to ``due``.

        Raises:
            InvalidArgument: the cost function returned something else than a finite number >= 0.
        """
        if self._cost_of is None:
            return (due - step) * (self.cost or 0.0)
        return sum(
            check_time(f"cost(config, {each})", self._cost_of(config, each)) for each in range(step + 1, due + 1)
        )


def check_count(name: str, value: Any) -> int:
    """Returns ``value`` if it is an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(f"{name}={value!r} must be an integer >= 1")
    return value


def check_time(name: str, value: Any) -> float:
    """Returns ``value`` as a float if it is finite and >= 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidArgumentType(f"{name}={value!r} must be a number") from None
    if not 0.0 <= number < math.inf:
        raise InvalidArgument(f"{name}={value!r} must be finite and >= 0")
    return number


def _rhythm(report_every: Any) -> tuple[int, list[int]]:
    """Steps between reports (0 for none), and the steps at which trials report."""
    if isinstance(report_every, Sequence) and not isinstance(report_every, str):
        steps = [check_count("report_every[...]", step) for step in report_every]
        if not steps or steps != sorted(set(steps)):
            raise InvalidArgument(f"report_every={list(report_every)} must be steps in growing order, at least one")
        return 0, steps
    return check_count("report_every", report_every), []
