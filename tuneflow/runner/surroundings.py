"""What a trial may have changed about its process that would reach the next one there."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import signal
import sys
from types import TracebackType
from typing import Any

__all__ = ["Surroundings"]


class Surroundings:
    """Around a trial: working directory, standard streams, signals and timers are afterwards as they were before.

    What a trial did that hung until SIGTERM came is the last thing that it prints; a worker without one ends silently.

    Args:
        shows_hang: print the stacks on SIGTERM; not where a trial only waits for a program, whose stack is none of it.

    What belongs to imported modules is left alone (``sys.path``, the environment, global state of libraries): a module
    that was imported by one trial is not imported again by the next.

    Example:
        >>> before = os.getcwd()
        >>> with Surroundings():
        ...     os.chdir("/")
        >>> os.getcwd() == before
        True
    """

    def __init__(self, *, shows_hang: bool = True) -> None:
        self._shows_hang = shows_hang

    def __enter__(self) -> None:
        self._cwd = _cwd()
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        if self._shows_hang:
            with contextlib.suppress(ValueError, AttributeError, RuntimeError):
                faulthandler.register(signal.SIGTERM, file=2, chain=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._cwd and _cwd() != self._cwd:
            with contextlib.suppress(OSError):
                os.chdir(self._cwd)
        sys.stdin, sys.stdout, sys.stderr = self._streams
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            if getattr(getattr(sys, name), "closed", False):
                setattr(sys, name, _reopened(descriptor))
        with contextlib.suppress(ValueError, AttributeError):
            faulthandler.unregister(signal.SIGTERM)
            signal.setitimer(signal.ITIMER_REAL, 0)  # no alarm goes off later
            for number, handler in self._handlers.items():
                if signal.getsignal(number) is not handler:
                    signal.signal(number, handler)


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - at every trial's start and end
    except OSError:  # deleted under us
        return ""


def _reopened(descriptor: int) -> Any:
    raw = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(io.BufferedWriter(raw), errors="backslashreplace", line_buffering=True)
