"""Stoppers: what they mean, against plain formulas, and what they refuse."""

from __future__ import annotations

import math
import statistics
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuneflow as tune
from tuneflow.clock import ManualClock
from tuneflow.errors import InvalidArgument, InvalidArgumentType, TuneflowError, TuneflowWarning, UsageError
from tuneflow.stoppers import (
    CombinedStopper,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    Stopper,
    ThresholdStopper,
    TimeoutStopper,
    TrialPlateauStopper,
    stopper_from,
)

VALUES = st.lists(st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 1)), max_size=12)


@given(VALUES, st.integers(2, 4), st.integers(0, 6), st.sampled_from([0.05, 0.5, 3.0]))
def test_a_trial_stands_still_when_its_last_results_hardly_differ(
    values: list[float], num_results: int, grace_period: int, std: float
) -> None:
    stopper = TrialPlateauStopper("loss", std, num_results, grace_period)
    for n_results in range(1, len(values) + 1):
        last = values[:n_results][-num_results:]
        wanted = n_results >= grace_period and len(last) == num_results and statistics.pstdev(last) < std - 1e-9
        # Between the two, rounding decides.
        is_close = len(last) == num_results and abs(statistics.pstdev(last) - std) < 1e-9
        stops = stopper("00000", {"loss": values[n_results - 1]})
        assert stops == wanted or is_close
        if stops:
            return


def test_each_trial_has_a_plateau_of_its_own() -> None:
    stopper = TrialPlateauStopper("loss", num_results=2, grace_period=2)
    assert [stopper(trial, {"loss": 1.0}) for trial in ("0", "1", "0", "1")] == [False, False, True, True]


@pytest.mark.parametrize(("mode", "stops"), [("min", [0.5, 0.1]), ("max", [0.9, 0.5])])
def test_a_trial_short_of_the_threshold_goes_on(mode: str, stops: list[float]) -> None:
    ended = []
    for value in (0.9, 0.5, 0.1):
        stopper = TrialPlateauStopper("a/b", num_results=2, grace_period=2, metric_threshold=0.5, mode=mode)
        if [stopper("0", {"a": {"b": value}}) for _ in range(2)][-1]:
            ended.append(value)
    assert ended == stops


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_plateau(value: float) -> None:
    stopper = TrialPlateauStopper("loss", num_results=2, grace_period=0)
    assert not any(stopper("0", {"loss": value}) for _ in range(5))
    assert [stopper("0", {"loss": 1e200}) for _ in range(2)] == [False, True], "nor does it overflow"
    assert not any(stopper("1", {"accuracy": 1.0}) for _ in range(5)), "a result without the metric does not count"


@given(VALUES, st.integers(2, 4), st.sampled_from(["min", "max"]), st.integers(0, 3))
def test_a_run_stands_still_when_its_best_values_do(values: list[float], top: int, mode: str, patience: int) -> None:
    stopper = ExperimentPlateauStopper("loss", std=0.001, top=top, mode=mode, patience=patience)
    n_still = 0
    for n_results in range(1, len(values) + 1):
        best = sorted(values[:n_results], reverse=mode == "max")[:top]
        is_still = len(best) == top and statistics.pstdev(best) <= 0.001
        n_still = n_still + 1 if is_still else 0
        stops = stopper(f"{n_results:05d}", {"loss": values[n_results - 1]})
        assert stops == stopper.stop_all() == (is_still and n_still >= patience)


def test_the_time_of_a_run() -> None:
    clock = ManualClock(100.0)
    stopper = TimeoutStopper(timedelta(seconds=10))
    assert not stopper.stop_all(), "no run has begun"
    stopper.start(clock)
    clock.advance(9.9)
    assert not stopper.stop_all()
    clock.advance(0.1)
    assert stopper.stop_all()
    assert stopper("00000", {}), "a trial ends with the first result past it"
    stopper.start(clock)
    assert not stopper.stop_all(), "another run has its own time"


