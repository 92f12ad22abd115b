"""Trials in worker processes of this machine: the default executor."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import selectors
import signal
import subprocess
from dataclasses import replace
from typing import Any, ClassVar

from tuneflow.checkpoint import Checkpoint
from tuneflow.errors import UnpicklableTrainable
from tuneflow.pruners.base import CONTINUE, Exploit
from tuneflow.runner.executor import Executor
from tuneflow.runner.pool import Pool, WorkerProcess, shared_pool
from tuneflow.runner.resources import Resources, machine
from tuneflow.trainable.messages import Answer, Assignment, Event, Failed, Finished, Lost

__all__ = ["ProcessExecutor"]

_LIVENESS_S = 1.0
_KILL_GRACE_S = 5.0
_EXIT_S = 0.5
_GO_ON = Answer(CONTINUE)
_GO_ON_BYTES = pickle.dumps(_GO_ON, pickle.HIGHEST_PROTOCOL)


class _Seat:
    """A worker at work."""

    __slots__ = ("assignment", "worker")

    def __init__(self, worker: WorkerProcess, assignment: Assignment) -> None:
        self.worker = worker
        self.assignment = assignment


class ProcessExecutor(Executor):
    """Runs each trial in a warm worker process: no GIL, no cluster, and a crash costs one trial.

    Workers are fresh interpreters (no fork), lead process groups of their own, may have children, and end by
    themselves when this process is gone.

    Args:
        total: what may be used; the whole machine by default.
        pool: where workers come from and go back to.
        default_kind: how to call a function of one argument whose name does not tell.
    """

    needs_pickling: ClassVar[bool] = True

    def __init__(
        self, total: Resources | None = None, *, pool: Pool | None = None, default_kind: Any = "config"
    ) -> None:
        self._total = total or machine()
        self._pool = pool or shared_pool()
        self._default_kind = default_kind
        self._blobs: dict[str, tuple[str, bytes]] = {}
        self._seats: dict[int, _Seat] = {}
        self._by_descriptor: dict[int, _Seat] = {}
        self._selector = selectors.DefaultSelector()
        self._free = self._total
        self._n_oom_kills = n_oom_kills()
        self._updated: set[int] = set()
        self._early: list[Event] = []

    def prepare(self, trainable: Any, key: str) -> None:
        blob = pack(trainable)
        # Workers outlive runs: what they hold is known by its content, never by a name that is used again.
        self._blobs[key] = hashlib.blake2b(blob, digest_size=16).hexdigest(), blob

    def start(self, assignment: Assignment) -> None:
        digest, blob = self._blobs[assignment.trainable_key]
        try:
            packed = _pack_message(replace(assignment, trainable=None, trainable_key=digest))
        except Exception as error:
            text = f"the configuration cannot be sent to a worker process: {type(error).__name__}: {error}"
            self._early.append(Failed(assignment.trial, assignment.attempt, None, text, "", False))
            return
        worker = self._pool.take(())
        if worker.pid not in self._updated:
            self._updated.add(worker.pid)
            worker.update()
        if worker.loaded != digest:
            worker.send(("trainable", (digest, blob)))
            worker.loaded = digest
        seat = _Seat(worker, assignment)
        self._seats[assignment.trial] = seat
        self._by_descriptor[worker.connection.fileno()] = seat
        self._selector.register(worker.connection.fileno(), selectors.EVENT_READ, seat)
        self._free = self._free.minus(Resources(cpu=assignment.cpu, gpu=assignment.gpu))
        worker.send(("run", (assignment.trial, assignment.attempt, self._default_kind, packed)))

    def poll(self, timeout_s: float | None) -> list[Event]:
        if self._early:
            early, self._early = self._early, []
            return early
        waiting_s = timeout_s
        while True:
            step_s = _LIVENESS_S if waiting_s is None else min(waiting_s, _LIVENESS_S)
            events = [self._read(key.data) for key, _ in self._selector.select(step_s)]
            if not events:
                events = [self._lost(seat) for seat in list(self._seats.values()) if not seat.worker.is_alive]
            if waiting_s is not None:
                waiting_s -= step_s
            if events or (waiting_s is not None and waiting_s <= 0) or not self._seats:
                return events

    def _read(self, seat: _Seat) -> Event:
        try:
            event: Event = pickle.loads(seat.worker.connection.recv_bytes())
        except (EOFError, OSError):
            return self._lost(seat)
        except Exception as error:
            self.kill(seat.assignment.trial)
            text = f"a message of the trial could not be read: {type(error).__name__}: {error}"
            return Failed(seat.assignment.trial, seat.assignment.attempt, None, text, "", False)
        if isinstance(event, (Finished, Failed)):
            self._vacate(seat)
            if isinstance(event, Failed) and event.is_out_of_memory:
                seat.worker.kill()
            else:
                self._pool.put_back(seat.worker)
        return event

    def _lost(self, seat: _Seat) -> Event:
        self._vacate(seat)
        with contextlib.suppress(subprocess.TimeoutExpired):
            seat.worker.process.wait(_EXIT_S)  # its own end says more than ours
        code = seat.worker.kill()
        n_killed = n_oom_kills()
        reason, is_memory = describe_exit(code, is_oom_likely=n_killed > self._n_oom_kills)
        self._n_oom_kills = n_killed
        return Lost(seat.assignment.trial, seat.assignment.attempt, reason, "", is_memory)

    def _vacate(self, seat: _Seat) -> None:
        descriptor = seat.worker.connection.fileno()
        self._selector.unregister(descriptor)
        del self._by_descriptor[descriptor]
        del self._seats[seat.assignment.trial]
        used = [seat.assignment for seat in self._seats.values()]
        free = self._total
        for assignment in used:
            free = free.minus(Resources(cpu=assignment.cpu, gpu=assignment.gpu))
        self._free = free

    def reply(self, trial: int, message: Any) -> None:
        seat = self._seats.get(trial)
        if seat is None:
            return
        if type(message) is Answer and message == _GO_ON:
            seat.worker.send_bytes(_GO_ON_BYTES)
            return
        try:
            seat.worker.send_bytes(_pack_message(message))
        except Exception as error:
            text = f"an answer to the trial cannot be sent to its process: {type(error).__name__}: {error}"
            seat.worker.send(UnpicklableTrainable(text))

    def kill(self, trial: int) -> None:
        seat = self._seats.get(trial)
        if seat is not None:
            self._vacate(seat)
            seat.worker.kill(grace_s=_KILL_GRACE_S)

    def free(self) -> Resources:
        return self._free

    def total(self) -> Resources:
        return self._total

    def shutdown(self) -> None:
        seats = list(self._seats.values())
        for seat in seats:
            self._vacate(seat)
            seat.worker.kill(grace_s=0.5)
        self._selector.close()
        self._selector = selectors.DefaultSelector()


def _pack_message(message: Any) -> bytes:
    """A message for a worker. What users hold may be defined in ``__main__``, which is another module there."""
    if _is_plain(message):
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    import cloudpickle

    packed: bytes = cloudpickle.dumps(message)
    return packed


def _is_plain(value: Any) -> bool:
    """Whether a message holds nothing but values and classes that every process has."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes):
        return True
    if kind is dict:
        return all(type(key) is str and _is_plain(entry) for key, entry in value.items())
    if kind in (list, tuple):
        return all(map(_is_plain, value))
    if kind is Assignment:
        return (
            _is_plain(value.config)
            and _is_plain(value.params)
            and _is_plain(value.user_attrs)
            and _is_plain(value.checkpoint)
        )
    if kind is Answer:
        return not isinstance(value.decision, Exploit)
    return kind is Checkpoint


