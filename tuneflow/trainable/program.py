"""A trial's program as a process: started under a keeper, read from, ended with all that it started."""

from __future__ import annotations

import array
import codecs
import contextlib
import fcntl
import json
import os
import selectors
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["KEEPER", "Program"]

KEEPER = str(Path(__file__).with_name("keeper.py"))
"""What a keeper runs: it is known by that."""
_KEEPER_ENDS_S = 15.0
_OUTPUT_ENDS_S = 1.0


class Program:
    """A running program.

    Args:
        argv: the program and its arguments. No shell sees them.
        environment: all of its environment variables.
        cwd: its working directory; this process's without one.
        on_text: called from other threads with ("stdout" or "stderr", text) as output arrives; ("stdout", "") at
            the stream's end.
        on_end: called once, from another thread, when nothing of the program is left and all output was handed over;
            with its exit code, negative for a signal, None where nobody knows.

    Raises:
        OSError: it cannot be started.

    Attributes:
        pid: its process id, also that of its process group.

    Example:
        >>> import os, queue
        >>> ended = queue.Queue()
        >>> program = Program(["true"], os.environ, on_text=lambda stream, text: None, on_end=ended.put)
        >>> ended.get()
        0
        >>> program.close()
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: str | None = None,
        on_text: Callable[[str, str], None],
        on_end: Callable[[int | None], None],
    ) -> None:
        theirs_in, self._control = os.pipe()
        status, theirs_out = os.pipe()
        try:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", KEEPER, str(theirs_in), str(theirs_out)],
                pass_fds=[theirs_in, theirs_out],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
            )
        except BaseException:
            os.close(self._control)
            os.close(status)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._status = os.fdopen(status, encoding="utf-8")
        self._lock = threading.Lock()  # commands come from one thread, the end from another
        self._send(json.dumps({"argv": list(argv), "cwd": cwd}).encode() + b"\n")
        answer = json.loads(self._status.readline() or '{"failed": [0, "its keeper could not be started"]}')
        if "failed" in answer:
            self.close()
            for stream in (self._keeper.stdout, self._keeper.stderr):
                if stream is not None:
                    stream.close()
            self._status.close()
            raise OSError(*answer["failed"])
        self.pid = int(answer["pid"])
        outputs = (("stdout", self._keeper.stdout), ("stderr", self._keeper.stderr))
        self._readers = [_Reader(stream, name, on_text) for name, stream in outputs if stream is not None]
        waiter = threading.Thread(target=self._wait, args=(on_end,), daemon=True, name="tuneflow-program")
        for thread in (*self._readers, waiter):
            thread.start()

    def has_caught_up(self) -> bool:
        """Whether all that it has written so far was handed over."""
        return all(reader.has_caught_up() for reader in self._readers)

    def terminate(self) -> None:
        """Sends SIGTERM to its process group."""
        self._send(b"t")

    def kill(self) -> None:
        """Ends it and all that it started, at once."""
        self._send(b"k")

    def close(self) -> None:
        """Ends it if it still runs, with a second's notice, and waits until nothing is left."""
        with self._lock:
            if self._control >= 0:
                os.close(self._control)
                self._control = -1
        try:
            self._keeper.wait(_KEEPER_ENDS_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()

    def _send(self, command: bytes) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._control >= 0:
                while command:
                    command = command[os.write(self._control, command) :]

    def _wait(self, on_end: Callable[[int | None], None]) -> None:
        code: int | None = None
        with self._status as lines:
            for line in lines:
                code = json.loads(line).get("exit", code)
        is_clean = self._keeper.wait() == 0 and sys.platform == "linux"
        for reader in self._readers:
            reader.join(None if is_clean else _OUTPUT_ENDS_S)  # something may be left that holds the streams open
        on_end(code)


class _Reader(threading.Thread):
    """Hands over output as it comes. Bytes that are no UTF-8 are replaced."""

    def __init__(self, stream: IO[bytes], name: str, on_text: Callable[[str, str], None]) -> None:
        super().__init__(daemon=True, name=f"tuneflow-{name}")
        self._stream, self._label, self._on_text = stream, name, on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._busy = threading.Lock()

    def run(self) -> None:
        with self._stream, selectors.DefaultSelector() as selector:
            selector.register(self._stream, selectors.EVENT_READ)
            while selector.select():  # until there is something: only what is read and not handed over is held back
                with self._busy:
                    if not self._take():
                        break
        rest = self._decoder.decode(b"", final=True)
        if rest:
            self._on_text(self._label, rest)
        self._on_text(self._label, "")

    def _take(self) -> bool:
        try:
            piece = os.read(self._stream.fileno(), 65536)
        except OSError:
            return False
        if piece:
            self._on_text(self._label, self._decoder.decode(piece))
        return bool(piece)

    def has_caught_up(self) -> bool:
        """Whether nothing waits to be read or handed over."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            waiting = array.array("i", [0])
            fcntl.ioctl(self._stream.fileno(), termios.FIONREAD, waiting)
        except (OSError, ValueError):
            return True  # it is closed
        finally:
            self._busy.release()
        return waiting[0] == 0
