"""Ends the workers of a driver that is gone, where they do not do so themselves.

A worker looks for its driver from a thread, which gets no turn while a trial is in native code that holds the
interpreter's lock. This process holds none. The driver writes its workers to this one's standard input, a line each:
the id, and when the process started, so that no other is taken for it that gets the same id later.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from tuneflow.pids import is_running, start_of

__all__ = ["main"]

_LOOK_S = 1.0
_OWN_END_S, _N_LOOKS = 2.0, 20  # what workers get to end by themselves, and how often that is looked at


class _Workers:
    """The workers that were named, as long as they run."""

    def __init__(self) -> None:
        self._starts: dict[int, str] = {}
        self._rest = ""

    def add(self, text: str) -> None:
        """Takes in lines; a last one without its end is kept until that comes."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            pid, _, start = line.partition(" ")
            self._starts[int(pid)] = start

    def running(self) -> list[int]:
        for pid, start in list(self._starts.items()):
            if not is_running(pid) or start_of(pid) != start:
                del self._starts[pid]
        return list(self._starts)

    def end(self) -> None:
        """Ends those that run, with all that they have started, but for keepers of programs and what is theirs."""
        from tuneflow.runner.exits import descendants, end_all

        for pid in self.running():
            end_all(descendants(pid).others)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def main() -> None:
    """Entry point: ``python -m tuneflow.runner.sentinel DRIVER``."""
    driver, workers, is_open = int(sys.argv[1]), _Workers(), True
    while True:
        is_gone = os.getppid() != driver
        if not is_open:  # the driver has let its workers go; another of its runs may have some at work
            if is_gone or not workers.running():
                break
            time.sleep(_LOOK_S)
        elif select.select([0], [], [], 0 if is_gone else _LOOK_S)[0]:
            text = os.read(0, 65536)
            is_open = bool(text)
            workers.add(text.decode())
        elif is_gone:  # and all that it wrote is read
            break
    for _ in range(_N_LOOKS):  # they know better what is below them
        if workers.running():
            time.sleep(_OWN_END_S / _N_LOOKS)
    workers.end()


if __name__ == "__main__":
    main()
