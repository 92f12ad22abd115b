"""How far a run is: kept up to date event by event, at a cost that does not grow with the number of trials."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeGuard

from tuneflow.callbacks.base import Callback
from tuneflow.clock import Clock, SystemClock
from tuneflow.pruners.base import Exploit

if TYPE_CHECKING:
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["Best", "Progress", "ProgressReporter", "RunInfo", "TrialRow"]

_ENDED = {"COMPLETE": "TERMINATED", "PRUNED": "TERMINATED", "FAIL": "ERROR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What is known of a run before it starts. None where it is not.

    Attributes:
        metric: the objective; None for none or several.
        mode: "min" or "max".
        n_trials: how many trials are wanted.
        folder: where results go.
        scheduler: the pruner, for its name.
        n_slots: how many trials run at a time at most.
        resources: of each trial: an object with ``cpu`` and ``gpu``, or a dict of them.
        total: the machine's, likewise.
        timeout_s: time limit of the run.
        name: what is run; rows are called ``name_00000``.
        counts_earlier: trials that the study held before the run count too, as in a resumed experiment.
        constants: entries of the space that do not vary, by path, as texts: not shown where they have that value.
    """

    metric: str | None = None
    mode: str | None = None
    n_trials: int | None = None
    folder: Any = None
    scheduler: Any = None
    n_slots: int | None = None
    resources: Any = None
    total: Any = None
    timeout_s: float | None = None
    name: str = "trial"
    counts_earlier: bool = False
    constants: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class TrialRow:
    """One trial in a table.

    Attributes:
        number: the trial's number.
        status: Tune's word: RUNNING, PAUSED, PENDING (failed, to be retried), TERMINATED or ERROR.
        state: Optuna's word.
        config: the configuration in force.
        started_s: when it was first seen, by the clock's monotonic time.
        value: the metric last reported or told; None before.
        value_config: the configuration in force when it was reported.
        result: the last report; empty before.
        time_s: seconds spent, for a trial that has ended; None before.
    """

    number: int
    status: str
    state: str
    config: Mapping[str, Any]
    started_s: float
    value: float | None = None
    value_config: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    time_s: float | None = None

    @property
    def trial_id(self) -> str:
        """The number in five digits."""
        return f"{self.number:05d}"

    @property
    def iteration(self) -> int | None:
        """Iterations done; None before the first report."""
        return self.result.get("training_iteration")