def n_oom_kills() -> int:
    """How many processes the kernel of this machine has killed for memory since it started; 0 where it does not say."""
    try:
        with open("/proc/vmstat") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except OSError:
        return 0


def describe_exit(code: int | None, *, is_oom_likely: bool) -> tuple[str, bool]:
    """How a worker ended, for people; and whether the kernel's OOM killer did it.

    Args:
        code: the exit code, negative for a signal.
        is_oom_likely: whether the kernel has killed a process for memory meanwhile.
    """
    if code is None:
        return "the worker process ended", False
    if code >= 0:
        return f"the worker process ended with exit code {code} (os._exit, or a crash of the interpreter)", False
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL" and is_oom_likely:
        return "the kernel ended the worker process because the machine ran out of memory", True
    hints = {"SIGSEGV": " (a crash in native code)", "SIGABRT": " (an abort in native code)"}
    return f"the worker process was ended by {name}{hints.get(name, '')}", False


def pack(trainable: Any) -> bytes:
    """A trainable as bytes; what is defined in ``__main__`` or a notebook is sent by value.

    Raises:
        UnpicklableTrainable: it holds something that cannot be sent; the message names it.
    """
    import cloudpickle

    try:
        blob: bytes = cloudpickle.dumps(trainable)
    except Exception as error:
        name = getattr(trainable, "__name__", type(trainable).__name__)
        culprit = _culprit(trainable)
        raise UnpicklableTrainable(
            f"the trainable {name} cannot be sent to a worker process{culprit}: {error}. Create it inside the "
            f"function, pass it with tune.with_parameters, or use executor='inline'"
        ) from error
    return blob


def _culprit(trainable: Any) -> str:
    """Names the closure variable, global or attribute that cannot be pickled."""
    import inspect

    import cloudpickle

    held: dict[str, Any] = {}
    function = getattr(trainable, "func", trainable)
    if inspect.isfunction(function):
        found = inspect.getclosurevars(function)
        held = {
            **{f"closure variable {name!r}": value for name, value in found.nonlocals.items()},
            **{f"global {name!r}": value for name, value in found.globals.items()},
            **{f"default of {name!r}": value for name, value in (function.__kwdefaults__ or {}).items()},
        }
    for name, value in getattr(trainable, "__dict__", {}).items():
        held[f"attribute {name!r}"] = value
    for name, value in (getattr(trainable, "keywords", None) or {}).items():
        held[f"argument {name!r}"] = value
    for name, value in held.items():
        try:
            cloudpickle.Pickler(io.BytesIO()).dump(value)
        except Exception:
            return f" because of its {name} ({type(value).__name__})"
    return ""
