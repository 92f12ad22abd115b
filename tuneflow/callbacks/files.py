"""Files that grow line by line, many at a time, and files that are replaced as a whole."""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from pathlib import Path

from tuneflow.errors import LogNotWritten

__all__ = ["FilePool", "replace_file"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FilePool:
    """Appends to files and keeps the ones used last open.

    A line goes to the system in one unbuffered write, so that nothing handed over is lost with the process. It is not
    synced: a power loss may take the last lines.

    Args:
        limit: how many files are open at once, >= 1.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._open: dict[str, int] = {}  # in order of use
        # Plain descriptors do not close themselves when the pool is forgotten.
        self._finalizer = weakref.finalize(self, _close_all, self._open)

    def append(self, path: str, line: bytes) -> None:
        """Appends a line to the file, which is made if it is missing; its folder is not.

        Raises:
            LogNotWritten: the disk refused; nothing of the line is in the file.
        """
        opened = self._open
        fd = opened.pop(path, -1)
        try:
            if fd < 0:
                fd = self._add(path)
            opened[path] = fd
            n_written = os.write(fd, line)
            if n_written < len(line):
                self._write_rest(fd, line, n_written)
        except OSError as error:
            self.close(path)
            raise not_written(path, error) from error

    def close(self, path: str) -> None:
        """Closes the file, if it is open."""
        fd = self._open.pop(path, -1)
        if fd >= 0:
            os.close(fd)

    def close_all(self) -> None:
        """Closes every file; they are opened again when needed."""
        _close_all(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def _add(self, path: str) -> int:
        while len(self._open) >= self._limit:
            self.close(next(iter(self._open)))
        return os.open(path, _FLAGS, 0o666)

    def _write_rest(self, fd: int, line: bytes, n_written: int) -> None:
        start = os.fstat(fd).st_size - n_written
        try:
            while n_written < len(line):
                n_written += os.write(fd, line[n_written:])
        except OSError:
            os.ftruncate(fd, start)
            raise


def replace_file(path: str, content: bytes) -> None:
    """Puts ``content`` in place of the file at once: a reader, or whoever comes after a crash, sees the old or the new.

    Raises:
        LogNotWritten: the disk refused; the file is as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise not_written(path, error) from error


def not_written(path: str, error: OSError) -> LogNotWritten:
    """The error to raise for one of the system's."""
    advice = "free some space" if error.errno in _FULL else "check the folder and the disk"
    return LogNotWritten(
        path,
        f"{error.strerror or error}; this was not written. The study goes on, and what the file lacks is filled in "
        f"from the study's own record when writing works again: {advice}",
        error.errno,
    )


def _close_all(opened: dict[str, int]) -> None:
    while opened:
        os.close(opened.popitem()[1])
