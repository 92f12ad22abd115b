"""Telling listeners what happens to trials. A listener that raises is reported once and hurts nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

__all__ = ["EVENTS", "Listeners"]

EVENTS = (
    "on_study_start",
    "on_study_end",
    "on_trial_start",
    "on_trial_report",
    "on_trial_checkpoint",
    "on_trial_pause",
    "on_trial_resume",
    "on_trial_exploit",
    "on_trial_error",
    "on_trial_end",
)


_logger = logging.getLogger("tuneflow")


class Listeners:
    """The listeners of one study, called in the order in which they were added.

    Attributes:
        has_new: whether there is a listener that has not heard the study begin, or has heard it end since.
    """

    def __init__(self) -> None:
        self.has_new = False
        self._all: list[Any] = []
        self._begun: list[Any] = []
        self._reported: set[tuple[int, str]] = set()
        self._calls: dict[str, list[tuple[Any, Callable[..., Any]]]] = {event: [] for event in EVENTS}

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, listener: Any) -> None:
        """Adds a listener; one that is there already is not added twice."""
        if _holds(self._all, listener):
            return
        self._all.append(listener)
        self.has_new = True
        self._index()

    def remove(self, listener: Any) -> None:
        """Removes a listener, if it is there."""
        self._all = [known for known in self._all if known is not listener]
        self._begun = [known for known in self._begun if known is not listener]
        # An id may be given to another object once this one is gone.
        self._reported = {entry for entry in self._reported if entry[0] != id(listener)}
        self._index()

    def emit(self, event: str, *arguments: Any) -> None:
        """Calls ``event`` (one of EVENTS) on every listener that has it.

        A study begins and ends in turn for each listener: who has heard it begin is not told again before it has ended,
        and who has not is not told of the end.
        """
        if event == "on_study_start":
            listeners = [listener for listener in self._all if not _holds(self._begun, listener)]
            self._begun += listeners
            self.has_new = False
        elif event == "on_study_end":
            listeners, self._begun = self._begun, []
            self.has_new = bool(self._all)
        else:
            listeners = self._all
        for listener, call in self._calls[event]:
            if listeners is self._all or _holds(listeners, listener):
                self._call(listener, event, call, *arguments)

    def _call(self, listener: Any, event: str, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:
            self._complain(listener, event, error)

    def _index(self) -> None:
        for event in EVENTS:
            self._calls[event] = [
                (listener, getattr(listener, event))
                for listener in self._all
                if callable(getattr(listener, event, None)) and not _is_inherited_nothing(listener, event)
            ]

    def _complain(self, listener: Any, event: str, error: Exception) -> None:
        if (id(listener), event) in self._reported:
            return
        self._reported.add((id(listener), event))
        _logger.error(
            "%s.%s raised %r; the study goes on, and further errors of this kind are not shown",
            type(listener).__name__,
            event,
            error,
            exc_info=error,
        )


def _holds(listeners: list[Any], wanted: Any) -> bool:
    """Whether it is there itself: listeners may be equal and yet not the same."""
    return any(listener is wanted for listener in listeners)


def _is_inherited_nothing(listener: Any, event: str) -> bool:
    """Whether the method is the base class's own empty one: such a call is left out."""
    return bool(getattr(getattr(type(listener), event, None), "_does_nothing", False))
