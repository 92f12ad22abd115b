"""The only place that reads the time. Whatever needs a moment takes a ``Clock``."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock", "uptime"]


class Clock(Protocol):
    """Two readings of time, both in seconds."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back. For durations and deadlines."""
        ...

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC. For timestamps that people read."""
        ...


def uptime() -> float:
    """Seconds since the machine started, with those that it was suspended, where the system tells: Linux does."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()


class ManualClock:
    """A clock that moves when told to, for simulation and tests.

    Example:
        >>> clock = ManualClock()
        >>> clock.advance(1.5)
        >>> clock.monotonic()
        1.5
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def monotonic(self) -> float:
        return self._now_s

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Moves the clock forward by ``seconds`` (>= 0)."""
        if seconds < 0:
            raise ValueError(f"seconds={seconds} must be >= 0")
        self._now_s += seconds

    def set(self, now_s: float) -> None:
        """Moves the clock to ``now_s``, which must not lie in its past."""
        if now_s < self._now_s:
            raise ValueError(f"now_s={now_s} must be >= {self._now_s}")
        self._now_s = now_s  # exactly: adding the difference would round
