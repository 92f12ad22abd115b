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
    """The listeners of one study, called in the order in which they were added."""

    def __init__(self) -> None:
        self._all: list[Any] = []
        self._reported: set[tuple[int, str]] = set()
        self._calls: dict[str, list[tuple[int, Callable[..., Any]]]] = {event: [] for event in EVENTS}

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, listener: Any) -> None:
        """Adds a listener; one that is there already is not added twice."""
        if any(known is listener for known in self._all):
            return
        self._all.append(listener)
        self._index()

    def remove(self, listener: Any) -> None:
        """Removes a listener, if it is there."""
        self._all = [known for known in self._all if known is not listener]
        self._index()

    def emit(self, event: str, *arguments: Any) -> None:
        """Calls ``event`` (one of EVENTS) on every listener that has it."""
        for index, call in self._calls[event]:
            try:
                call(*arguments)
            except Exception as error:
                self._complain(index, event, error)

    def _index(self) -> None:
        for event in EVENTS:
            self._calls[event] = [
                (index, getattr(listener, event))
                for index, listener in enumerate(self._all)
                if callable(getattr(listener, event, None)) and not _is_inherited_nothing(listener, event)
            ]

    def _complain(self, index: int, event: str, error: Exception) -> None:
        name = type(self._all[index]).__name__
        if (index, event) in self._reported:
            return
        self._reported.add((index, event))
        _logger.error(
            "%s.%s raised %r; the study goes on, and further errors of this kind are not shown",
            name,
            event,
            error,
            exc_info=error,
        )


def _is_inherited_nothing(listener: Any, event: str) -> bool:
    """Whether the method is the base class's own empty one: such a call is left out."""
    return bool(getattr(getattr(type(listener), event, None), "_does_nothing", False))
