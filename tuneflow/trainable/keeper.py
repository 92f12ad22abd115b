"""The keeper: a process between a worker and a trial's program, so that nothing of the program outlives the trial.

A worker can be killed at any moment, and programs start processes that leave their process group (the ranks of
``torchrun`` lead sessions of their own), so that no signal to a group reaches all of them. Therefore the keeper

* leads a session of its own: what ends the worker's process group does not end it;
* holds a pipe whose other end only the worker has: at its end the worker is gone, and everything below is ended;
* adopts, on Linux, whatever below it loses its parent, so that it finds every process and waits for every one.

Run by its path, in an interpreter without site packages: it imports nothing but the standard library.

On the control pipe comes a line of JSON, ``{"argv": [...], "cwd": ...}``, then single bytes: "t" sends SIGTERM to the
program's process group, "k" ends everything at once. On the status pipe go lines of JSON: ``{"pid": 1}`` or
``{"failed": [errno, text]}``, then ``{"exit": code}``, negative for a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

_IS_LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_S = 1.0
"""What is left gets SIGTERM and this long to end by itself."""
_GIVE_UP_S = 10.0
"""How long to go on killing; a process that hangs in the kernel ends only when that lets it."""


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the control pipe and process ids have to do."""
    if _IS_LINUX:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _parents() -> dict[int, int]:
    """The parent of every process of this machine that is no zombie."""
    found = {}
    if _IS_LINUX:
        for name in os.listdir("/proc"):  # noqa: PTH208
            if name.isdecimal():
                with contextlib.suppress(OSError, ValueError):
                    with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                        state, parent = file.read().rpartition(")")[2].split()[:2]
                    if state != "Z":
                        found[int(name)] = int(parent)
        return found
    with os.popen("ps -A -o pid=,ppid=,stat=") as lines:
        for line in lines:
            pid, parent, state = line.split()[:3]
            if not state.startswith("Z"):
                found[int(pid)] = int(parent)
    return found


class Keeper:
    """Starts the program and ends it.

    Args:
        control: descriptor to read commands from.
        status: descriptor to write to.
    """

    def __init__(self, control: int, status: int) -> None:
        self._control, self._status = control, status
        self._is_told_to_end = False
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        self._pid = 0
        self._code: int | None = None

    def _on_signal(self, *_: Any) -> None:
        self._is_told_to_end = True

    def run(self) -> bool:
        """Until the program has ended; whether nothing of it is left."""
        order = self._read_order()
        if order is None:
            return True
        try:
            self._pid = _start(order["argv"], order["cwd"])
        except OSError as error:
            self._say({"failed": [error.errno or 0, error.strerror or str(error)]})
            return True
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # the program's alone: their end is its end
            os.dup2(nowhere, descriptor, inheritable=False)
        self._say({"pid": self._pid})
        patience_s = self._watch()
        return self._clear(patience_s)

    def _read_order(self) -> Any:
        text = b""
        while not text.endswith(b"\n"):
            piece = os.read(self._control, 65536)
            if not piece:
                return None  # the worker died while it started us
            text += piece
        return json.loads(text)

    def _watch(self) -> float:
        """Waits for the program's end or an order to end it; returns the patience that its processes deserve."""
        while True:
            ready, _, _ = select.select([self._control, self._wake], [], [])
            self._drain()
            self._reap()
            if self._code is not None or self._is_told_to_end:
                return _PATIENCE_S
            if self._control in ready:
                commands = os.read(self._control, 64)
                if not commands:
                    return _PATIENCE_S
                if b"k" in commands:
                    return 0.0
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._pid, signal.SIGTERM)

    def _clear(self, patience_s: float) -> bool:
        """Ends every process below this one; whether all have ended."""
        if patience_s > 0 and self._signal_all(signal.SIGTERM):
            self._wait(patience_s)
        end_s = time.monotonic() + _GIVE_UP_S  # noqa: TID251  (this file runs without tuneflow)
        while self._signal_all(signal.SIGKILL) and time.monotonic() < end_s:  # noqa: TID251
            self._wait(0.05)
        return not self._below()

    def _wait(self, limit_s: float) -> None:
        """Until nothing is left, or the time is over."""
        end_s = time.monotonic() + limit_s  # noqa: TID251
        while self._below() and (left_s := end_s - time.monotonic()) > 0:  # noqa: TID251
            select.select([self._wake], [], [], min(left_s, 0.1))
            self._drain()
            self._reap()

    def _signal_all(self, number: int) -> bool:
        """Sends a signal to all that are left; whether there were any."""
        self._reap()
        below = self._below()
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return bool(below)

    def _below(self) -> list[int]:
        """Every living descendant; elsewhere than on Linux, also what else is in the program's process group."""
        children: dict[int, list[int]] = {}
        for pid, parent in _parents().items():
            children.setdefault(parent, []).append(pid)
        found, waiting = [], [os.getpid()]
        while waiting:
            for pid in children.get(waiting.pop(), []):
                found.append(pid)
                waiting.append(pid)
        if not _IS_LINUX:
            every = [pid for pids in children.values() for pid in pids]
            found += [pid for pid in every if pid not in found and _group_of(pid) == self._pid]
        return found

    def _reap(self) -> None:
        """Takes the exit codes of all that have ended, and tells the program's own."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._code = os.waitstatus_to_exitcode(status)
                self._say({"exit": self._code})

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a worker that is gone does not listen
            os.write(self._status, json.dumps(message).encode() + b"\n")


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def _start(argv: list[str], cwd: str | None) -> int:
    """Starts the program as the leader of a process group. Its process id.

    Raises:
        OSError: it cannot be started.
    """
    problem, told = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(argv, cwd, told, keeper)
    os.close(told)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # in both processes: neither may go on before it is done
    text = b""
    while piece := os.read(problem, 4096):
        text += piece
    os.close(problem)
    if text:
        os.waitpid(pid, 0)
        number, reason = json.loads(text)
        raise OSError(number, reason)
    return pid


def _become(argv: list[str], cwd: str | None, told: int, keeper: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        # Python ignores the last two, and a worker the first: a program is to find them as a shell would leave them.
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if cwd is not None:
            os.chdir(cwd)
        os.execvp(argv[0], argv)
    except OSError as error:
        name = cwd if cwd is not None and error.filename == cwd else argv[0]
        hint = ""
        if name is argv[0] and os.path.exists(name):  # noqa: PTH110
            hint = {
                errno.ENOENT: "; the file is there, but what its first line (#!) names is not",
                errno.ENOEXEC: "; it has no first line (#!) that says what runs it",
            }.get(error.errno or 0, "")
        os.write(told, json.dumps([error.errno or 0, f"{error.strerror}: {name!r}{hint}"]).encode())
    finally:
        os._exit(127)


def main() -> None:
    """Entry point: ``python -I -S keeper.py CONTROL STATUS``."""
    control, status = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (control, status):
        os.set_inheritable(descriptor, False)
    sys.exit(0 if Keeper(control, status).run() else 1)


if __name__ == "__main__":
    main()
