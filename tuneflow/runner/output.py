"""What a trial prints: kept in files of its folder, at no cost for a trial that prints nothing.

While a trial runs, the worker's standard output and error are files. A file starts as a spare one in the experiment's
folder and is moved into the trial's (``stdout.txt``, ``stderr.txt``) once something stands in it, so that silent
trials make no files. Whatever holds the file open, a child process too, goes on writing to it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["OutputFiles", "last_output", "sweep", "sweep_unclaimed"]

STREAMS = ("stdout", "stderr")
_LAST_LINES = 20
_LAST_BYTES = 16_384
_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


def _spare(root: str, pid: int, stream: str) -> str:
    return f"{root}{os.sep}.output-{pid}-{stream}"


def _target(folder: str, stream: str) -> str:
    return f"{folder}{os.sep}{stream}.txt"


class _Stream:
    """Standard output or error of this process."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.original = os.dup(descriptor)
        self.file = -1
        self.spare = ""
        """Path of the open file while it is nobody's; "" once it is a trial's."""
        self.n_echoed = 0

    def open(self, folder: str, has_run: bool) -> None:
        """Writes go to the trial's file: one that is there already, or the spare one.

        For a new trial nobody looks: the driver is writing its first files into that folder just then.
        """
        root = os.path.dirname(folder)  # noqa: PTH120 - at every trial's start
        if has_run and os.path.exists(_target(folder, self.name)):  # noqa: PTH110
            self.close()
            self.file = os.open(_target(folder, self.name), _OPEN, 0o666)
        elif not self.spare or os.path.dirname(self.spare) != root:  # noqa: PTH120
            self.close()
            os.makedirs(root, exist_ok=True)  # noqa: PTH103
            path = _spare(root, os.getpid(), self.name)
            self.file, self.spare = os.open(path, _OPEN | os.O_TRUNC, 0o666), path
        self.n_echoed = os.fstat(self.file).st_size
        os.dup2(self.file, self.descriptor)

    def publish(self, folder: str) -> None:
        """Gives the file to the trial, if something stands in it."""
        if self.spare and os.fstat(self.file).st_size:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            os.rename(self.spare, _target(folder, self.name))  # noqa: PTH104
            self.spare = ""

    def echo(self, prefix: bytes, *, is_over: bool) -> None:
        """Copies whole new lines to where the worker's own output goes."""
        new = os.pread(self.file, max(0, os.fstat(self.file).st_size - self.n_echoed), self.n_echoed)
        end = len(new) if is_over else new.rfind(b"\n") + 1
        if end:
            lines = new[:end].splitlines(keepends=True)
            if not lines[-1].endswith(b"\n"):
                lines[-1] += b"\n"
            self.n_echoed += end
            with contextlib.suppress(OSError):
                os.write(self.original, b"".join(prefix + line for line in lines))

    def restore(self) -> None:
        """Writes go where they went before."""
        os.dup2(self.original, self.descriptor)

    def close(self) -> None:
        """Forgets the open file; a spare one is removed."""
        if self.file >= 0:
            os.close(self.file)
            if self.spare:
                with contextlib.suppress(OSError):
                    os.unlink(self.spare)  # noqa: PTH108
        self.file, self.spare = -1, ""


class OutputFiles:
    """The output of the trials that run in this process, one after the other.

    A disk that refuses leaves the output where it went before: a trial does not fail for that.
    """

    def __init__(self) -> None:
        self._streams = [_Stream(name, 1 + index) for index, name in enumerate(STREAMS)]
        self._folder = ""
        self._prefix: bytes | None = None
        self._lock = threading.Lock()
        self._fflush = _fflush()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]

    def begin(self, folder: str, *, echo: str | None, has_run: bool) -> None:
        """A trial begins.

        Args:
            folder: the trial's.
            echo: what is put before each line that is shown as well; None to show nothing.
            has_run: whether there may be output of it already.
        """
        with self._lock:
            self._prefix = None if echo is None else echo.encode()
            self._folder = folder
            for stream in self._streams:
                try:
                    stream.open(folder, has_run)
                except OSError:
                    stream.close()

    def tick(self) -> None:
        """Called twice a second while a trial runs."""
        with self._lock:
            self._move_on(is_over=False)

    def end(self) -> None:
        """The trial has ended."""
        self.flush()
        with self._lock:
            self._move_on(is_over=True)
            for stream in self._streams:
                stream.restore()
                if not stream.spare:
                    stream.close()
            self._folder = ""

    def flush(self) -> None:
        """Brings what Python and C libraries hold back into the files."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        if self._fflush is not None:
            self._fflush(None)

    def tidy(self) -> None:
        """Removes the spare files: this process may be idle for long."""
        with self._lock:
            if not self._folder:
                for stream in self._streams:
                    stream.close()

    def _move_on(self, *, is_over: bool) -> None:
        if not self._folder:
            return
        for stream in self._streams:
            if stream.file < 0:
                continue
            with contextlib.suppress(OSError):
                stream.publish(self._folder)
                if self._prefix is not None:
                    stream.echo(self._prefix, is_over=is_over)


def _fflush() -> Callable[[None], object] | None:
    """C's ``fflush``: what a library printed may stand in its own buffer, and would end in the next trial's file."""
    try:
        import ctypes

        fflush: Callable[[None], object] = ctypes.CDLL(None).fflush
        return fflush
    except (ImportError, OSError, AttributeError, TypeError):
        return None


def sweep(folder: str, pid: int) -> None:
    """After the death of a worker: gives its spare files to the trial that it ran, if something stands in them."""
    root = os.path.dirname(folder)  # noqa: PTH120
    for stream in STREAMS:
        spare = Path(_spare(root, pid, stream))
        with contextlib.suppress(OSError):
            if spare.stat().st_size:
                Path(folder).mkdir(parents=True, exist_ok=True)
                spare.rename(_target(folder, stream))
            else:
                spare.unlink()


def sweep_unclaimed(root: str | os.PathLike[str]) -> None:
    """After the death of workers and driver together: what stands in spare files is kept under a name that is seen.

    Which trial it belongs to died with them. Called while nobody else works in the experiment's folder.
    """
    for spare in Path(root).glob(".output-*-*"):
        _, pid, stream = spare.name.split("-", 2)
        with contextlib.suppress(OSError):
            if spare.stat().st_size:
                spare.rename(spare.with_name(f"unclaimed-output-{pid}-{stream}.txt"))
            else:
                spare.unlink()


def last_output(folder: str, pid: int = 0) -> str:
    """The last lines that a trial printed, those of each stream under its name; "" for nothing.

    Args:
        folder: the trial's.
        pid: the process that runs it, whose spare files are looked at too.
    """
    parts = []
    for stream in STREAMS:
        paths = [_target(folder, stream)]
        if pid:
            paths.append(_spare(os.path.dirname(folder), pid, stream))  # noqa: PTH120
        for path in paths:
            lines = _tail(path)
            if lines:
                parts.append(f"{stream}:\n{lines}")
                break
    return "\n".join(parts)


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LAST_BYTES))
            data = file.read()
    except OSError:
        return ""
    text = data.decode(errors="replace").replace("\r\n", "\n")
    # A progress bar draws over its own line: its last state counts.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join(lines[-_LAST_LINES - 1 :]).strip("\n")
