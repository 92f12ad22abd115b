"""Bringing what was written to a file onto the disk, in groups and behind the writer's back."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

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
        self._thread: threading.Thread | None = None
        # True: there is something to sync; False: end. This queue and the lock may be entered again by their holder:
        # the garbage collector may close a forgotten journal in the middle of any call, of the thread's too.
        self._wake: SimpleQueue[bool] = SimpleQueue()
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
            self._wake.put(True)

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
        """Syncs, closes the file and tells the thread to end. May be called twice, and by the garbage collector.

        Raises:
            OSError: the disk refused; the file is closed all the same.
        """
        self._wake.put(False)
        try:
            self.flush()
        finally:
            with self._fd_lock:
                self.abandon()

    def join(self) -> None:
        """After ``close``: returns when the thread has ended."""
        if self._thread is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Closes the file and nothing else: for the copy of this object in a forked child, where its thread is not."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _run(self) -> None:
        while self._wake.get():
            try:
                if not self._wake.get(timeout=self._interval_s):
                    return
            except Empty:
                pass
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