@dataclass(frozen=True, slots=True)
class Best:
    """The trial whose last value is best so far, as ``ExperimentAnalysis.best_trial`` has it."""

    number: int
    value: float
    config: Mapping[str, Any]

    @property
    def trial_id(self) -> str:
        """The number in five digits."""
        return f"{self.number:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is at one moment: what ``ProgressReporter.report`` gets.

    Attributes:
        run: what was known before it started.
        counts: number of trials by Tune's status, those without any left out.
        ended: number of ended trials by Optuna's state: COMPLETE, PRUNED, FAIL.
        rows: at most ``max_rows`` trials: running ones, then those that ended last, then paused ones.
        best: the trial whose last value is best; None without a metric, a mode or a value.
        now_s: the clock's monotonic time.
        elapsed_s: seconds since the run started.
        left_s: seconds it will likely still take; None where that cannot be told yet.
        is_done: whether the run has ended.
    """

    run: RunInfo
    counts: Mapping[str, int]
    ended: Mapping[str, int]
    rows: tuple[TrialRow, ...]
    best: Best | None
    now_s: float
    elapsed_s: float
    left_s: float | None
    is_done: bool

    @property
    def n_trials(self) -> int:
        """Trials so far."""
        return sum(self.counts.values())

    def time_of(self, row: TrialRow) -> float:
        """Seconds that a trial has taken: training time where it is reported, else time since its start."""
        if row.time_s is not None:
            return row.time_s
        return _time_of(row, self.now_s)


class ProgressReporter(Callback, ABC):
    """Reports how far a run is, at most every ``interval_s`` seconds and once at its end.

    Subclass it and pass it as ``progress_reporter=`` to ``tune.run``, which sets ``run``.

    Args:
        interval_s: seconds between two reports, >= 0.
        max_rows: how many trials a report shows.
        clock: where times come from.

    Attributes:
        run: what is known of the run.

    Example:
        >>> class Counting(ProgressReporter):
        ...     def report(self, progress):
        ...         print(f"{progress.ended.get('COMPLETE', 0)} of {progress.n_trials} complete")
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, seed=0)
        >>> study.optimize(lambda trial: trial.config["x"], n_trials=3, callbacks=[Counting(interval_s=3600)])
        0 of 0 complete
        3 of 3 complete
    """

    def __init__(self, *, interval_s: float = 5.0, max_rows: int = 20, clock: Clock | None = None) -> None:
        self.run = RunInfo()
        self._interval_s = interval_s
        self._max_rows = max_rows
        self._clock: Clock = clock or SystemClock()
        self._live: dict[str, dict[int, TrialRow]] = {"RUNNING": {}, "PENDING": {}, "PAUSED": {}}
        self._ended: Counter[str] = Counter()
        self._n_ended_here = 0
        self._recent: deque[TrialRow] = deque(maxlen=max_rows)
        self._best_ended: Best | None = None
        self._started_s: float | None = None
        self._next_s = 0.0

    @abstractmethod
    def report(self, progress: Progress) -> None:
        """Shows how far the run is."""

    # Events

    def on_study_start(self, study: Study) -> None:
        self._started_s = self._clock.monotonic()
        self._n_ended_here = 0
        earlier = [frozen for frozen in study.get_trials(deepcopy=False) if frozen.state.is_finished()]
        if self.run.counts_earlier:
            self._ended = Counter(frozen.state.name for frozen in earlier)
        if self.run.mode is not None:
            for frozen in earlier:
                value = frozen.values[0] if frozen.values else frozen.intermediate_values.get(frozen.last_step or 0)
                if self._is_better(value, frozen.number):
                    self._best_ended = Best(frozen.number, value, study.config(frozen))
        self._show(self._started_s)

    def on_study_end(self, study: Study) -> None:
        self._show(self._clock.monotonic(), is_done=True)

    def on_trial_start(self, trial: Trial) -> None:
        now_s = self._clock.monotonic()
        self._enter(trial, "RUNNING", now_s)
        self._tick(now_s)

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        now_s = self._clock.monotonic()
        row = self._live["RUNNING"].get(trial.number) or self._enter(trial, "RUNNING", now_s)
        row.result = result
        row.value = trial.last_value
        row.value_config = row.config if isinstance(trial.decision, Exploit) else trial.config
        row.config = trial.config
        self._tick(now_s)

    def on_trial_pause(self, trial: Trial) -> None:
        self._enter(trial, "PAUSED", self._clock.monotonic())

    def on_trial_resume(self, trial: Trial) -> None:
        self._enter(trial, "RUNNING", self._clock.monotonic())

    def on_trial_error(self, trial: Trial, error: BaseException) -> None:
        self._enter(trial, "PENDING", self._clock.monotonic())

    def on_trial_end(self, trial: Trial) -> None:
        now_s = self._clock.monotonic()
        row = self._enter(trial, "PENDING", now_s)
        del self._live["PENDING"][trial.number]
        row.config = trial.config
        row.state = trial.state.name
        row.status = _ENDED.get(row.state, row.state)
        row.time_s = _time_of(row, now_s)
        told = _told_value(trial)
        if told is not None and told != row.value:
            row.value, row.value_config = told, row.config
        if self._is_better(row.value, row.number):
            self._best_ended = _best_of(row)
        self._ended[row.state] += 1
        self._n_ended_here += 1
        self._recent.append(row)
        self._tick(now_s)

    # State

    def _enter(self, trial: Trial, status: str, now_s: float) -> TrialRow:
        """The trial's row, moved to a status; a new one for a trial that was not seen before."""
        row = None
        for rows in self._live.values():
            row = row or rows.pop(trial.number, None)
        if row is None:
            row = TrialRow(trial.number, status, trial.state.name, trial.config, now_s)
            row.value, row.value_config = trial.last_value, trial.config
        row.status = status
        self._live[status][trial.number] = row
        return row

    def _is_better(self, value: float | None, number: int, best: Best | None = None) -> TypeGuard[float]:
        """Whether a value outranks ``best`` (of the ended trials without one); of equal ones the first does."""
        mode = self.run.mode
        if value is None or value != value or mode not in ("min", "max"):
            return False
        best = best or self._best_ended
        if best is None:
            return True
        if value == best.value:
            return number < best.number
        return value < best.value if mode == "min" else value > best.value

    def _best(self) -> Best | None:
        """The trial with the best last value, ended or not: of the former only the best one is kept."""
        best = self._best_ended
        for row in chain.from_iterable(rows.values() for rows in self._live.values()):
            if self._is_better(row.value, row.number, best):
                best = _best_of(row)
        return best

    def _tick(self, now_s: float) -> None:
        if now_s >= self._next_s:
            self._show(now_s)

    def _show(self, now_s: float, *, is_done: bool = False) -> None:
        self._next_s = now_s + self._interval_s
        self.report(self.progress(now_s, is_done=is_done))

    def progress(self, now_s: float | None = None, *, is_done: bool = False) -> Progress:
        """How far the run is now."""
        if now_s is None:
            now_s = self._clock.monotonic()
        if self._started_s is None:
            self._started_s = now_s
        counts = {status: len(rows) for status, rows in self._live.items()}
        for state, count in self._ended.items():
            status = _ENDED.get(state, state)
            counts[status] = counts.get(status, 0) + count
        elapsed_s = now_s - self._started_s
        return Progress(
            run=self.run,
            counts={status: count for status, count in sorted(counts.items()) if count},
            ended=dict(self._ended),
            rows=tuple(islice(self._rows(), self._max_rows)),
            best=self._best(),
            now_s=now_s,
            elapsed_s=elapsed_s,
            left_s=None if is_done else self._left_s(elapsed_s),
            is_done=is_done,
        )

    def _rows(self) -> Iterator[TrialRow]:
        live = self._live
        return chain(
            live["RUNNING"].values(), live["PENDING"].values(), reversed(self._recent), live["PAUSED"].values()
        )

    def _left_s(self, elapsed_s: float) -> float | None:
        """By the rate at which trials have ended so far, and no more than the time limit leaves."""
        left_s: float | None = None
        if self.run.n_trials is not None and self._n_ended_here:
            n_left = max(0, self.run.n_trials - sum(self._ended.values()))
            left_s = elapsed_s / self._n_ended_here * n_left
        if self.run.timeout_s is not None:
            limit_s = max(0.0, self.run.timeout_s - elapsed_s)
            left_s = limit_s if left_s is None else min(left_s, limit_s)
        return left_s


def _best_of(row: TrialRow) -> Best:
    return Best(row.number, math.nan if row.value is None else row.value, row.value_config)


def _time_of(row: TrialRow, now_s: float) -> float:
    reported = row.result.get("time_total_s")
    return float(reported) if isinstance(reported, (int, float)) else now_s - row.started_s


def _told_value(trial: Trial) -> float | None:
    """The value that the trial was told with; None for failed ones and for several objectives."""
    if trial.state.name != "COMPLETE" or not trial.study.objectives.has_metric:
        return None
    values = trial.study.optuna._storage.get_trial(trial.storage_id).values
    return float(values[0]) if values and len(values) == 1 else None
