"""One stay of a trial's program: its reports are passed on, and it is ended when the trial has to leave.

Output, requests and the program's end come from threads, through one queue, to the thread that the trial runs on, which
alone speaks to the driver. The rules:

* what the driver decides is final: whoever reports after that gets the same decision, and the driver hears no more;
* a program that reports by itself has ``grace_s`` to leave, then SIGTERM, then SIGKILL; one that only prints is sent
  SIGTERM at once;
* whether what it prints counts is settled by what comes first: a printed result, or a use of tuneflow. A pattern of the
  user's own settles it for what is printed, ``metrics=False`` against it. It is never both.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from tuneflow.clock import SystemClock
from tuneflow.errors import OutOfMemory, TrialFailed, UsageError
from tuneflow.pruners.base import CONTINUE, Continue, Decision, Exploit
from tuneflow.trainable.messages import Answer, Assignment
from tuneflow.trainable.printed import DEFAULT_PATTERN, Lines, Masked, PrintedMetrics, Tracebacks
from tuneflow.trainable.program import Program
from tuneflow.trainable.program_end import describe, n_oom_kills
from tuneflow.trainable.relay import Peer, Relay, Request
from tuneflow.trainable.session import Session
from tuneflow.trainable.wire import ADDRESS, SECRET, Welcome, decoded_report, decoded_saved, packed

__all__ = ["ScriptRun"]

_TAIL = 100
_MOST_WAITING = 1000
_DRAIN_S = 2.0
_SETTLE_S = 2.0


class _Printed(NamedTuple):
    line: str


class _Ended(NamedTuple):
    code: int | None


class _Job:
    """The processes of a program that decide together: what rank 0 was told, and who waits to hear it."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.waiting: list[tuple[Peer, int]] = []
        self.is_over = False