def test_all_of_a_list_hear_everything() -> None:
    clock = ManualClock()
    plateau = ExperimentPlateauStopper("loss", top=2)
    stopper = stopper_from([{"training_iteration": 1}, lambda trial_id, result: False, TimeoutStopper(5), plateau])
    assert isinstance(stopper, CombinedStopper)
    stopper.start(clock)
    assert set(stopper.unseen) == {"training_iteration", "loss"}
    assert [stopper("0", {"training_iteration": 1, "loss": 1.0}) for _ in range(2)] == [True, True]
    assert stopper.stop_all(), "the plateau heard both results"
    assert set(stopper.unseen) == set()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TimeoutStopper(0), InvalidArgument, "timeout=0 must be > 0"),
        (lambda: TimeoutStopper("1 h"), InvalidArgumentType, "timeout='1 h' must be a number of seconds"),
        (lambda: TimeoutStopper(None), InvalidArgumentType, "timeout=None"),
        (lambda: TrialPlateauStopper(""), InvalidArgumentType, "metric='' must be the name"),
        (lambda: TrialPlateauStopper("m", std=-1), InvalidArgument, "std=-1 must be >= 0"),
        (lambda: TrialPlateauStopper("m", num_results=1), InvalidArgument, "num_results=1 must be >= 2"),
        (lambda: TrialPlateauStopper("m", metric_threshold=1), InvalidArgument, "mode=None must be 'min' or 'max'"),
        (lambda: TrialPlateauStopper("m", mode="best"), InvalidArgument, "mode='best'"),
        (lambda: ExperimentPlateauStopper("m", std=0), InvalidArgument, "std=0 must be above zero"),
        (lambda: ExperimentPlateauStopper("m", top=1), InvalidArgument, "top=1 must be >= 2"),
        (lambda: ExperimentPlateauStopper("m", mode=None), InvalidArgument, "mode=None"),
        (lambda: ExperimentPlateauStopper("m", patience="x"), InvalidArgumentType, "patience='x' must be a number"),
        (lambda: MaximumIterationStopper(0), InvalidArgument, "max_iter=0 must be >= 1"),
        (lambda: ThresholdStopper({"a": "b"}), InvalidArgument, r"stop\['a'\]='b' must be a number"),
        (lambda: FunctionStopper(3), InvalidArgumentType, "function=3"),
        (lambda: CombinedStopper({"a": 1}), InvalidArgumentType, "must be a Stopper"),
        (lambda: stopper_from(Stopper), TuneflowError, "stop=Stopper is a class"),
        (lambda: ThresholdStopper({"a": 1})("0", {"a": "b"}), InvalidArgumentType, "cannot be compared with 'b'"),
        (lambda: TrialPlateauStopper("m")("0", {"m": "b"}), InvalidArgumentType, "'b' was reported"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def train(config: dict[str, Any]) -> None:
    for step in range(1, 11):
        tune.report(loss=1.0 / min(step, 4))


def run(stop: Any, trainable: Any = train, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {"num_samples": 4, "executor": "inline", "verbose": 0, **arguments}
    return tune.run(trainable, {"x": tune.uniform(0, 1)}, stop=stop, **given)


def test_a_plateau_ends_each_trial_of_a_run() -> None:
    analysis = run(TrialPlateauStopper("loss", num_results=3, grace_period=0))
    assert [len(trial.results) for trial in analysis.trials] == [6] * 4, "three results of a quarter: 4, 5 and 6"
    assert all(trial.last_result["done"] for trial in analysis.trials)


def test_a_plateau_ends_the_run() -> None:
    analysis = run(ExperimentPlateauStopper("loss", top=10), num_samples=-1)
    assert [len(trial.results) for trial in analysis.trials] == [10, 6], "the seven last and the three first quarters"


def test_a_timeout_ends_the_run_by_the_run_s_own_clock() -> None:
    executor = tune.SimulatedExecutor(1, cost=10.0, max_steps=10)
    curve = lambda config, step: {"loss": 1.0 / step}  # noqa: E731
    analysis = run(TimeoutStopper(155), curve, num_samples=-1, executor=executor, metric="loss", mode="min")
    assert [len(trial.results) for trial in analysis.trials] == [10, 6], "in virtual seconds: 100, and 60 of the next"


def test_a_key_that_no_result_holds_is_said_once_with_the_keys_there_are() -> None:
    with pytest.warns(TuneflowWarning) as caught:
        run({"accuracy": 0.9, "training_iteration": 2})
    (warning,) = caught
    assert "stop names accuracy, which no result held so far; the results hold: loss, done" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize("function", [lambda result: True, lambda trial_id, result, more: True, lambda: True])
def test_a_function_that_cannot_be_called_is_refused_at_once(function: Any) -> None:
    with pytest.raises(InvalidArgumentType, match="must take two arguments, trial_id and result"):
        stopper_from(function)


def test_a_function_that_fails_is_told_from_the_training_code() -> None:
    def enough(trial_id: str, result: dict[str, Any]) -> bool:
        return bool(result["los"] < 1)

    with pytest.raises(
        UsageError, match=r"the stop function .*enough failed on a result of trial 00003: KeyError: 'los'"
    ):
        stopper_from(enough)("00003", {"loss": 1})


@pytest.mark.parametrize("kind", [MaximumIterationStopper, TimeoutStopper])
def test_a_class_in_place_of_a_stopper_is_named(kind: type[Stopper]) -> None:
    with pytest.raises(InvalidArgumentType, match=rf"{kind.__name__} is a class; pass an object"):
        stopper_from([kind])


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrialPlateauStopper("loss", num_results=2, grace_period=3),
        lambda: ExperimentPlateauStopper("loss", top=2, patience=2),
        lambda: ThresholdStopper({"loss": 2, "never": 1}),
    ],
)
def test_one_object_serves_several_runs(make: Any) -> None:
    stopper = CombinedStopper(make())
    runs = []
    for _ in range(2):
        stopper.start(ManualClock())
        unseen = set(stopper.unseen)
        runs.append(([stopper("00000", {"loss": loss}) for loss in (1.0, 1.0, 1.0)], unseen))
    assert runs[0] == runs[1]
    assert "loss" in runs[0][1]
