"""A limit on the time of a run, as a stopper."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tuneflow.arguments import check_seconds
from tuneflow.clock import Clock
from tuneflow.errors import InvalidArgumentType
from tuneflow.stoppers.base import Stopper

__all__ = ["TimeoutStopper"]


class TimeoutStopper(Stopper):
    """Ends the run after some time: nothing new starts, and trials that run end with their next result.

    ``tune.run(time_budget_s=...)`` does not wait for that result. Time counts from the start of the run, anew where a
    run goes on with an earlier one.

    Args:
        timeout: seconds above zero, or a ``datetime.timedelta``.

    Raises:
        InvalidArgument: it is not above zero.
        InvalidArgumentType: it is neither a number nor a ``timedelta``.

    Example:
        >>> from tuneflow.clock import ManualClock
        >>> stopper, clock = TimeoutStopper(timedelta(minutes=1)), ManualClock()
        >>> stopper.start(clock)
        >>> clock.advance(59)
        >>> stopper.stop_all()
        False
        >>> clock.advance(1)
        >>> stopper.stop_all()
        True
    """

    def __init__(self, timeout: float | timedelta) -> None:
        seconds: Any = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        if seconds is None:
            raise InvalidArgumentType("timeout=None must be a number of seconds or a datetime.timedelta")
        check_seconds("timeout", seconds)
        self.timeout_s = float(seconds)
        self._clock: Clock | None = None
        self._deadline_s = 0.0

    def start(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline_s = clock.monotonic() + self.timeout_s

    @property
    def looks_back(self) -> bool:
        return False

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return self.stop_all()

    def stop_all(self) -> bool:
        return self._clock is not None and self._clock.monotonic() >= self._deadline_s
