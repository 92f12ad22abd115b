"""The inside of a running trial: what ``tune.report`` and its siblings reach."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from tuneflow import registry
from tuneflow.checkpoint import Deferred, SaveRhythm, Staged, discard, is_folder_like, read_notes, stage
from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import InvalidArgumentType, UsageError
from tuneflow.keeping import Reason
from tuneflow.objects import restored, write_object
from tuneflow.pruners.base import CONTINUE, Decision, Exploit
from tuneflow.stoppers.threshold import entry
from tuneflow.trainable.messages import Answer, Assignment, Event, Reported, Saved, TrialInfo

__all__ = ["Channel", "Session", "TrialInterrupt", "current", "get_checkpoint", "get_trial", "report"]


class Channel(Protocol):
    """The way to the driver."""

    def ask(self, event: Event) -> Any:
        """Sends an event and waits for its answer."""
        ...

    def send(self, event: Event) -> None:
        """Sends an event that has no answer."""
        ...

    def receive(self) -> Any:
        """A further answer, to an event that was answered with ``Exploit`` and ``save``."""
        ...


class TrialInterrupt(BaseException):
    """Unwinds a trial that has to leave its slot or start again. Not an ``Exception``, so that
    ``except Exception`` lets it pass; ``finally`` and context managers run.

    Attributes:
        decision: why.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(decision)


class Session:
    """One attempt of one trial, from the trial's side.

    Args:
        assignment: what to run.
        channel: the way to the driver.
        clock: where times come from.
    """

    def __init__(self, assignment: Assignment, channel: Channel, clock: Clock | None = None) -> None:
        self.assignment = assignment
        self.channel = channel
        self.clock = clock or SystemClock()
        self.in_class = False
        self.writes_objects = assignment.is_persistent  # a study in memory keeps them as they are
        self._lock = threading.RLock()  # a trial may report from threads of its own
        # The threads themselves: their ids are used again.
        self._foreign = weakref.WeakSet(threading.enumerate()) - {threading.current_thread()}
        self.decision: Decision = CONTINUE
        self.last_step = assignment.start_step
        self._pid = os.getpid()
        self._enter(assignment.checkpoint, assignment.start_step)

    def _enter(self, checkpoint: Any, step: int) -> None:
        notes = read_notes(checkpoint)
        if notes.get("trial") != self.assignment.trial:
            notes = {}  # another trial's state: our own steps count on
        self.checkpoint = restored(checkpoint)
        self.iteration = int(notes.get("iteration", step))
        now_s = self.clock.monotonic()
        self._base_s = float(notes.get("time_total_s", self.assignment.time_total_s if step else 0.0)) - now_s
        self._last_s = now_s
        self._rhythm = SaveRhythm(now_s)

    def restart(self, checkpoint: Any, config: dict[str, Any], step: int) -> None:
        """After an exploit: another configuration, another checkpoint; the trial's own steps and time count on."""
        self.assignment.config = config
        self.assignment.checkpoint = checkpoint
        self.assignment.start_step = step
        self.decision = CONTINUE
        self.checkpoint = restored(checkpoint)

    def whole(self, config: dict[str, Any]) -> dict[str, Any]:
        """A configuration as the trainable gets it: with the trackers' settings that the user gave beside the space."""
        sections = self.assignment.sections
        return {**config, **{name: dict(section) for name, section in sections.items()}} if sections else config

    def is_open_to(self, thread: threading.Thread) -> bool:
        """Whether a thread belongs to this trial: one that an earlier trial left running does not."""
        return thread not in self._foreign

    def interrupt(self, decision: Decision) -> TrialInterrupt:
        """What unwinds the trial's code for a decision that ends its stay."""
        return TrialInterrupt(decision)

    @property
    def info(self) -> TrialInfo:
        """The trial, for ``tune.get_trial()``."""
        return self.assignment.info()

    def report(self, metrics: Any, checkpoint: Any = None, *, step: int | None = None) -> Decision:
        """Sends a result and waits for the decision; makes the checkpoint if it is wanted.

        Args:
            metrics: a dict, or a number where the study knows what it means.
            checkpoint: a Checkpoint, a path, an object, or a function ``save(folder)``.
            step: the trial's own step; the iteration without one.
        """
        with self._lock:
            return self._report(metrics, checkpoint, step)

    def _report(self, metrics: Any, checkpoint: Any, step: int | None) -> Decision:
        assignment = self.assignment
        self.iteration += 1
        self.last_step = self.iteration if step is None else step
        now_s = self.clock.monotonic()
        offered = self._offer(checkpoint, step)
        answer: Answer = self.channel.ask(
            Reported(
                assignment.trial,
                assignment.attempt,
                metrics,
                step,
                self.iteration,
                offered,
                now_s - self._last_s,
                self._base_s + now_s,
                self.clock.time(),
                self._pid,
            )
        )
        if isinstance(offered, Staged):  # still there where a donor's takes its place, or the step was recorded before
            discard(offered)
        decision = answer.decision
        # Another trial's state takes the place of this one's, which a checkpoint of the same step would overwrite.
        is_replaced = isinstance(decision, Exploit) and decision.donor != assignment.trial
        is_due = answer.save or (assignment.is_persistent and self._rhythm.is_due(now_s))
        if callable(checkpoint) and is_due and not is_replaced:
            self._save(checkpoint, step, answer)
        if answer.save and isinstance(decision, Exploit) and not is_replaced:
            answer = self.channel.receive()  # a copy of itself: known where it lies once it was taken in
        assignment.last_value = _number(entry(metrics, assignment.metric) if isinstance(metrics, Mapping) else metrics)
        self._last_s = self.clock.monotonic()
        self.decision = answer.decision
        return answer.decision

    def _notes(self) -> dict[str, Any]:
        return {
            "trial": self.assignment.trial,
            "iteration": self.iteration,
            "time_total_s": self._base_s + self.clock.monotonic(),
        }

    def _offer(self, checkpoint: Any, step: int | None) -> Any:
        if checkpoint is None:
            return None
        if callable(checkpoint):
            return Deferred()
        if not is_folder_like(checkpoint):
            if not self.writes_objects:
                return checkpoint
            checkpoint = partial(write_object, value=checkpoint)
        from pathlib import Path

        folder = Path(self.assignment.folder)
        return stage(checkpoint, folder, self.last_step, self.assignment.attempt, notes=self._notes())

    def _save(self, save: Callable[[Any], Any], step: int | None, answer: Answer) -> None:
        from pathlib import Path

        assignment = self.assignment
        start_s = self.clock.monotonic()
        try:
            folder = Path(assignment.folder)
            staged = stage(save, folder, self.last_step, assignment.attempt, notes=self._notes())
        except Exception as error:
            if answer.save:
                self.channel.send(
                    Saved(assignment.trial, assignment.attempt, step, self.iteration, None, "needed", repr(error))
                )
            raise
        self._rhythm.saved(start_s, self.clock.monotonic())
        reason: Reason = "kept" if answer.keep else "needed" if answer.save else "recovery"
        self.channel.send(Saved(assignment.trial, assignment.attempt, step, self.iteration, staged, reason))


