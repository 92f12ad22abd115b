"""Trials that only pretend to run: the same Loop, on a virtual clock.

The rules:

* Time stands still while the Loop decides. It moves in ``poll``, to the next event: the earliest, and of those at the
  same moment the one of the trial with the lowest number.
* A trial that waits for a reply has no next event; every other one has exactly one.
* What happens to a trial follows from (seed, trial, attempt, stay, step). The order of events changes none of it.
"""

from __future__ import annotations

import gc
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar

from tuneflow.checkpoint import Deferred
from tuneflow.clock import ManualClock
from tuneflow.errors import InvalidArgument, InvalidArgumentType, ResourcesUnavailable, UsageError
from tuneflow.keeping import Reason
from tuneflow.pruners.base import CONTINUE, Decision, Exploit, Pause
from tuneflow.runner.curves import Curve, curve_from
from tuneflow.runner.executor import Executor
from tuneflow.runner.job import NO_TRIAL, Job, Next
from tuneflow.runner.luck import Luck, check_rate
from tuneflow.runner.pace import Pace, check_count, check_time
from tuneflow.runner.resources import Resources
from tuneflow.trainable.messages import Answer, Assignment, Event, Failed, Finished, Lost, Reported, Saved
from tuneflow.trainable.running import Kind

__all__ = ["SimulatedExecutor", "from_name"]

_OFFER = Deferred()

_RARE_COLLECTIONS = (50_000, 50, 100)
"""Nearly all that a simulation allocates stays: at Python's own thresholds a third of the time is spent on looking."""


class _Workers(Resources):
    """``cpu`` workers; a trial takes one, whatever it asks for."""

    __slots__ = ()

    def times_that_fit(self, request: Resources) -> int:
        return int(self.cpu)

    def __str__(self) -> str:
        return f"{self.cpu:g} simulated workers"


