"""Warm worker processes: started when first needed, kept between trials and between runs."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from tuneflow.clock import Clock, SystemClock
from tuneflow.pids import start_of

__all__ = ["Pool", "WorkerProcess", "shared_pool", "shutdown_workers"]


_OWN_RUN = ("MLFLOW_RUN_ID", "WANDB_RUN_ID")
"""Variables that name the driver's own run at a tracker, into which its trials must not write."""


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OWN_RUN}


def _python_path() -> str:
    """Where a process of ours finds this package, and the driver's modules behind it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def _devices(environment: tuple[tuple[str, str], ...]) -> set[str]:
    return set(filter(None, dict(environment).get("CUDA_VISIBLE_DEVICES", "").split(",")))


class WorkerProcess:
    """One worker and the pipe to it.

    Attributes:
        connection: the driver's end of the pipe.
        pid: the process id, also that of its process group.
        loaded: digest of the trainable it holds.
        environment: what its devices and thread counts were set to; such a worker serves no other.
    """

    def __init__(self, environment: tuple[tuple[str, str], ...]) -> None:
        ours, theirs = Pipe(duplex=True)
        self.environment = environment
        self.loaded = ""
        variables = {**_inherited(), **dict(environment)}
        variables["PYTHONPATH"] = _python_path()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tuneflow.runner.worker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                env=variables,
            )
        finally:
            theirs.close()
        self.connection: Connection = ours
        self.pid = self.process.pid
        self._told: dict[str, Any] = {}

    def update(self) -> None:
        """Tells the worker where modules and relative files are now, if that has changed."""
        try:
            cwd = os.getcwd()  # noqa: PTH109
        except FileNotFoundError:  # deleted under us
            cwd = ""
        now = {
            "path": [entry or cwd for entry in sys.path],
            "argv": list(sys.argv),
            "cwd": cwd,
            "environment": {**_inherited(), **dict(self.environment)},
        }
        if now != self._told:
            self._told = now
            self.send(("environment", now))

    def send(self, message: Any) -> None:
        """Sends a message; a broken pipe is noticed by whoever reads from it next."""
        self.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def send_bytes(self, message: bytes) -> None:
        """Sends a message that is pickled already."""
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self.connection.send_bytes(message)

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def terminate(self) -> None:
        """Tells the process group to end: SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> int | None:
        """Ends the process group: SIGKILL. Returns the worker's exit code."""
        self._signal(signal.SIGKILL)
        code = self.process.wait()
        self.connection.close()
        return code

    def tidy(self) -> None:
        """Has an idle worker remove the files that it keeps ready for output; ``is_tidy`` waits until it has."""
        if not self.connection.closed:
            self.send(("tidy", None))

    def is_tidy(self, timeout_s: float = 1.0) -> bool:
        """Whether the worker has done so."""
        with contextlib.suppress(EOFError, OSError):
            if not self.connection.closed and self.connection.poll(timeout_s):
                return self.connection.recv() is None
        return False

    def dismiss(self) -> None:
        """Lets an idle worker end by itself."""
        self.send(("exit", None))
        self.connection.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class _Sentinel:
    """The process that ends this one's workers when this one is gone, where they are too busy to (``sentinel.py``)."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int) -> None:
        """From now on that worker, too."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tuneflow.runner.sentinel", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": _python_path()},
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # something has ended it: what it is for is rare enough
            os.write(self._process.stdin.fileno(), f"{pid} {start_of(pid)}\n".encode())

    def dismiss(self, timeout_s: float) -> None:
        """Lets it end, at once if none of its workers is left."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)


class Pool:
    """Idle workers, by what their environment was set to. Several runs, each in a thread of its own, may share it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._begin()

    def _begin(self) -> None:
        self._idle: list[WorkerProcess] = []
        self._dismissed: list[WorkerProcess] = []
        self._sentinel = _Sentinel()
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def take(self, environment: tuple[tuple[str, str], ...]) -> WorkerProcess:
        """An idle worker with this environment, else a new one."""
        if os.getpid() != self._owner:
            self._begin()  # forked: the workers are the parent's
        with self._lock:
            self._dismissed = [worker for worker in self._dismissed if worker.is_alive]
            for index in range(len(self._idle) - 1, -1, -1):
                worker = self._idle[index]
                if not worker.is_alive:
                    worker.kill()
                    del self._idle[index]
                elif worker.environment == environment:
                    del self._idle[index]
                    return worker
            # One in, one out: workers for other devices or thread counts would only pile up. All of those that hold
            # a GPU of the new one's go: even an idle one has its CUDA there, and what its modules keep.
            devices = _devices(environment)
            rivals = [worker for worker in self._idle if devices & _devices(worker.environment)]
            for other in rivals or self._idle[:1]:
                self._idle.remove(other)
                other.dismiss()
                self._dismissed.append(other)
        worker = WorkerProcess(environment)
        with self._lock:
            self._sentinel.watch(worker.pid)
        return worker

    def put_back(self, worker: WorkerProcess) -> None:
        """Keeps an idle worker for later."""
        if worker.is_alive:
            with self._lock:
                self._idle.append(worker)
        else:
            worker.kill()

    def tidy(self, workers: Iterable[WorkerProcess]) -> None:
        """Has workers remove the files that they keep ready for output, those that another run has taken excepted."""
        wanted = {worker.pid for worker in workers}
        with self._lock:
            taken = [worker for worker in self._idle if worker.pid in wanted]
            self._idle = [worker for worker in self._idle if worker.pid not in wanted]
        for worker in taken:
            worker.tidy()
        for worker in taken:
            if worker.is_tidy():
                self.put_back(worker)
            else:
                worker.kill()

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """Ends all idle workers."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            for worker in self._idle:
                worker.dismiss()
            workers, self._idle, self._dismissed = [*self._idle, *self._dismissed], [], []
            sentinel, self._sentinel = self._sentinel, _Sentinel()
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout_s)
            worker.kill()
        sentinel.dismiss(timeout_s)


_shared: Pool | None = None


def shared_pool() -> Pool:
    """The pool of this process; its workers end with it."""
    global _shared
    if _shared is None:
        _shared = Pool()
        atexit.register(_shared.shutdown)
    return _shared


def shutdown_workers() -> None:
    """Ends the warm worker processes that are idle. They start again when needed."""
    if _shared is not None:
        _shared.shutdown()
