"""The order in which a Loop handles events: as they come, or in logical time.

Logical time makes a parallel run repeatable. The clock of a trial starts at the logical time at which it
entered its slot and moves by one with each report and with its end; a ``suggest`` belongs to the step before
it. Events are handled in order of (time, reports before suggests, trial number), and only the earliest event
that is still possible is waited for, so slots stay busy.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tuneflow.trainable.messages import Event, Saved, Suggested

__all__ = ["Arrival", "LogicalOrder", "Order"]


class Order:
    """Events are handled as they come."""

    now = 0
    """Logical time of the event that was handed out last."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()

    def enter(self, trial: int, at: int = 0) -> None:
        """A trial enters a slot, at logical time ``at``."""

    def take_back(self, trial: int) -> None:
        """The event of this trial that was handed out last is none: it gets another attempt."""

    def leave(self, trial: int) -> None:
        """A trial has left its slot; its waiting events are forgotten."""
        self._queue = deque(event for event in self._queue if event.trial != trial)

    def add(self, event: Event) -> None:
        """An event has come."""
        self._queue.append(event)

    def next(self) -> Event | None:
        """The event to handle now; None where one has to be waited for."""
        return self._queue.popleft() if self._queue else None


class Arrival(NamedTuple):
    """When an event happens, in logical time."""

    time: int
    phase: int
    trial: int


class LogicalOrder(Order):
    """Events are handled in logical order, whatever the machine's timing.

    Args:
        may_suggest: trials may ask for parameters while they run, so that a silent trial may still speak at its
            present time and not only at the next.
    """

    def __init__(self, *, may_suggest: bool) -> None:
        super().__init__()
        self._may_suggest = may_suggest
        self._clocks: dict[int, int] = {}
        self._waiting: dict[int, deque[Event]] = {}
        self._before: tuple[int, int] = (-1, 0)

    def enter(self, trial: int, at: int = 0) -> None:
        self._clocks[trial] = at
        self._waiting[trial] = deque()

    def take_back(self, trial: int) -> None:
        if self._before[0] == trial:
            self.now = self._before[1]

    def leave(self, trial: int) -> None:
        self._clocks.pop(trial, None)
        self._waiting.pop(trial, None)

    def add(self, event: Event) -> None:
        if event.trial in self._waiting:
            self._waiting[event.trial].append(event)

    def next(self) -> Event | None:
        best: Arrival | None = None
        for trial in self._clocks:
            arrival = self._earliest(trial)
            if best is None or arrival < best:
                best = arrival
        if best is None or not self._waiting[best.trial]:
            return None
        event = self._waiting[best.trial].popleft()
        self._before = best.trial, self.now
        self.now = best.time
        self._clocks[best.trial] = best.time
        return event

    def _earliest(self, trial: int) -> Arrival:
        """When the trial's next event happens, or could happen at the earliest."""
        clock, waiting = self._clocks[trial], self._waiting[trial]
        if not waiting:
            return Arrival(clock, 1, trial) if self._may_suggest else Arrival(clock + 1, 0, trial)
        if isinstance(waiting[0], (Suggested, Saved)):
            return Arrival(clock, 1, trial)
        return Arrival(clock + 1, 0, trial)
