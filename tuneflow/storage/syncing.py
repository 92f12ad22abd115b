"""Bringing what was written to a file onto the disk, in groups and behind the writer's back."""

from __future__ import annotations

import os
import threading
from pathlib import Path

__all__ = ["GroupSync", "sync_folder"]

# The size is part of what fdatasync writes; the time of the last change, which it leaves out, is of no use here.
_sync_to_disk = getattr(os, "fdatasync", os.fsync)


class GroupSync:
    """Syncs one open file at most every ``interval_s`` seconds while it is written to.

    The thread that does it starts with the first write and sleeps without polling while nothing is written. The
    descriptor belongs to this object, which closes it.

    Args:
        fd: descriptor of the file.
        interval_s: seconds that a write may wait for its sync; 0 syncs within every ``mark``.
    """

    def __init__(self, fd: int, interval_s: float) -> None:
        self._fd = fd
        self._interval_s = interval_s
        self._is_dirty = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        # Reentrant: the garbage collector may close a forgotten journal in the middle of any call of this thread.
        self._fd_lock = threading.RLock()
        self.error: OSError | None = None
        """The disk's refusal of an earlier sync that nobody has been told yet."""

    def mark(self) -> None:
        """Says that something has been written."""
        if self._interval_s == 0:
            self._is_dirty = True
            self.flush()
        elif not self._is_dirty:
            self._is_dirty = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tuneflow-journal-sync", daemon=True)
                self._thread.start()
            self._wake.set()

    def flush(self) -> None:
        """Syncs now.

        Raises:
            OSError: the disk refused.
        """
        with self._fd_lock:
            if self._is_dirty and self._fd >= 0:
                # Lowered first: what is written while the disk works is dirty again.
                self._is_dirty = False
                _sync_to_disk(self._fd)

    def close(self) -> None:
        """Syncs and closes the file. May be called twice."""
        self._closing.set()
        self._wake.set()
        with self._fd_lock:
            if self._fd >= 0:
                try:
                    self.flush()
                finally:
                    fd, self._fd = self._fd, -1
                    os.close(fd)

    def abandon(self) -> None:
        """Closes the file and nothing else: for the copy of this object that a fork has made, whose thread is gone."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if self._closing.wait(self._interval_s):
                return
            self._wake.clear()
            try:
                self.flush()
            except OSError as error:
                self.error = error


def sync_folder(folder: Path) -> None:
    """Makes the name of a new file durable."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written but not read
        return
    try:
        os.fsync(fd)
    except OSError:  # not every file system can
        pass
    finally:
        os.close(fd)
