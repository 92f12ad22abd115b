"""The Loop: takes trials from a Study to an Executor and events back. It does no I/O of its own.

One trial's way: ``study.resume`` or ``study.start`` gives it; an ``Assignment`` goes to the executor; each
``Reported`` becomes ``study.report_for`` and an ``Answer``; ``Saved`` becomes ``study.save_for``; ``Finished``,
``Failed`` and ``Lost`` give the slot back and end the trial, pause it, or have it tried again.
"""

from __future__ import annotations

from typing import Any

from tuneflow.checkpoint import Deferred
from tuneflow.errors import (
    CheckpointMissing,
    MetricMissing,
    TrialTakenOver,
    TrialTimeout,
    TuneflowError,
)
from tuneflow.pruners.base import CONTINUE, Decision, Exploit, Pause, Stop
from tuneflow.runner.assigning import assignment_for
from tuneflow.runner.attempt import Attempt
from tuneflow.runner.donors import Donors
from tuneflow.runner.endings import Endings
from tuneflow.runner.executor import Executor
from tuneflow.runner.failures import failed_error, lost_error
from tuneflow.runner.limits import Limits
from tuneflow.runner.ordering import LogicalOrder, Order
from tuneflow.runner.resources import check_fits
from tuneflow.runner.results import Results
from tuneflow.runner.rules import Rules
from tuneflow.runner.timetable import Timetable
from tuneflow.saving import is_needed
from tuneflow.study import Study
from tuneflow.trainable.messages import (
    Answer,
    Event,
    Failed,
    Finished,
    Reported,
    Saved,
    Suggested,
)
from tuneflow.trainable.running import Kind
from tuneflow.trial import Trial

__all__ = ["Loop"]


