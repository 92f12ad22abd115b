"""What an executor is. The Loop drives every one of them by the same six calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from tuneflow.clock import Clock
from tuneflow.runner.resources import Resources
from tuneflow.trainable.messages import Assignment, Event
from tuneflow.trainable.running import Kind, kind_of

__all__ = ["Executor"]


class Executor(ABC):
    """Runs assignments somewhere and brings back events.

    * ``start`` puts a trial into free resources; it does not wait for it.
    * ``poll`` returns what has happened since the last call, waiting up to ``timeout_s`` for something to.
    * ``Reported`` and ``Suggested`` hold their trial up until ``reply`` answers them.
    * ``Finished``, ``Failed`` and ``Lost`` free the trial's resources; nothing follows them for that attempt.
    """

    needs_pickling: ClassVar[bool] = True
    """Whether trainables cross a process boundary, so that the Loop checks them before anything runs."""

    is_virtual: ClassVar[bool] = False
    """Whether time is simulated: nothing happens between events, so that the Loop never has to look up."""

    is_inline: ClassVar[bool] = False
    """Whether a trial runs on the caller's own thread, where nothing can end it or limit its memory."""

    clock: Clock | None = None
    """The clock that deadlines are read from; None for the study's."""

    def kind_of(self, trainable: Any, *, default: Kind) -> Kind:
        """How a trainable wants to be called here; see ``tuneflow.trainable.running.kind_of``."""
        return kind_of(trainable, default=default)

    def attach(self, handle: Callable[[Event], None]) -> None:  # noqa: B027
        """Called once by the Loop. An executor that runs trials on the caller's own thread hands ``Reported``,
        ``Suggested`` and ``Saved`` to ``handle``, which answers through ``reply`` before it returns.
        """

    def running(self) -> AbstractContextManager[Any]:
        """Entered by the Loop for the length of its run."""
        return nullcontext()

    def prepare(self, trainable: Any, key: str) -> None:  # noqa: B027
        """Called once before the first ``start`` of a trainable; raises where it cannot be run here."""

    @abstractmethod
    def start(self, assignment: Assignment) -> None:
        """Starts an attempt of a trial in free resources."""

    @abstractmethod
    def poll(self, timeout_s: float | None) -> list[Event]:
        """Events since the last call; waits up to ``timeout_s`` seconds for one, for ever with None."""

    @abstractmethod
    def reply(self, trial: int, message: Any) -> None:
        """Answers the event that holds the trial up."""

    @abstractmethod
    def kill(self, trial: int) -> None:
        """Ends a trial now. No event follows; ``free`` says when what it held is free again."""

    def last_output(self, trial: int) -> str:
        """The last lines that a trial printed, also right after ``kill``; "" where they are not kept."""
        return ""

    @abstractmethod
    def free(self) -> Resources:
        """What no trial uses."""

    @abstractmethod
    def total(self) -> Resources:
        """What there is in all."""

    @abstractmethod
    def shutdown(self) -> None:
        """Ends every trial and gives everything back. Safe to call twice."""
