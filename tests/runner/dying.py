"""Drivers that die at a moment of one's choice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tuneflow.storage import JournalBackend

__all__ = ["Deaths", "in_child"]


def in_child(call: Callable[[], object]) -> None:
    """Runs ``call`` in a fork of this process, to its death by SIGKILL."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "it was to be killed, and came to its end"


class Deaths:
    """Kills drivers after records of their journals, spread evenly over those that a calm run writes.

    Attributes:
        n_written: appends to a journal by this process, since it was made or set.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_written = 0
        self._last = 0
        append = JournalBackend.append_logs

        def counting(backend: JournalBackend, records: list[dict[str, Any]]) -> None:
            append(backend, records)
            self.n_written += 1
            if self.n_written == self._last:
                os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(JournalBackend, "append_logs", counting)

    def spread(self, n_deaths: int, n_records: int, drive: Callable[[int], object]) -> Iterator[int]:
        """Has ``drive(index)`` run and die, ``n_deaths`` times; gives each index when it is dead."""
        for index in range(n_deaths):
            self._last, self.n_written = 1 + (index * n_records) // n_deaths, 0
            in_child(lambda index=index: drive(index))
            self._last = 0
            yield index
