"""The trial's side within a program that ``tune.script`` started: the session there, over the socket.

It is found through two environment variables, which the program's own processes inherit: those of a distributed job
(``torchrun``) connect as well. The one of rank 0 reports; the others get the same decisions.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from typing import Any

from tuneflow.errors import UsageError
from tuneflow.plain import plain
from tuneflow.pruners.base import Decision, Stop
from tuneflow.trainable.messages import Event, Reported, Saved, TrialInfo
from tuneflow.trainable.session import Session, TrialInterrupt
from tuneflow.trainable.wire import ADDRESS, SECRET, Welcome, encoded

__all__ = ["ProgramInterrupt", "ProgramSession", "attach", "rank"]


class ProgramInterrupt(TrialInterrupt, SystemExit):
    """Unwinds a program that has to leave; where nothing stops it, the process ends without a traceback."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.code = 0


def rank() -> int:
    """This process's rank in its distributed job: what torch says, else ``RANK``, else ``LOCAL_RANK``, else 0."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    given = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    return int(given) if given.isdecimal() else 0


def _job() -> str:
    """The same in all processes that ``torchrun`` starts together, another after it has restarted them."""
    return "/".join(os.environ.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT"))


class _Line:
    """The program's channel: one question at a time."""

    def __init__(self) -> None:
        from multiprocessing import AuthenticationError
        from multiprocessing.connection import Client

        address = os.environ[ADDRESS]
        host, _, port = address.rpartition(":")
        try:
            self._connection = Client((host, int(port)), authkey=os.environ.get(SECRET, "").encode())
        except (OSError, EOFError, ValueError, AuthenticationError) as error:
            raise UsageError(
                f"{ADDRESS}={address} is set, but the trial that started this program does not answer there "
                f"({type(error).__name__}): it has ended, or the variable is a leftover; unset it to run by yourself"
            ) from None
        self._lock = threading.Lock()

    def question(self, message: Any) -> Any:
        """Asks and waits for the answer; raises it where it is an exception."""
        try:
            with self._lock:
                self._connection.send_bytes(encoded(message))
                answer = pickle.loads(self._connection.recv_bytes())
        except (OSError, EOFError):
            raise ProgramInterrupt(Stop()) from None  # nobody listens any more
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def ask(self, event: Event) -> Any:
        if not isinstance(event, Reported):
            raise UsageError(
                "a script cannot suggest parameters or set attributes of its trial: its parameters come from the "
                "space that the study was created with; read them from tuneflow.get_trial().config"
            )
        return self.question(event)

    def send(self, event: Event) -> None:
        if isinstance(event, Saved):
            try:
                with self._lock:
                    self._connection.send_bytes(encoded(event))
            except OSError:
                raise ProgramInterrupt(Stop()) from None

    def receive(self) -> Any:
        return self.question({"kind": "receive"})


class ProgramSession(Session):
    """The session within a program. Each process of the program has one of its own."""

    def __init__(self, line: _Line, welcome: Welcome) -> None:
        super().__init__(welcome.assignment, line)
        self._foreign.clear()  # every thread of the program is the trial's
        self._line = line
        self.writes_objects = True  # what a program sends is never unpickled
        self._config_problem: Exception | None = None
        try:
            self.assignment.config = pickle.loads(welcome.config)
        except Exception as error:
            self._config_problem = error
        self._base_s += welcome.elapsed_s
        self._last_s -= welcome.elapsed_s
        self._has_begun = False
        self._n_followed = 0

    @property
    def info(self) -> TrialInfo:
        if self._config_problem is not None:
            problem = self._config_problem
            raise UsageError(
                f"the trial's configuration cannot be read in the script's process "
                f"({type(problem).__name__}: {problem}); make it of numbers, strings, lists and dicts, or let the "
                f"script import what it is made of"
            )
        return super().info

    def interrupt(self, decision: Decision) -> TrialInterrupt:
        return ProgramInterrupt(decision)

    def _report(self, metrics: Any, checkpoint: Any, step: int | None) -> Decision:
        if rank() != 0:
            return self._follow(step)
        if not self._has_begun:
            self.iteration = self._line.question({"kind": "begin", "job": _job()})
            self._has_begun = True
        return super()._report(plain(metrics), checkpoint, step)

    def _follow(self, step: int | None) -> Decision:
        """What rank 0 was told at the same report."""
        self._n_followed += 1
        self.iteration += 1
        self.last_step = self.iteration if step is None else step
        self.decision = self._line.question({"kind": "follow", "job": _job(), "n": self._n_followed})
        return self.decision


_lock = threading.Lock()
_attached: tuple[int, ProgramSession] | None = None


def attach() -> Session | None:
    """The session of the trial whose program this is; None where it is nobody's. A forked process gets its own.

    Raises:
        UsageError: the trial does not answer.
    """
    global _attached
    if ADDRESS not in os.environ:
        return None
    with _lock:
        if _attached is None or _attached[0] != os.getpid():
            line = _Line()
            _attached = os.getpid(), ProgramSession(line, line.question({"kind": "hello"}))
        return _attached[1]
