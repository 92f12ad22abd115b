"""How trials end once they have left their slot, and how a run does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from optuna.trial import TrialState

from tuneflow.clock import Clock
from tuneflow.errors import MetricMissing, OutOfMemory, TrialError, TrialTakenOver, TuneflowError
from tuneflow.pruners.base import Pause
from tuneflow.runner.attempt import Attempt
from tuneflow.runner.failures import Attempts, is_caught
from tuneflow.runner.results import Results, returned_metrics
from tuneflow.runner.rules import Rules
from tuneflow.study import Study
from tuneflow.trainable.messages import Finished
from tuneflow.trial import Trial

__all__ = ["Endings"]

_logger = logging.getLogger("tuneflow")


class Endings:
    """Ends trials: by what they returned, by the verdict on them, by their failure.

    A trial that another driver of the study has taken over, or that something else has ended, is left alone.

    Args:
        study: owns the trials.
        rules: limits and habits of the run.
        results: makes results of what trials return.
        clock: where times come from.
        end_running: ends the trials that run, each for the reason that it is given; for ``fail_fast``.

    Attributes:
        errors: the error of each trial that failed for good, by number.
        fatal: the error that ends the run; None while there is none.
        is_final: the run is ending: nothing new starts.
        has_seen_metric: some report held the metric.
    """

    def __init__(
        self, study: Study, rules: Rules, results: Results, clock: Clock, end_running: Callable[[str], None]
    ) -> None:
        self.errors: dict[int, BaseException] = {}
        self.fatal: BaseException | None = None
        self.is_final = False
        self.has_seen_metric = False
        self._study = study
        self._rules = rules
        self._results = results
        self._clock = clock
        self._end_running = end_running
        self._attempts = Attempts(rules)

    # Trials that end without an error

    def finished(self, run: Attempt, event: Finished) -> None:
        """The trial's code has ended without an error."""
        trial, verdict = run.trial, run.verdict
        if isinstance(verdict, Pause) or self.is_taken_over(trial):
            return
        try:
            if verdict is not None and not verdict.complete:
                self._study.finish(trial, TrialState.PRUNED)
            elif verdict is not None:
                self._study.finish(trial, TrialState.COMPLETE, trial.last_value)
            elif event.is_pruned:
                self._study.finish(trial, TrialState.PRUNED)
            else:
                self._finish_with(trial, event)
            if trial.state is TrialState.FAIL and trial.error is not None:
                self.errors[trial.number] = trial.error  # what it told is no value
        except TrialTakenOver as error:
            _logger.warning("%s", error)
        except TuneflowError as error:
            self._study.listeners.emit("on_trial_error", trial, error)
            self._give_up(trial, error)
            if isinstance(error, MetricMissing) and not self.has_seen_metric:
                self.end_with(error)

    def _finish_with(self, trial: Trial, event: Finished) -> None:
        """The trial ended by itself: by its return value, else by its last report."""
        objectives = self._study.objectives
        metrics = returned_metrics(event.value, objectives.name)
        if event.kind == "trial":
            if metrics is not None and trial.last_step is None and self._study.listeners:
                result = self._results.last(trial, metrics, iteration=1, now_s=self._clock.time())
                self._study.announce(trial, result)
            is_named = isinstance(event.value, Mapping)
            self._study.finish(trial, None, objectives.values_of(event.value) if is_named else event.value)
            return
        if metrics is not None:
            step = trial.next_step
            if not trial.replays(step):  # else a driver before had recorded what it returned, and no more
                result = self._results.last(trial, metrics, iteration=step, now_s=self._clock.time())
                if self._rules.stopper is not None:
                    self._rules.stopper(trial.trial_id, result)  # which may have the whole run end
                self._study.report_for(trial, result, step)
        if trial.last_step is None and objectives.has_metric:
            raise MetricMissing(objectives.name, [])
        self._study.finish(trial, TrialState.COMPLETE, trial.last_value)

    def finish(
        self, trial: Trial, state: TrialState | None = None, value: float | None = None, reason: str = ""
    ) -> bool:
        """``Study.finish``; False where something else has ended the trial before, or has it now."""
        try:
            self._study.finish(trial, state, value, reason=reason)
        except TrialTakenOver as error:
            _logger.warning("%s", error)
            return False
        return True

    def cut_short(self, trial: Trial, reason: str) -> None:
        """The run is over: a trial that reported is stopped with what it has, another one fails for ``reason``."""
        if self.is_taken_over(trial):
            return
        has_metric = self._study.objectives.has_metric
        if trial.last_value is not None or (trial.last_step is not None and not has_metric):
            self.finish(trial, TrialState.PRUNED)
        else:
            self.finish(trial, TrialState.FAIL, reason=reason)

    def is_taken_over(self, trial: Trial) -> bool:
        """Whether another driver of the study has the trial now, because this one seemed dead."""
        if self._study.owns(trial):
            return False
        _logger.warning("trial %d is left to the driver of the study that has taken it over", trial.number)
        return True

    # Failures

    def failed(self, run: Attempt, error: BaseException) -> bool:
        """An attempt has failed. Returns whether the trial gets another one; else it is dealt with."""
        trial, verdict = run.trial, run.verdict
        if self.is_taken_over(trial):
            return False
        trial.error = error
        self._study.listeners.emit("on_trial_error", trial, error)
        if isinstance(verdict, Pause):
            _logger.warning(
                "trial %d could not save when it paused (%s); it will go on from its checkpoint before, or start over",
                trial.number,
                error,
            )
            return False
        if verdict is not None:
            state = TrialState.COMPLETE if verdict.complete else TrialState.PRUNED
            self.finish(trial, state, trial.last_value if verdict.complete else None)
            return False
        if isinstance(error, OutOfMemory) and self._rules.on_oom == "prune":
            self.finish(trial, TrialState.PRUNED)
            return False
        has_progress = (trial.last_step or 0) > run.started_at_step and self._study.saving.has_any(trial.number)
        may_retry = self._attempts.may_retry(trial.number, error, has_progress=has_progress)
        if may_retry and self.fatal is None and not self.is_final:
            return True
        self._give_up(trial, error)
        return False

    def _give_up(self, trial: Trial, error: BaseException) -> None:
        trial.error = error
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        if self.finish(trial, TrialState.FAIL, reason=reason):
            self.errors[trial.number] = error
        catch = self._rules.catch
        if catch is not None and not is_caught(error, catch):
            self.end_with(error)
        elif catch is not None and isinstance(error, TrialError):
            _logger.warning("trial %d failed: %s", trial.number, error)
        elif self._rules.fail_fast:
            self._end_running("the run ended with the first failure (fail_fast), before the first report")

    def end_with(self, error: BaseException) -> None:
        """A fatal error: nothing new starts, what runs is ended."""
        if self.fatal is None:
            self.fatal = error
        self.is_final = True
