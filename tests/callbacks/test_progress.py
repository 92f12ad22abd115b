"""What a run's progress holds, and when it is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow.callbacks import Progress, ProgressReporter, RunInfo
from tuneflow.clock import ManualClock
from tuneflow.pruners import ASHA

Make = Callable[..., Any]
SPACE = {"x": tune.uniform(0, 1)}


class Kept(ProgressReporter):
    """Keeps what it is given."""

    def __init__(self, clock: ManualClock, **run: Any) -> None:
        super().__init__(interval_s=5.0, clock=clock)
        self.run = RunInfo(**{"metric": "loss", "mode": "min", **run})
        self.given: list[Progress] = []

    def report(self, progress: Progress) -> None:
        self.given.append(progress)


def made(**run: Any) -> tuple[Any, Kept, ManualClock]:
    clock = ManualClock()
    study = tune.create_study(SPACE, metric="loss", mode="min", seed=0, sampler="random")
    reporter = Kept(clock, **run)
    study.add_callback(reporter)
    study.listeners.emit("on_study_start", study)
    return study, reporter, clock


def test_states_are_counted_by_events() -> None:
    study, reporter, _ = made()
    trials = [study.ask() for _ in range(5)]
    study.tell(trials[0], 0.5)
    study.tell(trials[1], state=TrialState.FAIL)
    study.tell(trials[2], state=TrialState.PRUNED)
    progress = reporter.progress()
    assert progress.counts == {"ERROR": 1, "RUNNING": 2, "TERMINATED": 2}
    assert progress.ended == {"COMPLETE": 1, "FAIL": 1, "PRUNED": 1}
    assert progress.n_trials == 5
    assert [row.number for row in progress.rows] == [3, 4, 2, 1, 0]


def test_paused_trials_are_told_apart_and_come_back() -> None:
    clock = ManualClock()
    study = tune.create_study(
        SPACE, metric="loss", mode="min", seed=0, pruner=ASHA(9, reduction_factor=3, promote=True)
    )
    reporter = Kept(clock)
    study.add_callback(reporter)
    paused = 0
    for _ in range(3):
        trial = study.ask(new=True)
        trial.report({"loss": trial.config["x"]}, 1, {"step": 1})
        paused += trial.is_paused
        assert reporter.progress().counts.get("PAUSED", 0) == paused
    resumed = study.ask(new=False)
    assert resumed.number in (0, 1, 2)
    assert reporter.progress().counts == {"PAUSED": 2, "RUNNING": 1}


def test_the_best_trial_is_that_with_the_best_last_value_as_in_the_analysis() -> None:
    study, reporter, _ = made()
    trial = study.ask()
    for step, loss in enumerate((float("nan"), 0.5, 0.25, float("nan"), 0.75), start=1):
        trial.report({"loss": loss}, step)
    best = reporter.progress().best
    assert best is not None
    assert (best.trial_id, best.value, best.config) == ("00000", 0.75, trial.config)
    ended, worse = study.ask(), study.ask()
    ended.report({"loss": 0.5}, 1)
    study.tell(ended, state=TrialState.PRUNED)
    worse.report({"loss": 0.1}, 1)
    worse.report({"loss": 0.9}, 2)
    best = reporter.progress().best
    assert best is not None
    assert (best.trial_id, best.value, best.config) == ("00001", 0.5, ended.config)


def test_a_value_that_is_only_told_counts() -> None:
    study, reporter, _ = made()
    study.tell(study.ask(), 0.125)
    assert reporter.progress().best.value == 0.125
    assert reporter.progress().rows[0].value == 0.125


def test_the_larger_value_is_best_in_max_mode() -> None:
    study, reporter, _ = made(mode="max")
    study.tell(study.ask(), 1.0)
    live, equal, other = study.ask(), study.ask(), study.ask()
    for trial, value in ((live, 2.0), (equal, 2.0), (other, float("nan"))):
        trial.report({"loss": value}, 1)
    best = reporter.progress().best
    assert best is not None
    assert best.number == 1, "the first of equal ones"


def test_reports_are_throttled_by_the_clock() -> None:
    study, reporter, clock = made()
    assert len(reporter.given) == 1, "at the start"
    for _ in range(100):
        study.tell(study.ask(), 0.5)
    assert len(reporter.given) == 1
    clock.advance(5.0)
    for _ in range(100):
        study.tell(study.ask(), 0.5)
    assert len(reporter.given) == 2
    reporter.on_study_end(study)
    assert reporter.given[-1].is_done
    assert reporter.given[-1].ended == {"COMPLETE": 200}


def test_what_is_kept_does_not_grow_with_the_trials_that_ended() -> None:
    study, reporter, _ = made()
    for _ in range(50):
        study.tell(study.ask(), 0.5)
    assert len(reporter.progress().rows) == 20
    assert sum(map(len, reporter._live.values())) == 0
    assert len(reporter._recent) == 20


def test_time_left_by_rate_and_limit() -> None:
    study, reporter, clock = made(n_trials=10)
    assert reporter.progress().left_s is None, "nothing is known yet"
    trials = [study.ask() for _ in range(4)]
    clock.advance(8.0)
    for trial in trials:
        study.tell(trial, 0.5)
    assert reporter.progress().left_s == pytest.approx(12.0)
    reporter.run = RunInfo(n_trials=10, timeout_s=10.0)
    assert reporter.progress().left_s == pytest.approx(2.0)
    clock.advance(5.0)
    assert reporter.progress().left_s == 0.0


def test_times_of_trials() -> None:
    study, reporter, clock = made()
    first, second = study.ask(), study.ask()
    clock.advance(3.0)
    first.report({"loss": 0.5, "time_total_s": 2.5}, 1)
    progress = reporter.progress()
    assert [progress.time_of(row) for row in progress.rows] == [2.5, 3.0]
    study.tell(second, 0.5)
    clock.advance(10.0)
    progress = reporter.progress()
    assert [progress.time_of(row) for row in progress.rows] == [2.5, 3.0], "an ended trial's time stands still"


def test_a_failed_attempt_waits_for_its_retry() -> None:
    study, reporter, _ = made()
    trial = study.ask()
    reporter.on_trial_error(trial, ValueError("boom"))
    assert reporter.progress().counts == {"PENDING": 1}
    reporter.on_trial_resume(trial)
    assert reporter.progress().counts == {"RUNNING": 1}


def test_a_resumed_experiment_counts_what_was_there(make_study: Make) -> None:
    study = make_study()
    for loss in (0.5, 0.25):
        study.tell(study.ask(), loss)
    study.ask()
    study = make_study(again=True)
    clock = ManualClock()
    reporter = Kept(clock, n_trials=4, counts_earlier=True)
    study.add_callback(reporter)
    study.listeners.emit("on_study_start", study)
    assert reporter.given[0].counts == {"TERMINATED": 2}
    assert reporter.given[0].best.value == 0.25
    trial = study.ask()
    assert reporter.progress().counts == {"RUNNING": 1, "TERMINATED": 2}
    clock.advance(6.0)
    study.tell(trial, 0.1)
    assert reporter.progress().left_s == pytest.approx(6.0), "by the rate of this run alone"


def test_a_run_without_a_metric_has_no_best(make_study: Make) -> None:
    study = make_study(has_metric=False)
    reporter = Kept(ManualClock(), metric=None, mode=None)
    study.add_callback(reporter)
    trial = study.ask()
    trial.report({"anything": 1}, 1)
    study.tell(trial, state=TrialState.COMPLETE)
    progress = reporter.progress()
    assert progress.best is None
    assert progress.rows[0].value is None