class Loop:
    """Runs trials of a study until it is done.

    Args:
        study: owns the trials.
        executor: runs them.
        trainable: what to run.
        rules: limits and habits.

    Attributes:
        errors: the error of each trial that failed for good, by number.
        n_started: new trials started by this loop.
        limits: say when the run is over.
    """

    def __init__(self, study: Study, executor: Executor, trainable: Any, rules: Rules) -> None:
        self.study = study
        self.executor = executor
        self.rules = rules
        self.n_started = 0
        self._trainable = trainable
        self._key = f"{id(trainable):x}"
        self._kind: Kind = executor.kind_of(trainable, default=rules.default_kind)
        self._runs: dict[int, Attempt] = {}
        self._order = LogicalOrder(may_suggest=self._kind == "trial") if rules.is_deterministic else Order()
        self._timetable = Timetable(study, self._order) if rules.is_deterministic else None
        self._results = Results(study.objectives.name, study.hostname, rules.time_attr)
        self._clock = study.clock if executor.clock is None else executor.clock
        self._donors = Donors(study, executor, self._start)
        self._endings = Endings(study, rules, self._results, self._clock, self._end_running)
        self.limits = Limits(rules, study, self._endings, executor, self._clock)
        self.errors = self._endings.errors

    # The run

    def run(self) -> None:
        """Runs until every trial has ended, a limit is reached, or a fatal error is raised.

        Raises:
            MetricMissing: the first report of all lacks the metric.
            BaseException: an exception of a trial that ``rules.catch`` does not name.
            KeyboardInterrupt: trials that ran stay resumable.
        """
        with self.executor.running():
            self._run()

    def _run(self) -> None:
        check_fits(self.rules.request, self.executor.total())
        self._check_checkpoints()
        self.limits.begin()
        self.executor.attach(self._handle_now)
        self.executor.prepare(self._trainable, self._key)
        try:
            self._close_what_was_decided()
            while True:
                self._fill()
                if not self._runs and (self._has_room() or self.limits.is_over):
                    break
                self._take_in(self.executor.poll(self.limits.wait_s(self._runs.values())))
                if isinstance(self._endings.fatal, (CheckpointMissing, MetricMissing)):
                    break  # the run was set up wrongly: the others can go on when that is mended
                self._check_deadlines()
        finally:
            self._break_off()
        if self._endings.fatal is not None:
            raise self._endings.fatal

    def _break_off(self) -> None:
        """Ends what runs: whoever asks next goes on with it, but for the trial that the run ended for."""
        culprit: Attempt | None = None
        for number, run in list(self._runs.items()):
            self.executor.kill(number)
            self._vacate(run)
            if run.trial.error is not None and run.trial.error is self._endings.fatal:
                culprit = run
            elif run.verdict is None:
                self.study.retry(run.trial)
        if culprit is not None and culprit.trial.error is not None:
            self._endings.failed(culprit, culprit.trial.error)

    def _close_what_was_decided(self) -> None:
        """Trials of an earlier run that were told to stop, and had no time to: they end, in their turn."""
        leaving = [] if self._timetable is None else self._timetable.restore()
        for trial in leaving:
            run = self._runs[trial.number] = Attempt(trial, None)
            run.verdict = trial.decision if isinstance(trial.decision, Stop) else Pause()
            self._order.add(Finished(trial.number, trial.attempt, None, False, self._kind))
        for trial in self.study.take_stopped():
            if trial.number not in self._runs:
                self._endings.finish(trial)
        if leaving:
            self._fill()  # the others are back at their times, so that the first of all is known
            self._take_in([])

    def _check_checkpoints(self) -> None:
        """A class that cannot be saved is refused where the pruner moves trials between each other's states."""
        if self._kind == "class" and self.study.needs_checkpoints and not self._trainable.can_checkpoint():
            name = self._trainable.__name__
            raise CheckpointMissing(
                f"the pruner loads trials from each other's checkpoints, but {name} cannot be saved: override "
                f"save_checkpoint(self, checkpoint_dir) and load_checkpoint(self, checkpoint_dir)"
            )

    def _take_in(self, events: list[Event]) -> None:
        for event in events:
            if not self._is_current(event):
                continue
            if isinstance(event, Saved):
                self._on_saved(self._runs[event.trial], event)  # saving never changes the order
            elif not self._is_replay(event):
                self._order.add(event)
        while (event_now := self._order.next()) is not None:
            self._handle(event_now)
            if self.rules.is_deterministic:
                self._fill()

    def _handle_now(self, event: Event) -> None:
        """For an executor that runs on this thread: it is the only trial, so order does not matter."""
        if self._is_current(event) and not self._is_replay(event):
            self._handle(event)

    def _is_current(self, event: Event) -> bool:
        run = self._runs.get(event.trial)
        return run is not None and run.trial.attempt == event.attempt

    def _is_replay(self, event: Event) -> bool:
        """Answers a step that was recorded before a restart; it is no event."""
        if not isinstance(event, Reported):
            return False
        run = self._runs[event.trial]
        trial = run.trial
        if not trial.is_behind:
            return False
        try:
            step = self._results.step_of(event)
            if not trial.replays(step):
                return False
            is_owed = trial.owed is not None and step == trial.last_step
            decision: Decision = CONTINUE
            if is_owed:
                decision = self.study.report_for(trial, event.metrics, step, event.checkpoint, announces=False)
        except TuneflowError:
            return False  # refused in its turn
        if isinstance(decision, Pause):
            run.verdict = decision
        self.executor.reply(event.trial, Answer(decision, is_owed and isinstance(event.checkpoint, Deferred)))
        return True

    def _handle(self, event: Event) -> None:
        run = self._runs.get(event.trial)
        if run is None:
            return
        if isinstance(event, Reported):
            self._on_reported(run, event)
        elif isinstance(event, Suggested):
            self._on_suggested(run, event)
        elif isinstance(event, Saved):
            self._on_saved(run, event)
        elif isinstance(event, Finished):
            self._on_finished(run, event)
        elif isinstance(event, Failed):
            keeps_original = self.rules.catch is not None
            is_remote = self.executor.needs_pickling
            self._on_failed(run, failed_error(event, keeps_original=keeps_original, is_remote=is_remote))
        else:
            self._on_failed(run, lost_error(event))

    # Filling slots

    def _fill(self) -> None:
        while (not self.limits.is_over or self.limits.has_to_close) and self._has_room():
            n_before = self.n_started
            trial = self._next_trial()
            if trial is None:
                return
            self._launch(trial)
            if self.n_started > n_before:
                self.study.announce_start(trial)  # while it starts: a listener may be writing files

    def _has_room(self) -> bool:
        limit = self.rules.max_concurrent
        if limit is not None and len(self._runs) >= limit:
            return False
        if self.rules.is_deterministic:
            return len(self._runs) < self.executor.total().times_that_fit(self.rules.request)
        return self.executor.free().times_that_fit(self.rules.request) > self._donors.n_unstarted

    def _next_trial(self) -> Trial | None:
        n_trials = self.rules.n_trials
        is_exhausted = self.study.sampling.is_exhausted
        # What runs may yet open more to a sampler that finds out what there is.
        more = (n_trials is None or self.n_started < n_trials) and (not is_exhausted or bool(self._runs))
        trial = self.study.resume(more, busy=self._runs)
        if trial is not None or not more or is_exhausted or self.limits.is_ended_by_rule:
            return trial
        point = None if self.rules.points is None else self.rules.points(self.n_started)
        self.n_started += 1
        return self.study.start(point=point, announces=False)

    def _launch(self, trial: Trial) -> None:
        rules = self.rules
        limit = rules.trial_timeout_s
        self._runs[trial.number] = Attempt(trial, None if limit is None else self._clock.monotonic() + limit)
        if self._timetable is None:
            self._order.enter(trial.number)
        else:
            self._timetable.enter(trial)
        if trial.owed is not None:
            self.study.saving.expect(trial)
        trial.resources = rules.request.as_dict()
        trial.device = "cuda:0" if rules.request.gpu else "cpu"  # the first of those that its process sees
        if not self._donors.hold(trial, trial.decision, is_running=False):
            self._start(trial)

    def _start(self, trial: Trial) -> None:
        rules = self.rules
        self.executor.start(assignment_for(self.study, trial, rules, self._trainable, self._key, self._kind))

    # Events

    def _on_reported(self, run: Attempt, event: Reported) -> None:
        trial, number = run.trial, event.trial
        if run.verdict is not None:
            self.executor.reply(number, Answer(run.verdict))
            return
        is_bare = type(event.metrics) is float and not self.study.listeners and self.rules.stopper is None
        result = event.metrics if is_bare else self._results.whole(trial, event)
        is_over = self._endings.is_final or (isinstance(result, dict) and bool(result.get("done")))
        stopper = self.rules.stopper
        if stopper is not None and stopper(trial.trial_id, result):
            is_over = True
        if is_over and isinstance(result, dict):
            result["done"] = True
        try:
            decision = self.study.report_for(
                trial, result, self._results.step_of(event), event.checkpoint, announces=False, is_last=is_over
            )
        except (CheckpointMissing, MetricMissing) as error:
            if isinstance(error, CheckpointMissing) or not self._endings.has_seen_metric:
                trial.error = error
                self._endings.end_with(error)
            self.executor.reply(number, error)
            return
        except TrialTakenOver:
            run.verdict = Stop()  # it ends here, and goes on there
            self.executor.reply(number, Answer(run.verdict))
            return
        except Exception as error:
            self.executor.reply(number, error)
            return
        self._endings.has_seen_metric = True
        trial.time_total_s = event.time_total_s
        if is_over and not isinstance(decision, Stop):
            decision = Stop(complete=True)
        if isinstance(decision, (Stop, Pause)):
            run.verdict = decision
        if self._donors.hold(trial, decision, is_running=True):
            if isinstance(decision, Exploit) and decision.donor == number:
                self.executor.reply(number, Answer(decision, save=True))
        else:
            keep = self._is_kept_by_rule(event, decision)
            save = isinstance(event.checkpoint, Deferred) and (keep or is_needed(decision))
            self.executor.reply(number, Answer(decision, save, keep))
        if isinstance(result, dict) and self.study.listeners:  # while the trial goes on
            self.study.announce(trial, result, decision)

    def _is_kept_by_rule(self, event: Reported, decision: Any) -> bool:
        if isinstance(decision, Exploit) and decision.donor != event.trial:
            return False  # the donor's takes its place
        freq = self.rules.checkpoint_freq
        if freq and event.iteration % freq == 0:
            return True
        return self.rules.checkpoint_at_end and isinstance(decision, Stop)

    def _on_suggested(self, run: Attempt, event: Suggested) -> None:
        try:
            answer = getattr(run.trial, event.method)
            if callable(answer):
                answer = answer(*event.arguments, **event.keywords)
        except Exception as error:
            answer = error
        self.executor.reply(event.trial, answer)

    def _on_saved(self, run: Attempt, event: Saved) -> None:
        if event.content is None:
            self.study.saving.give_up(run.trial)
        else:
            step = run.trial.last_step if event.step is None else event.step
            self.study.saving.save(
                run.trial, step or event.iteration, event.content, run.trial.last_result, reason=event.reason
            )
        self._donors.serve(event.trial)

    def _vacate(self, run: Attempt, *, in_turn: bool = False) -> None:
        number = run.trial.number
        del self._runs[number]
        if self._timetable is None:
            self._order.leave(number)
        else:
            self._timetable.leave(number, has_paused=in_turn and isinstance(run.verdict, Pause))
        self._donors.leave(run.trial)

    def _on_finished(self, run: Attempt, event: Finished) -> None:
        self._vacate(run, in_turn=True)
        self._endings.finished(run, event)

    def _on_failed(self, run: Attempt, error: BaseException) -> None:
        self._vacate(run, in_turn=True)
        if self._endings.failed(run, error):
            if self._timetable is not None:
                self._timetable.come_back(run.trial.number)
            self.study.retry(run.trial)

    # Time

    def _check_deadlines(self) -> None:
        if self._endings.fatal is not None and self._runs:
            self._end_running(f"the run ended: {self._endings.fatal}")
            return
        if self._runs and self.limits.is_out_of_time:
            self._end_running("the time budget ended before the first report")
        if self.rules.trial_timeout_s is None:
            return
        now_s = self._clock.monotonic()
        while (deadline_s := self.limits.deadline_s(self._runs.values())) is not None and now_s >= deadline_s:
            run = next(iter(self._runs.values()))
            number, limit = run.trial.number, self.rules.trial_timeout_s
            self.executor.kill(number)
            output = self.executor.last_output(number)
            self._on_failed(run, TrialTimeout(f"trial {number} ran past {limit} s", trial=number, output=output))

    def _end_running(self, reason: str) -> None:
        """The run is over: trials that reported are stopped with what they have, the others fail for ``reason``."""
        self._endings.is_final = True
        for number, run in list(self._runs.items()):
            self.executor.kill(number)
            self._vacate(run)
            self._endings.cut_short(run.trial, reason)
