"""Trials in this process, one at a time, on the caller's thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.clock import Clock
from tuneflow.runner.executor import Executor
from tuneflow.runner.resources import Resources, machine
from tuneflow.trainable.messages import Assignment, Event
from tuneflow.trainable.running import kind_of, run
from tuneflow.trainable.session import Session

__all__ = ["InlineExecutor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place(Resources):
    """Room for one trial, however little it asks for, and for none that asks for more than there is."""

    def times_that_fit(self, request: Resources) -> int:
        return min(1, Resources.times_that_fit(self, request))


class InlineExecutor(Executor):
    """Runs each trial inside ``poll``: breakpoints, profilers and notebooks see it as any other call.

    Args:
        total: what there is for a trial; the whole machine by default.
        clock: where times come from.
        default_kind: how to call a function of one argument whose name does not tell.
    """

    needs_pickling: ClassVar[bool] = False
    is_inline: ClassVar[bool] = True

    def __init__(
        self, total: Resources | None = None, *, clock: Clock | None = None, default_kind: Any = "config"
    ) -> None:
        has = total or machine()
        self._total = _Place(cpu=has.cpu, gpu=has.gpu, memory_bytes=has.memory_bytes)
        self._clock = clock
        self._default_kind = default_kind
        self._waiting: Assignment | None = None
        self._handle: Callable[[Event], None] | None = None
        self._answer: Any = None
        self._has_answer = False

    def attach(self, handle: Callable[[Event], None]) -> None:
        self._handle = handle

    def start(self, assignment: Assignment) -> None:
        self._waiting = assignment

    def poll(self, timeout_s: float | None) -> list[Event]:
        assignment, self._waiting = self._waiting, None
        if assignment is None:
            return []
        session = Session(assignment, self, self._clock)
        return [run(session, assignment.trainable, kind_of(assignment.trainable, default=self._default_kind))]

    def ask(self, event: Event) -> Any:
        """The running trial's way to the Loop: answered before it returns."""
        self._has_answer = False
        self.send(event)
        if not self._has_answer:
            raise RuntimeError(f"{event!r} was not answered")
        answer, self._answer = self._answer, None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def receive(self) -> Any:
        """The answer that the last event brought about."""
        answer, self._answer = self._answer, None
        return answer

    def send(self, event: Event) -> None:
        """An event without an answer."""
        if self._handle is None:
            raise RuntimeError("an inline executor needs a Loop: call attach first")
        self._handle(event)

    def reply(self, trial: int, message: Any) -> None:
        self._answer, self._has_answer = message, True

    def kill(self, trial: int) -> None:
        self._waiting = None

    def free(self) -> Resources:
        return self._total if self._waiting is None else Resources(cpu=0.0)

    def total(self) -> Resources:
        return self._total

    def shutdown(self) -> None:
        self._waiting = None
