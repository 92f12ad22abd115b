"""Trials in worker processes of this machine: the default executor."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import selectors
import signal
import subprocess
import time
from dataclasses import replace
from typing import Any, ClassVar

from tuneflow.clock import SystemClock
from tuneflow.errors import UnpicklableTrainable
from tuneflow.pids import is_running
from tuneflow.pruners.base import CONTINUE
from tuneflow.runner.executor import Executor
from tuneflow.runner.exits import Family, descendants, describe_exit, end_all, tree_memory_bytes
from tuneflow.runner.gpus import find_gpus
from tuneflow.runner.output import last_output, sweep
from tuneflow.runner.packing import pack, pack_message
from tuneflow.runner.pool import Pool, WorkerProcess, shared_pool
from tuneflow.runner.resources import Resources, machine
from tuneflow.runner.slots import Slots, Taken, worker_environment
from tuneflow.trainable.messages import Answer, Assignment, Event, Failed, Finished, Lost
from tuneflow.trainable.program_end import n_oom_kills

__all__ = ["ProcessExecutor"]

_LIVENESS_S = 1.0
_KILL_GRACE_S = 5.0
_LEAVING_S = 0.05
_EXIT_S = 0.5
_NOTICE_S = 2.0
_GO_ON = Answer(CONTINUE)
_GO_ON_BYTES = pickle.dumps(_GO_ON, pickle.HIGHEST_PROTOCOL)


class _Seat:
    """A worker at work.

    Attributes:
        worker: the process.
        assignment: what it runs.
        taken: what it holds.
        deadline_s: when it is ended by force, once it was told to end.
        family: the processes that it had started by then, to be ended with it.
    """

    __slots__ = ("assignment", "deadline_s", "family", "taken", "worker")

    def __init__(self, worker: WorkerProcess, assignment: Assignment, taken: Taken) -> None:
        self.worker = worker
        self.assignment = assignment
        self.taken = taken
        self.deadline_s = 0.0
        self.family = Family()


class ProcessExecutor(Executor):
    """Runs each trial in a warm worker process: no GIL, no cluster, and a crash costs one trial.

    Workers are fresh interpreters (no fork), lead process groups of their own, may have children, and end by
    themselves when this process is gone. Before a worker imports anything, its environment shows it the GPUs of its
    trial and no others (none for a trial that asks for none), and sets the threads of numerical libraries to its CPUs.

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
        self._slots = Slots(self._total)
        self._gpus = find_gpus().names if self._total.gpu else ()
        self._clock = SystemClock()
        self._blobs: dict[str, tuple[str, bytes]] = {}
        self._seats: dict[int, _Seat] = {}
        self._leaving: list[_Seat] = []
        self._selector = selectors.DefaultSelector()
        self._n_oom_kills = n_oom_kills()
        self._environments: dict[Taken, tuple[tuple[str, str], ...]] = {}
        self._used: dict[int, WorkerProcess] = {}
        self._early: list[Event] = []
        self._killed: dict[int, tuple[str, int]] = {}
        self._memory_due_s = 0.0

    def prepare(self, trainable: Any, key: str) -> None:
        blob = pack(trainable)
        # Workers outlive runs: what they hold is known by its content, never by a name that is used again.
        self._blobs[key] = hashlib.blake2b(blob, digest_size=16).hexdigest(), blob

    def start(self, assignment: Assignment) -> None:
        digest, blob = self._blobs[assignment.trainable_key]
        try:
            packed = pack_message(replace(assignment, trainable=None, trainable_key=digest))
        except Exception as error:
            text = f"the configuration cannot be sent to a worker process: {type(error).__name__}: {error}"
            self._early.append(Failed(assignment.trial, assignment.attempt, None, text, "", False))
            return
        request = Resources(cpu=assignment.cpu, gpu=assignment.gpu, memory_bytes=assignment.memory_bytes)
        taken = self._slots.take(request)
        worker = self._pool.take(self._environment_of(taken))
        if worker.pid not in self._used:
            self._used[worker.pid] = worker
            worker.update()
        if worker.loaded != digest:
            worker.send(("trainable", (digest, blob)))
            worker.loaded = digest
        seat = _Seat(worker, assignment, taken)
        self._seats[assignment.trial] = seat
        self._selector.register(worker.connection.fileno(), selectors.EVENT_READ, seat)
        worker.send(("run", (assignment.trial, assignment.attempt, self._default_kind, packed)))

    def _environment_of(self, taken: Taken) -> tuple[tuple[str, str], ...]:
        found = self._environments.get(taken)
        if found is None:
            devices = [self._gpus[index] if index < len(self._gpus) else str(index) for index in taken.devices]
            found = self._environments[taken] = worker_environment(taken.request, devices, tuple(os.environ))
        return found

    # What comes back

    def poll(self, timeout_s: float | None) -> list[Event]:
        if self._early:
            early, self._early = self._early, []
            return early
        waiting_s = timeout_s
        while True:
            limit_s = _LEAVING_S if self._leaving else _LIVENESS_S
            step_s = limit_s if waiting_s is None else min(waiting_s, limit_s)
            events = [self._read(key.data) for key, _ in self._selector.select(step_s)]
            if not events:
                events = [self._lost(seat) for seat in list(self._seats.values()) if not seat.worker.is_alive]
                events += self._over_memory()
            has_room = self._reap()
            if waiting_s is not None:
                waiting_s -= step_s
            if events or has_room or (waiting_s is not None and waiting_s <= 0):
                return events
            if not self._seats and not self._leaving:
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
            self._slots.give_back(seat.taken)
            # A traceback that is kept somewhere would keep the memory, and CUDA may be broken after an error.
            is_spent = (
                event.is_spent if isinstance(event, Finished) else event.is_out_of_memory or bool(seat.taken.devices)
            )
            if is_spent:
                self._bury(seat)
            else:
                self._pool.put_back(seat.worker)
        return event

    def _lost(self, seat: _Seat, reason: str = "") -> Lost:
        self._vacate(seat)
        is_memory = bool(reason)
        if not reason:
            with contextlib.suppress(subprocess.TimeoutExpired):
                seat.worker.process.wait(_EXIT_S)  # its own end says more than ours
        code = self._bury(seat)
        self._slots.give_back(seat.taken)
        if not reason:
            n_killed = n_oom_kills()
            reason, is_memory = describe_exit(code, is_oom_likely=n_killed > self._n_oom_kills)
            self._n_oom_kills = n_killed
        assignment = seat.assignment
        return Lost(assignment.trial, assignment.attempt, reason, last_output(assignment.folder), is_memory)

    def _bury(self, seat: _Seat) -> int | None:
        """Ends a worker for good; what its trial printed last goes to the trial's folder."""
        worker = seat.worker
        family = seat.family
        if not any(family) and worker.is_alive:
            family = descendants(worker.pid)
        code = worker.kill()
        end_all((*family.others, *family.keepers, *family.kept))
        self._used.pop(worker.pid, None)
        sweep(seat.assignment.folder, worker.pid)
        return code

    def _over_memory(self) -> list[Event]:
        """Ends the trials that hold more memory than they may; looked at once a second."""
        limited = {seat.worker.pid: seat for seat in self._seats.values() if seat.assignment.memory_bytes}
        now_s = self._clock.monotonic()
        if not limited or now_s < self._memory_due_s:
            return []
        self._memory_due_s = now_s + _LIVENESS_S
        events: list[Event] = []
        for pid, held in tree_memory_bytes(limited).items():
            seat = limited[pid]
            limit = seat.assignment.memory_bytes
            if held > limit:
                held_gib, limit_gib = held / 2**30, limit / 2**30
                events.append(
                    self._lost(
                        seat, f"its processes held {held_gib:.3g} GiB, more than memory_bytes={limit_gib:.3g} GiB"
                    )
                )
        return events

    def _vacate(self, seat: _Seat) -> None:
        self._selector.unregister(seat.worker.connection.fileno())
        del self._seats[seat.assignment.trial]

    # What goes out

    def reply(self, trial: int, message: Any) -> None:
        seat = self._seats.get(trial)
        if seat is None:
            return
        if type(message) is Answer and message == _GO_ON:
            seat.worker.send_bytes(_GO_ON_BYTES)
            return
        try:
            seat.worker.send_bytes(pack_message(message))
        except Exception as error:
            text = f"an answer to the trial cannot be sent to its process: {type(error).__name__}: {error}"
            seat.worker.send(UnpicklableTrainable(text))

    def kill(self, trial: int) -> None:
        """SIGTERM to all processes of the trial, SIGKILL five seconds later; nobody waits for that meanwhile.

        A program's keeper does the same with what it keeps, within a second or two.
        """
        seat = self._seats.get(trial)
        if seat is None:
            return
        self._vacate(seat)
        self._killed[trial] = seat.assignment.folder, seat.worker.pid
        seat.deadline_s = self._clock.monotonic() + _KILL_GRACE_S
        seat.family = descendants(seat.worker.pid)  # those in sessions of their own cannot be found later
        seat.worker.terminate()
        end_all(seat.family.others, signal.SIGTERM, but_group=seat.worker.pid)
        self._leaving.append(seat)

    def _reap(self) -> bool:
        """Takes back what trials held that were told to end and have; whether there were any."""
        now_s = self._clock.monotonic()
        gone = [
            seat
            for seat in self._leaving
            if now_s >= seat.deadline_s
            or not (seat.worker.is_alive or any(map(is_running, (*seat.family.others, *seat.family.keepers))))
        ]
        for seat in gone:
            self._leaving.remove(seat)
            self._bury(seat)
            self._slots.give_back(seat.taken)
        return bool(gone)

    def last_output(self, trial: int) -> str:
        seat = self._seats.get(trial)
        if seat is not None:
            return last_output(seat.assignment.folder, seat.worker.pid)
        folder, pid = self._killed.pop(trial, ("", 0))
        for leaving in self._leaving:
            if leaving.worker.pid == pid:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    leaving.worker.process.wait(_EXIT_S)  # where it hung is the last thing that it prints
        return last_output(folder, pid) if folder else ""

    def free(self) -> Resources:
        return self._slots.free()

    def total(self) -> Resources:
        return self._total

    def shutdown(self) -> None:
        for trial in list(self._seats):
            self.kill(trial)
        now_s = self._clock.monotonic()
        for seat in self._leaving:
            seat.deadline_s = min(seat.deadline_s, now_s + (_NOTICE_S if seat.family.keepers else _EXIT_S))
        while self._leaving:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._leaving[0].worker.process.wait(_LEAVING_S)
            if not self._reap() and not self._leaving[0].worker.is_alive:
                time.sleep(_LEAVING_S)
        self._pool.tidy(self._used.values())
        self._used.clear()
        self._selector.close()
        self._selector = selectors.DefaultSelector()