class SimulatedExecutor(Executor):
    """Runs trials on a virtual clock: days of training, thousands of workers and their failures, in seconds.

    The study's own Loop, sampler, pruner and storage do the rest, so that what is measured is what would run. The
    same seed gives the same run to the last bit.

    A simulated trial reports ``curve`` step by step. A step takes ``cost`` units of virtual time, longer in a slow
    job. It can be saved and loaded: a resumed trial goes on from its checkpoint, and pays ``startup`` and the
    loading. The trainable that ``tune.run`` or ``study.optimize`` is given is not run; it is taken for the curve where
    none is given here.

    Args:
        n_workers: how many trials run at once, each on one worker, whatever resources it asks for.
        curve: a function ``curve(config, step)`` that returns a number or a dict of metrics. With a third parameter it
            gets randomness derived from (seed, trial, step): an integer where that is named ``seed``, else a
            ``numpy.random.Generator``, valid during the call. Or a table of shape (n_trials, n_steps), whose row i
            trial i follows; or a dict from trial number to such a row; or a dict from metric to any of these. A curve
            that raises fails its trial.
        cost: virtual time of a step, >= 0: a number, or a function ``cost(config, step)``.
        startup: virtual time that passes before a trial's first step, each time it enters a worker.
        checkpoint_cost: virtual time to save a checkpoint, and to load one.
        straggle: a job takes ``1 + |z|`` times as long, z ~ N(0, straggle). A job is one stay of a trial in a worker.
        drop_rate: probability per unit of virtual time that a running job is dropped, in [0, 1): ``Lost``.
        death_rate: probability per unit of virtual time that a worker dies, in [0, 1), and its trial with it:
            ``Lost``. It does not come back; the last one never dies, so that every run ends.
        max_steps: steps of a full training; by default as many as the table has, and no limit for a function: the
            pruner or a stopper has to end the trials.
        report_every: how many steps lie between reports, or the steps at which trials report. The last step of a
            limited training is always reported.
        checkpoints: whether trials can be saved; those that cannot start over when they are resumed.
        metric: the name of a bare number; by default the metric of the study.
        seed: what all randomness here is derived from; an integer >= 0.

    Attributes:
        clock: the virtual time, which the Loop and the Study read.

    Raises:
        InvalidArgument: a value breaks its rule.
        InvalidArgumentType: a curve of a kind that cannot be used.

    Example:
        >>> import tuneflow as tune
        >>> from tuneflow.pruners import ASHA
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, pruner=ASHA(9, reduction_factor=3), seed=0)
        >>> executor = SimulatedExecutor(4, lambda config, step: config["x"] + 1 / step, max_steps=9)
        >>> study.optimize(None, n_trials=20, executor=executor, show_progress_bar=False)
        >>> len(study.trials), executor.clock.monotonic() > 9
        (20, True)
    """

    needs_pickling: ClassVar[bool] = False
    is_virtual: ClassVar[bool] = True

    def __init__(
        self,
        n_workers: int,
        curve: Any = None,
        cost: float | Callable[[Mapping[str, Any], int], float] = 1.0,
        *,
        startup: float = 0.0,
        checkpoint_cost: float = 0.0,
        straggle: float = 0.0,
        drop_rate: float = 0.0,
        death_rate: float = 0.0,
        max_steps: int | None = None,
        report_every: int | Sequence[int] = 1,
        checkpoints: bool = True,
        metric: str | None = None,
        seed: int = 0,
    ) -> None:
        n_workers = check_count("n_workers", n_workers)
        self._max_steps = None if max_steps is None else check_count("max_steps", max_steps)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InvalidArgument(f"seed={seed!r} must be an integer >= 0")
        self._seed = seed
        self._curve: Curve | None = None if curve is None else curve_from(curve, seed)
        self._is_own_curve = curve is not None
        self._pace = Pace(cost, startup=startup, checkpoint=checkpoint_cost, report_every=report_every)
        self._offer = _OFFER if checkpoints else None
        self._metric = metric
        self._luck = Luck(
            seed,
            straggle=check_time("straggle", straggle),
            drop_rate=check_rate("drop_rate", drop_rate),
            death_rate=check_rate("death_rate", death_rate),
        )
        self.clock: ManualClock = ManualClock()
        self._queue: list[tuple[float, int, int, Job]] = []
        self._serial = 0
        self._jobs: dict[int, Job] = {}
        self._stays: dict[int, int] = {}
        self._idle = list(range(n_workers))
        self._n_alive = n_workers
        self._free: list[_Workers] = [_Workers(cpu=float(count)) for count in range(n_workers + 1)]
        for worker in range(n_workers):
            if (death_s := self._luck.death_after(worker)) < math.inf:
                death = Job(NO_TRIAL, 0, worker)
                self._schedule(death, Next.DEATH, death_s)

    # The executor's calls

    def kind_of(self, trainable: Any, *, default: Kind) -> Kind:
        """Always "config": the trainable, if there is one at all, is a curve."""
        return "config"

    @contextmanager
    def running(self) -> Iterator[None]:
        """The cyclic garbage collector runs less often meanwhile, unless it is set to run even less often."""
        before = gc.get_threshold()
        if 0 < before[0] < _RARE_COLLECTIONS[0]:
            gc.set_threshold(*_RARE_COLLECTIONS)
        try:
            yield
        finally:
            gc.set_threshold(*before)

    def prepare(self, trainable: Any, key: str) -> None:
        if self._is_own_curve:
            return
        if trainable is None:
            raise InvalidArgumentType(
                "a simulated run needs a curve; pass SimulatedExecutor(n_workers, curve), or the curve in place of the "
                "trainable"
            )
        self._curve = curve_from(trainable, self._seed)

    def start(self, assignment: Assignment) -> None:
        if not self._idle:
            raise ResourcesUnavailable(f"trial {assignment.trial} cannot start: all {self._n_alive} workers are taken")
        curve = self._curve
        if curve is None:
            raise UsageError("no curve is known; call prepare(curve, key) before start")
        trial, attempt, checkpoint = assignment.trial, assignment.attempt, assignment.checkpoint
        now_s = self.clock.monotonic()
        stay = self._stays.get(trial, 0)
        job = self._jobs[trial] = Job(trial, attempt, heappop(self._idle))
        job.config = assignment.config
        job.slowness = self._luck.slowness(trial, attempt, stay)
        job.drop_s = now_s + self._luck.drop_after(trial, attempt, stay)
        job.base_s = -now_s
        job.last_s = now_s
        begin_s = now_s + self._pace.startup * job.slowness
        if checkpoint is not None:
            job.step = checkpoint if isinstance(checkpoint, int) else assignment.start_step
            job.base_s += assignment.time_total_s
            begin_s += self._pace.checkpoint * job.slowness
        job.from_step, job.from_s = job.step, begin_s
        try:
            job.end = _smaller(self._max_steps, curve.n_steps(trial))
        except Exception as error:
            self._fail(job, error, begin_s)
        else:
            self._go_on(job, begin_s)

    def poll(self, timeout_s: float | None) -> list[Event]:
        """The next event, if it lies within ``timeout_s`` of virtual time; the clock is then at its moment.

        A trial that leaves once its checkpoint is saved says both at once.

        Raises:
            UsageError: without a limit, where nothing can ever happen: no trial runs but those that wait for a reply.
        """
        queue, clock = self._queue, self.clock
        limit_s = math.inf if timeout_s is None else clock.monotonic() + timeout_s
        while queue and queue[0][0] <= limit_s:
            at_s, _, _, job = heappop(queue)
            if job.next is Next.GONE:
                continue
            clock.set(at_s)
            events = [self._report(job, at_s)] if job.next is Next.STEP else self._happen(job, at_s)
            if events:
                return events
        if timeout_s is None:
            raise UsageError("nothing can happen any more, and poll(None) would wait for ever: reply, or start a trial")
        clock.set(limit_s)
        return []

    def reply(self, trial: int, message: Any) -> None:
        job = self._jobs.get(trial)
        if job is None:
            return
        if job.next is not Next.HELD:
            raise UsageError(f"trial {trial} waits for no reply")
        now_s = self.clock.monotonic()
        if now_s > job.last_s:  # it was held up: by a donor that is being saved, or by logical order
            job.from_step, job.from_s = job.step, now_s
        if isinstance(message, Answer):
            if message.decision is CONTINUE and not message.save:
                self._go_on(job, now_s)
            elif message.save and self._offer is not None:
                job.decision, job.keep = message.decision, message.keep
                self._schedule(job, Next.SAVE, now_s + self._pace.checkpoint * job.slowness)
            else:
                self._follow(job, message.decision, now_s)
        else:
            self._fail(job, message, now_s)

    def kill(self, trial: int) -> None:
        job = self._jobs.get(trial)
        if job is not None:
            self._vacate(job)

    def free(self) -> Resources:
        return self._free[len(self._idle)]

    def total(self) -> Resources:
        return self._free[self._n_alive]

    def shutdown(self) -> None:
        for trial in list(self._jobs):
            self.kill(trial)

    # What happens

    def _happen(self, job: Job, now_s: float) -> list[Event]:
        kind = job.next
        if kind is Next.DEATH:
            return self._die(job.worker)
        if kind is Next.SAVE:
            reason: Reason = "kept" if job.keep else "needed"
            saved = Saved(job.trial, job.attempt, job.step, job.step, job.step, reason)
            if job.decision.should_stop:
                return [saved, self._leave(job, isinstance(job.decision, Pause))]
            job.from_step, job.from_s = job.step, now_s
            if isinstance(job.decision, Exploit):
                job.next = Next.HELD  # a copy of itself: told once more when the checkpoint was taken in
            else:
                self._follow(job, job.decision, now_s)
            return [saved]
        if kind is Next.END:
            return [self._leave(job, job.is_paused)]
        self._vacate(job)
        if kind is Next.FAIL:
            return [_failed(job)]
        return [Lost(job.trial, job.attempt, f"the job was dropped at {now_s:g}", "", False)]

    def _leave(self, job: Job, is_paused: bool) -> Finished:
        self._vacate(job)
        if is_paused:  # a trial that ended needs no count, and a retry has an attempt of its own
            self._stays[job.trial] = self._stays.get(job.trial, 0) + 1
        return Finished(job.trial, job.attempt, None, False, "config")

    def _report(self, job: Job, now_s: float) -> Event:
        step = job.step = job.due
        try:
            metrics = self._curve.at(job.trial, job.config, step)  # type: ignore[union-attr]
        except Exception as error:
            self._vacate(job)
            job.error = error
            return _failed(job)
        if self._metric is not None and not isinstance(metrics, Mapping):
            metrics = {self._metric: metrics}
        job.next = Next.HELD
        last_s, job.last_s = job.last_s, now_s
        return Reported(
            job.trial,
            job.attempt,
            metrics,
            None,
            step,
            self._offer,
            now_s - last_s,
            job.base_s + now_s,
            now_s,
            job.worker,
        )

    def _die(self, worker: int) -> list[Event]:
        if self._n_alive == 1:
            return []
        self._n_alive -= 1
        lost: list[Event] = []
        for job in self._jobs.values():
            if job.worker == worker:
                lost.append(Lost(job.trial, job.attempt, f"worker {worker} died", "", False))
                self._vacate(job)
                break
        self._idle.remove(worker)
        heapify(self._idle)
        return lost

    # What comes next

    def _follow(self, job: Job, decision: Decision, now_s: float) -> None:
        """Does what was decided."""
        if decision.should_stop:
            job.is_paused = isinstance(decision, Pause)
            self._schedule(job, Next.END, now_s)
            return
        if isinstance(decision, Exploit):
            job.config = decision.config
            if decision.checkpoint is not None:
                now_s += self._pace.checkpoint * job.slowness
            job.from_step, job.from_s = job.step, now_s
        self._go_on(job, now_s)

    def _go_on(self, job: Job, now_s: float) -> None:
        """Has the trial train up to its next report, or end where there is none."""
        if job.end is not None and job.step >= job.end:
            self._schedule(job, Next.END, now_s)
            return
        due = job.due = self._pace.next_step(job.step, job.end)
        cost = self._pace.cost
        if cost is not None:
            # From where the count began, so that roundings do not add up: equal trials arrive at the same moment.
            self._schedule(job, Next.STEP, job.from_s + (due - job.from_step) * cost * job.slowness)
            return
        try:
            duration = self._pace.duration(job.config, job.from_step, due)
        except Exception as error:
            self._fail(job, error, now_s)
        else:
            job.from_step, job.from_s = due, job.from_s + duration * job.slowness
            self._schedule(job, Next.STEP, job.from_s)

    def _fail(self, job: Job, error: BaseException, now_s: float) -> None:
        job.error = error
        self._schedule(job, Next.FAIL, now_s)

    def _schedule(self, job: Job, kind: Next, at_s: float) -> None:
        if job.drop_s <= at_s:
            kind, at_s = Next.DROP, max(job.drop_s, self.clock.monotonic())
        job.next = kind
        self._serial = serial = self._serial + 1
        heappush(self._queue, (at_s, job.trial, serial, job))

    def _vacate(self, job: Job) -> None:
        job.next = Next.GONE
        del self._jobs[job.trial]
        heappush(self._idle, job.worker)


def from_name(*, total: Resources | None, default_kind: Any) -> SimulatedExecutor:  # noqa: ARG001
    """``executor="simulated"``: as many workers as the machine has CPUs; the trainable is the curve."""
    return SimulatedExecutor(max(1, int((total or Resources()).cpu)))


def _failed(job: Job) -> Failed:
    error = job.error
    assert error is not None
    summary = "".join(traceback.format_exception_only(type(error), error)).strip()
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Failed(job.trial, job.attempt, error if isinstance(error, Exception) else None, summary, text, False)


def _smaller(first: int | None, second: int | None) -> int | None:
    return first if second is None or (first is not None and first < second) else second
