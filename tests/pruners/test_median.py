"""Median stopping, against a plain reading of the rule."""

from __future__ import annotations

import json
import math
import random
import statistics
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners import MedianStopping, Stop
from tuneflow.pruners.base import CONTINUE

STOP = Stop()


def begin(pruner: MedianStopping, n: int) -> None:
    for trial in range(n):
        pruner.on_start(trial, {})


def running_mean(values: list[float]) -> float:
    if math.inf in values:
        return math.inf
    return list(accumulate(values))[-1] / len(values)


def expected(
    history: dict[int, list[tuple[int, float]]], trial: int, step: int, value: float, grace: float, required: int
) -> bool:
    means = []
    for other, reports in history.items():
        if other != trial and reports and reports[-1][0] >= step:
            values = [seen for at, seen in reports if at <= step]
            if values:
                means.append(running_mean(values))
    if step < grace or len(means) < required:
        return False
    best = min([value, *(seen for _, seen in history[trial])])
    means.sort()
    middle = (means[(len(means) - 1) // 2] + means[len(means) // 2]) / 2
    return best > (math.inf if math.isnan(middle) else middle)


moves = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from([1, 1, 1, 2, 3, 7]),
        st.one_of(st.integers(-4, 4).map(float), st.sampled_from([math.inf, -math.inf])),
    ),
    max_size=60,
)


@given(moves, st.sampled_from([0, 1, 2.5, 4]), st.integers(1, 3))
def test_the_decisions_are_those_of_the_rule(moves: list[tuple[int, int, float]], grace: float, required: int) -> None:
    pruner = MedianStopping(grace, required)
    begin(pruner, 6)
    history: dict[int, list[tuple[int, float]]] = {trial: [] for trial in range(6)}
    over = set()
    for trial, stride, value in moves:
        if trial in over:
            continue
        step = (history[trial][-1][0] if history[trial] else 0) + stride
        stop = expected(history, trial, step, value, grace, required)
        assert pruner.on_report(trial, step, value, False) == (STOP if stop else CONTINUE)
        history[trial].append((step, value))
        if stop:
            over.add(trial)
        pruner_again = MedianStopping(grace, required)
        pruner_again.load_state_dict(json.loads(json.dumps(pruner.state_dict(), allow_nan=False)))
        pruner = pruner_again


def test_many_trials_at_steps_of_their_own_decide_as_the_rule_and_keep_memory_bounded() -> None:
    random_ = random.Random(1)
    pruner = MedianStopping(1, 3)
    begin(pruner, 120)
    history: dict[int, list[tuple[int, float]]] = {trial: [] for trial in range(120)}
    n_reports = n_stopped = 0
    for trial in range(120):
        step = 0
        for _ in range(8):
            step += random_.randint(1, 5_000)
            value = random_.random()
            stop = expected(history, trial, step, value, 1, 3)
            # decided: the trial goes on all the same, so that the history stays rich
            assert pruner.on_report(trial, step, value, False, CONTINUE) is CONTINUE
            history[trial].append((step, value))
            n_reports, n_stopped = n_reports + 1, n_stopped + stop
    kept = sum(len(here.means) for here in pruner._steps.values() if here.means is not None)
    assert n_reports == 960
    assert n_stopped > 0
    assert kept <= 40 * n_reports
    probe = MedianStopping(1, 3)
    probe.load_state_dict(pruner.state_dict())
    for step in (1, 500, 2_500, 10_000, 39_000):
        for value in (0.1, 0.45, 0.5, 0.55, 0.9):
            fresh = MedianStopping(1, 3)
            fresh.load_state_dict(probe.state_dict())
            fresh.on_start(999, {})
            stop = expected({**history, 999: []}, 999, step, value, 1, 3)
            assert fresh.on_report(999, step, value, False) == (STOP if stop else CONTINUE)


def test_a_giant_step_costs_nothing() -> None:
    pruner = MedianStopping(min_samples_required=1)
    begin(pruner, 2)
    pruner.on_report(0, 1, 0.5, False)
    pruner.on_report(0, 10**15, 0.5, False)
    assert pruner.on_report(1, 10**9, 0.6, False) == STOP  # 0 counts with the mean that it had on the way


def test_the_best_value_counts_not_the_last() -> None:
    pruner = MedianStopping(min_samples_required=1)
    begin(pruner, 2)
    for step in (1, 2):
        pruner.on_report(0, step, 0.5, False)
    assert pruner.on_report(1, 1, 0.4, False) is CONTINUE
    assert pruner.on_report(1, 2, 99.0, False) is CONTINUE


def test_equal_to_the_median_goes_on() -> None:
    pruner = MedianStopping(min_samples_required=2)
    begin(pruner, 4)
    for trial, value in enumerate([0.2, 0.4]):
        pruner.on_report(trial, 1, value, False)
    assert pruner.on_report(2, 1, statistics.median([0.2, 0.4]), False) is CONTINUE
    assert pruner.on_report(3, 1, 0.31, False) == STOP


def test_too_few_others_stop_nobody() -> None:
    pruner = MedianStopping(min_samples_required=3)
    begin(pruner, 4)
    assert [pruner.on_report(trial, 1, float(trial), False) for trial in range(4)] == [CONTINUE] * 3 + [STOP]


def test_reports_before_the_grace_period_enter_the_mean() -> None:
    pruner = MedianStopping(grace_period=2, min_samples_required=1)
    begin(pruner, 2)
    pruner.on_report(0, 1, 0.0, False)
    pruner.on_report(0, 2, 1.0, False)  # mean up to 2: 0.5
    assert pruner.on_report(1, 1, 0.6, False) is CONTINUE
    assert pruner.on_report(1, 2, 0.6, False) == STOP


def test_a_stopped_trial_is_told_again_and_counts_no_more() -> None:
    pruner = MedianStopping(min_samples_required=1)
    begin(pruner, 3)
    pruner.on_report(0, 1, 0.1, False)
    assert pruner.on_report(1, 1, 0.2, False) == STOP
    assert pruner.on_report(1, 2, 0.0, False) == STOP
    assert pruner.on_report(2, 2, 9.0, False) is CONTINUE  # nobody else has reached step 2


def test_infinite_values_never_become_nan() -> None:
    pruner = MedianStopping(min_samples_required=1)
    begin(pruner, 3)
    pruner.on_report(0, 1, -math.inf, False)
    pruner.on_report(0, 2, math.inf, False)  # mean +inf
    assert pruner.on_report(1, 2, math.inf, False) is CONTINUE
    assert pruner.on_report(2, 1, 1.0, False) == STOP  # -inf at step 1
    huge = MedianStopping(min_samples_required=2)
    begin(huge, 3)
    huge.on_report(0, 1, 1.7e308, False)
    huge.on_report(1, 1, 1.7e308, False)
    assert huge.on_report(2, 1, 1.75e308, False) == STOP  # the sum of the two would overflow


def test_settings_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="min_samples_required=0 must be >= 1"):
        MedianStopping(min_samples_required=0)
    with pytest.raises(InvalidArgument, match="grace_period=-1 must be >= 0"):
        MedianStopping(grace_period=-1)
    with pytest.raises(UsageError, match="trial 3 is not running"):
        MedianStopping().on_report(3, 1, 0.0, False)
    with pytest.raises(InvalidArgument, match="cannot be loaded"):
        MedianStopping().load_state_dict(MedianStopping(2).state_dict())