def _number(value: Any) -> float | None:
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):  # a run without a metric may report anything
        return None


_current: list[Session] = []


def enter(session: Session) -> None:
    """The session's trial begins in this process."""
    _current.append(session)


def leave(session: Session) -> None:
    """The session's trial has ended."""
    _current.remove(session)


def current(call: str) -> Session:
    """The session of the trial that runs in this process, or whose program (``tune.script``) this process belongs to.

    Raises:
        UsageError: there is none.
    """
    session = _current[-1] if _current else _attached()
    if session is None:
        raise UsageError(
            f"{call} works inside a trial that tune.run or study.optimize runs; in a loop of your own call the "
            f"methods of the trial that study.ask() returned"
        )
    if not session.is_open_to(threading.current_thread()):
        raise UsageError(f"{call}: the trial that started this thread has ended; join threads before the trial returns")
    return session


def _attached() -> Session | None:
    found: Session | None = registry.resolve("session", "program")()
    return found


def is_inside() -> bool:
    """Whether a trial runs in this process, or has started it as its program."""
    return bool(_current) or _attached() is not None


def report(metrics: Mapping[str, Any] | None = None, /, *, checkpoint: Any = None, **named: Any) -> None:
    """Reports a result of the trial that runs here.

    Args:
        metrics: the metrics as a dict; or give them by name: ``tune.report(loss=0.3)``.
        checkpoint: a ``Checkpoint`` or a path, which is copied; a function ``save(folder)`` that is called only when
            needed; or any other object, which is pickled, and which ``get_checkpoint`` gives back.
        named: metrics by name.

    Returns only if the trial goes on. Where it has to stop, pause or take over another trial's state, the
    trial's function is unwound: ``finally`` blocks and context managers run.

    Raises:
        UsageError: outside a trial, or inside a ``Trainable`` class, which returns its metrics from ``step``.
        InvalidArgumentType: ``metrics`` is no dict.
    """
    session = current("tune.report")
    if session.in_class:
        raise UsageError(
            "tune.report cannot be called inside a Trainable class; return the metrics as a dict from step()"
        )
    if metrics is None and named.keys() == {"metrics"} and isinstance(named["metrics"], Mapping):
        metrics, named = named["metrics"], {}  # Ray's own name of the first argument
    if metrics is not None and not isinstance(metrics, Mapping):
        raise InvalidArgumentType(
            f"tune.report({metrics!r}) needs a dict of metrics or names, for instance tune.report(loss={metrics!r})"
        )
    decision = session.report({**(metrics or {}), **named}, checkpoint)
    if decision is not CONTINUE and not _goes_on(decision):
        raise session.interrupt(decision)


def _goes_on(decision: Decision) -> bool:
    from tuneflow.pruners.base import Continue

    return isinstance(decision, Continue)


def get_checkpoint() -> Any:
    """The checkpoint that the trial which runs here is to resume from; None where it starts anew.

    A ``Checkpoint``, or the object that was reported as one.
    """
    return current("tune.get_checkpoint").checkpoint


def get_trial() -> TrialInfo:
    """Number, configuration, resources, device and folder of the trial that runs here."""
    return current("tune.get_trial").info