class ScriptRun:
    """Runs a program for a trial.

    Args:
        session: the trial's.
        name: what the program is called in messages.
        metrics: what to look for in its output: a pattern; True for ``name=value`` as long as it does not use
            tuneflow; False for nothing.
        required: metrics that a result has to hold.
        grace_s: how long it has to leave.

    Attributes:
        last_metrics: its last result; None before the first.
    """

    def __init__(
        self, session: Session, *, name: str, metrics: str | bool, required: Collection[str], grace_s: float
    ) -> None:
        self._session, self._name, self._required, self._grace_s = session, name, required, grace_s
        self.last_metrics: Mapping[str, Any] | None = None
        self._clock = SystemClock()
        self._inbox: queue.SimpleQueue[_Printed | _Ended | Request] = queue.SimpleQueue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._is_over = False
        self._printed = PrintedMetrics(metrics if isinstance(metrics, str) else DEFAULT_PATTERN, required)
        self._prints = None if metrics is True else metrics is not False
        self._lines = {"stdout": Lines(), "stderr": Lines()}
        self._secrets: dict[str, Masked] = {}
        self._tracebacks = {"stdout": Tracebacks(), "stderr": Tracebacks()}
        self._tails: dict[str, deque[str]] = {"stdout": deque(maxlen=_TAIL), "stderr": deque(maxlen=_TAIL)}
        self._held: deque[_Ended | Request] = deque()
        self._jobs: dict[str, _Job] = {}
        self._n_reporting = 0
        self._verdict: Decision | None = None
        self._owes_save = False
        self._refusal: Exception | None = None
        self._deadline_s: float | None = None
        self._is_terminated = False
        self._start_s = 0.0

    def run(self, argv: Sequence[str], environment: Mapping[str, str], cwd: str | None) -> Decision | None:
        """Runs the program to its end.

        Returns:
            The decision that ended it; None where it ended by itself.

        Raises:
            TrialFailed: it could not be started, ended with another exit code than 0, or never reported.
            OutOfMemory: it ran out of memory.
            CheckpointMissing, MetricMissing: what the driver refused.
        """
        n_killed = n_oom_kills()
        self._start_s = self._clock.monotonic()
        relay = Relay(self._inbox.put)
        self._secrets = {stream: Masked(relay.secret) for stream in self._lines}
        try:
            secret = {ADDRESS: relay.address, SECRET: relay.secret}
            self._program = self._started(argv, {**environment, **secret}, cwd, relay)
            try:
                code = self._attend()
            finally:
                self._is_over = True
                self._room.release(2)
                self._program.close()
        finally:
            relay.close()
        self._check_end(code, is_oom_likely=n_oom_kills() > n_killed)
        return self._verdict

    def _started(self, argv: Sequence[str], environment: Mapping[str, str], cwd: str | None, relay: Relay) -> Program:
        def on_end(code: int | None) -> None:
            relay.drain(_DRAIN_S)
            self._inbox.put(_Ended(code))

        try:
            return Program(argv, environment, cwd=cwd, on_text=self._on_text, on_end=on_end)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TrialFailed(
                f"{self._name} could not be started: {reason}", trial=self._session.assignment.trial
            ) from error

    # On threads of the program's

    def _on_text(self, stream: str, text: str) -> None:
        is_over = not text
        text = self._secrets[stream].rest() if is_over else self._secrets[stream].feed(text)
        out = sys.stdout if stream == "stdout" else sys.stderr
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            out.write(text)
            out.flush()
        lines = self._lines[stream].feed(text) + (self._lines[stream].rest() if is_over else [])
        self._tails[stream].extend(line.rstrip("\r").rpartition("\r")[2] for line in lines)
        for line in lines:
            if self._tracebacks[stream].hide(line):
                continue
            if self._prints or (self._prints is None and "=" in line):
                self._room.acquire()  # a program that prints faster than its results are taken has to wait
                if self._is_over:
                    return
                self._inbox.put(_Printed(line))

    # On the trial's thread

    def _attend(self) -> int | None:
        while True:
            try:
                item = self._held.popleft() if self._held else self._inbox.get(timeout=self._left_s())
            except queue.Empty:
                self._press()
                continue
            if isinstance(item, _Ended):
                return item.code
            if isinstance(item, _Printed):
                self._on_printed(item)
            else:
                self._on_request(item)

    def _settle(self) -> None:
        """The program uses tuneflow: whether what it prints counts depends on what it has printed before."""
        end_s = self._clock.monotonic() + _SETTLE_S
        while self._prints is None:
            is_all = self._program.has_caught_up() or self._clock.monotonic() > end_s
            with contextlib.suppress(queue.Empty):
                while True:
                    item = self._inbox.get(timeout=0 if is_all else 0.002)
                    if isinstance(item, _Printed):
                        self._on_printed(item)
                    else:
                        self._held.append(item)
            if is_all and self._prints is None:
                self._prints = False

    def _left_s(self) -> float | None:
        return None if self._deadline_s is None else max(0.0, self._deadline_s - self._clock.monotonic())

    def _press(self) -> None:
        """The time to leave is over."""
        if self._is_terminated:
            self._program.kill()
            self._deadline_s = None
        else:
            self._program.terminate()
            self._is_terminated = True
            self._deadline_s = self._clock.monotonic() + self._grace_s

    def _on_printed(self, item: _Printed) -> None:
        self._room.release()
        metrics = None if self._prints is False or self._verdict is not None else self._printed.take(item.line)
        if metrics is None:
            return
        self._prints = True
        self.last_metrics = metrics
        decision = self._session.report(dict(metrics))
        if not isinstance(decision, Continue):
            self._verdict = decision
            self._press()

    def _on_request(self, request: Request) -> None:
        peer, kind, fields = request
        if kind == "hello":
            self._settle()
            peer.answer(self._welcome())
        elif kind == "begin":
            self._on_begin(peer, str(fields.get("job", "")))
        elif kind == "reported":
            self._on_reported(peer, fields)
        elif kind == "saved":
            self._on_saved(fields)
        elif kind == "receive":
            answer = self._session.channel.receive()
            self._verdict, self._owes_save = answer.decision, False
            peer.answer(answer)
        elif kind == "follow":
            job = self._job(str(fields.get("job", "")))
            job.waiting.append((peer, int(fields.get("n", 1))))
            self._serve_followers(job)
        elif kind == "gone" and peer.begun:
            self._n_reporting -= 1
            job = self._job(peer.job)
            job.is_over = True
            self._serve_followers(job)
            if self._verdict is not None:
                self._start_grace()  # it ended without saving

    def _on_begin(self, peer: Peer, job: str) -> None:
        """A process is about to report for the first time."""
        if self._prints:
            if self.last_metrics is None:
                what, advice = "metrics= was given to tune.script", "leave that out, or pass metrics=False to it"
            else:
                what, advice = f"it printed {self._shown()}", "pass metrics=False to tune.script"
            self._refuse(
                peer,
                f"{self._name} calls tuneflow.report, but what it prints already counts as its results: {what}. For "
                f"its reports to count, {advice}",
            )
        elif self._n_reporting:
            self._refuse(
                peer,
                f"two processes of {self._name} report at the same time; one reports, the others of a distributed job "
                f"have a RANK other than 0",
            )
        else:
            self._n_reporting += 1
            peer.job, peer.begun = job, True
            if self._job(job).is_over:
                self._jobs[job] = _Job()  # one after another: each counts for itself
            peer.answer(self._session.iteration)

    def _refuse(self, peer: Peer, message: str) -> None:
        self._refusal = UsageError(message)
        peer.answer(self._refusal)

    def _shown(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in (self.last_metrics or {}).items())

    def _welcome(self) -> Welcome:
        assignment = self._session.assignment
        values = {name: getattr(assignment, name) for name in Assignment.__slots__}
        values |= {"trainable": None, "trainable_key": "", "config": {}, "checkpoint": self._session.checkpoint}
        elapsed_s = 0.0 if self.last_metrics is not None else self._clock.monotonic() - self._start_s
        return Welcome(Assignment(**values), packed(assignment.config), elapsed_s)

    def _on_reported(self, peer: Peer, fields: Mapping[str, Any]) -> None:
        if self._verdict is not None:
            peer.answer(Answer(self._verdict))
            return
        session = self._session
        try:
            event = decoded_report(fields, session.assignment)
            answer: Answer = session.channel.ask(event)
        except (EOFError, ConnectionError):
            raise  # the driver is gone, which is none of the program's faults: it is ended
        except Exception as error:
            self._refusal = error
            peer.answer(error)
            return
        self._refusal = None
        self.last_metrics = event.metrics if isinstance(event.metrics, Mapping) else {"value": event.metrics}
        session.iteration = event.iteration
        session.last_step = event.iteration if event.step is None else event.step
        session.decision = answer.decision
        if not isinstance(answer.decision, Continue):
            self._verdict, self._owes_save = answer.decision, answer.save
            if not answer.save:  # else once it is saved: that may take long
                self._start_grace()
        peer.answer(answer)
        job = self._job(peer.job)
        job.decisions.append(answer.decision)
        self._serve_followers(job)

    def _on_saved(self, fields: Mapping[str, Any]) -> None:
        event = decoded_saved(fields, self._session.assignment)
        self._session.channel.send(event)
        if event.content is not None and not isinstance(self._verdict, Exploit):
            self._owes_save = False
        if self._verdict is not None:
            self._start_grace()

    def _start_grace(self) -> None:
        if self._deadline_s is None and not self._is_terminated:
            self._deadline_s = self._clock.monotonic() + self._grace_s

    def _job(self, name: str) -> _Job:
        return self._jobs.setdefault(name, _Job())

    def _serve_followers(self, job: _Job) -> None:
        """Answers the processes whose decision is known, and those for which none will come any more."""
        still_waiting = []
        for peer, n in job.waiting:
            if n <= len(job.decisions):
                peer.answer(job.decisions[n - 1])
            elif self._verdict is not None:
                peer.answer(self._verdict)
            elif job.is_over:
                peer.answer(CONTINUE)
            else:
                still_waiting.append((peer, n))
        job.waiting = still_waiting

    # The end

    def _check_end(self, code: int | None, *, is_oom_likely: bool) -> None:
        trial = self._session.assignment.trial
        if self._verdict is not None and not self._owes_save:
            return
        if self._refusal is not None and code != 0:
            raise self._refusal
        if code == 0 and self._verdict is None:
            if self.last_metrics is None and self._required and self._session.assignment.start_step == 0:
                raise TrialFailed(self._without_metrics(), trial=trial, output=self._tail(10))
            return
        what, is_memory = describe(code, self._tails["stderr"].copy(), is_oom_likely=is_oom_likely)
        when = "" if self._verdict is None else " before the checkpoint was saved that it was asked for"
        tail = self._tail(10)
        text = f"{self._name} {what}{when}"
        error = OutOfMemory if is_memory else TrialFailed
        raise error(
            f"{text}; its last lines:\n{tail}" if tail else f"{text}; it printed nothing",
            trial=trial,
            traceback_text=f"{text}\n\n{self._tail(_TAIL)}",
            output=tail,
        )

    def _without_metrics(self) -> str:
        wanted, first = ", ".join(self._required), next(iter(self._required))
        seen = ", ".join(sorted(self._printed.seen))
        if self._prints is False:
            found = "what it prints is not read, since it uses tuneflow or metrics=False was given"
        elif seen:
            found = f"the metrics that it printed are: {seen}"
        else:
            found = "no line that it printed looked like a metric"
        return (
            f"{self._name} ended without a result: {wanted} was never reported. Call tuneflow.report({first}=...) in "
            f"it, or have it print lines such as {first}=0.25 (for another form pass metrics=, a regular expression); "
            f"{found}"
        )

    def _tail(self, n_lines: int) -> str:
        """The last lines of its stderr, of its stdout where that is empty."""
        tail = self._tails["stderr"].copy() or self._tails["stdout"].copy()
        return "\n".join(list(tail)[-n_lines:])
