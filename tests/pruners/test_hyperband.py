"""HyperBand: the published brackets, and synchronous halving whatever the number of slots."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners import HyperBand, Stop
from tuneflow.pruners.base import CONTINUE, PAUSE
from tuneflow.testing import Driver

DONE = Stop(complete=True)

TABLES: dict[tuple[int, int], list[list[tuple[int, int]]]] = {
    # (R, η): the brackets in the order in which they fill, each as (trials, step) per rung
    (9, 3): [[(9, 1), (3, 3), (1, 9)], [(5, 3), (1, 9)], [(3, 9)]],
    (81, 3): [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ],
    (243, 3): [
        [(243, 1), (81, 3), (27, 9), (9, 27), (3, 81), (1, 243)],
        [(98, 3), (32, 9), (10, 27), (3, 81), (1, 243)],
        [(41, 9), (13, 27), (4, 81), (1, 243)],
        [(18, 27), (6, 81), (2, 243)],
        [(9, 81), (3, 243)],
        [(6, 243)],
    ],
    (256, 4): [
        [(256, 1), (64, 4), (16, 16), (4, 64), (1, 256)],
        [(80, 4), (20, 16), (5, 64), (1, 256)],
        [(27, 16), (6, 64), (1, 256)],
        [(10, 64), (2, 256)],
        [(5, 256)],
    ],
    (1000, 10): [
        [(1000, 1), (100, 10), (10, 100), (1, 1000)],
        [(134, 10), (13, 100), (1, 1000)],
        [(20, 100), (2, 1000)],
        [(4, 1000)],
    ],
}


def arrivals(hyperband: HyperBand, n_trials: int, n_slots: int, values: list[float], seed: int) -> list[list[int]]:
    """The steps at which each trial paused or completed, where a trial reports at milestones only."""
    due = sorted({max(1, hyperband.max_resource // hyperband.reduction_factor**k) for k in range(20)})
    driver = Driver(
        hyperband,
        lambda trial, step: values[trial],
        n_trials=n_trials,
        n_slots=n_slots,
        stride=lambda trial, step: next(milestone for milestone in due if milestone > step) - step,
    )
    driver.run(random.Random(seed))
    return [
        [step for step, _, _, decision in record.reports if decision.should_stop] for record in driver.records.values()
    ]


@pytest.mark.parametrize("setting", TABLES, ids=str)
@pytest.mark.parametrize("n_slots", [1, 40, 2_000])
def test_the_published_brackets(setting: tuple[int, int], n_slots: int) -> None:
    table = TABLES[setting]
    n_trials = sum(rungs[0][0] for rungs in table)
    random_ = random.Random(1)
    found = arrivals(HyperBand(*setting), n_trials, n_slots, [random_.random() for _ in range(n_trials)], 2)
    first = 0
    for rungs in table:
        members = found[first : first + rungs[0][0]]
        first += rungs[0][0]
        counts = Counter(step for steps in members for step in steps)
        assert [(counts[step], step) for step in sorted(counts)] == rungs


def survivors(values: list[float], setting: tuple[int, int]) -> list[int]:
    """A plain reading: how often each trial arrives at a rung."""
    n_arrivals = []
    table = [[n for n, _ in rungs] for rungs in TABLES[setting]]
    first = index = 0
    while first < len(values):
        rungs = table[index % len(table)]
        members = list(range(first, min(first + rungs[0], len(values))))
        counts = dict.fromkeys(members, 1)
        alive, n = members, len(members)
        for level in range(1, len(rungs)):
            alive = sorted(alive, key=lambda trial: (values[trial], trial))[: max(1, n // setting[1] ** level)]
            for trial in alive:
                counts[trial] += 1
        n_arrivals += [counts[trial] for trial in members]
        first += rungs[0]
        index += 1
    return n_arrivals


@settings(deadline=None)
@given(
    st.integers(1, 40), st.sampled_from([1, 2, 5, 1_000]), st.integers(0, 10**6), st.sampled_from([(9, 3), (256, 4)])
)
def test_the_outcome_does_not_depend_on_slots_or_timing(
    n_trials: int, n_slots: int, seed: int, setting: tuple[int, int]
) -> None:
    random_ = random.Random(seed)
    values = [random_.choice([0.1, 0.2, 0.3, 0.4, math.inf]) for _ in range(n_trials)]
    found = arrivals(HyperBand(*setting), n_trials, n_slots, values, seed)
    assert [len(steps) for steps in found] == survivors(values, setting)


def begin(hyperband: HyperBand, n: int, first: int = 0) -> None:
    for trial in range(first, first + n):
        hyperband.on_start(trial, {})


def arrive(hyperband: HyperBand, trials: range, step: int) -> None:
    for trial in trials:
        assert hyperband.on_report(trial, step, float(trial), False) is PAUSE


def test_nobody_goes_on_before_all_have_arrived() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 9)
    arrive(hyperband, range(8), 1)
    assert (hyperband.next_resume(), hyperband.take_dropped()) == (None, [])
    assert hyperband.next_resume(more=False) is None
    arrive(hyperband, range(8, 9), 1)
    assert [hyperband.next_resume() for _ in range(4)] == [0, 1, 2, None]
    assert hyperband.take_dropped() == [3, 4, 5, 6, 7, 8]
    assert hyperband.take_dropped() == []
    assert hyperband.on_report(0, 2, 0.0, False) is CONTINUE
    arrive(hyperband, range(3), 3)
    assert [hyperband.next_resume(), hyperband.next_resume()] == [0, None]
    assert hyperband.on_report(0, 9, 0.0, False) == DONE


def test_a_failure_counts_as_arrived_and_worst() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 9)
    arrive(hyperband, range(2), 1)
    for trial in range(2, 9):
        assert hyperband.next_resume() is None
        hyperband.on_end(trial, TrialState.FAIL)
    assert [hyperband.next_resume(), hyperband.next_resume(), hyperband.next_resume()] == [0, 1, None]
    hyperband.on_end(0, TrialState.FAIL)  # on its way to the next rung: 1 waits for it no longer
    arrive(hyperband, range(1, 2), 3)
    assert hyperband.next_resume() == 1


def test_who_failed_while_paused_does_not_compete_in_a_rebuild() -> None:
    original, rebuilt = HyperBand(4, reduction_factor=2), HyperBand(4, reduction_factor=2)
    for trial in range(4):
        original.on_start(trial, {})
    values = {3: 0.1, 0: 0.2, 1: 0.3, 2: 0.9}
    for trial, value in values.items():
        original.on_report(trial, 1, value, False)
        if trial == 3:
            original.on_end(3, TrialState.FAIL)
    for trial in range(4):  # one after the other, as a storage hands them out
        rebuilt.on_start(trial, {})
        rebuilt.on_report(trial, 1, values[trial], False, decided=PAUSE)
    rebuilt.on_end(3, TrialState.FAIL)
    for hyperband in (original, rebuilt):
        assert [hyperband.next_resume() for _ in range(3)] == [0, 1, None]
        assert hyperband.take_dropped() == [2]


def test_a_bracket_of_failures_is_over() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 9)
    for trial in range(9):
        hyperband.on_end(trial, TrialState.FAIL)
    assert (hyperband.next_resume(), hyperband.take_dropped()) == (None, [])
    assert [each[0] for each in hyperband.state_dict()["brackets"]] == [0]
    begin(hyperband, 1, first=9)
    assert [each[0] for each in hyperband.state_dict()["brackets"]] == [1]  # ended brackets are forgotten


def test_free_slots_fill_the_next_bracket_while_one_waits() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 14)  # 9, and the 5 of the second bracket
    arrive(hyperband, range(9, 14), 3)
    assert [hyperband.next_resume(), hyperband.next_resume()] == [9, None]
    arrive(hyperband, range(9), 1)
    assert [hyperband.next_resume() for _ in range(4)] == [0, 1, 2, None]


def test_the_oldest_bracket_goes_first() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 14)
    arrive(hyperband, range(9, 14), 3)
    arrive(hyperband, range(9), 1)
    assert [hyperband.next_resume() for _ in range(5)] == [0, 1, 2, 9, None]


def test_without_more_trials_a_bracket_halves_with_what_it_has() -> None:
    hyperband = HyperBand(81)
    begin(hyperband, 7)
    arrive(hyperband, range(7), 1)
    assert hyperband.next_resume() is None
    assert [hyperband.next_resume(more=False) for _ in range(3)] == [0, 1, None]
    assert hyperband.take_dropped() == [2, 3, 4, 5, 6]


def test_trials_that_come_late_compete_for_the_places_that_they_add() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 3)
    arrive(hyperband, range(3), 1)
    assert hyperband.next_resume(more=False) == 0
    for trial in hyperband.take_dropped():
        hyperband.on_end(trial, TrialState.PRUNED)
    begin(hyperband, 6, first=3)  # the bracket is full now: three places, one of them taken
    arrive(hyperband, range(3, 9), 1)
    assert [hyperband.next_resume() for _ in range(3)] == [3, 4, None]
    assert hyperband.take_dropped() == [5, 6, 7, 8]


def test_a_report_past_several_milestones_is_at_all_of_them() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 9)
    arrive(hyperband, range(9), 4)  # past 1 and 3
    assert [hyperband.next_resume(), hyperband.next_resume()] == [0, None]
    assert hyperband.take_dropped() == list(range(1, 9))
    assert hyperband.on_report(0, 8, 0.0, False) is CONTINUE
    assert hyperband.on_report(0, 12, 0.0, False) == DONE


def test_ties_rank_by_number() -> None:
    hyperband = HyperBand(9)
    begin(hyperband, 9)
    for trial in reversed(range(9)):
        hyperband.on_report(trial, 1, 0.5, False)
    assert [hyperband.next_resume() for _ in range(4)] == [0, 1, 2, None]


def test_one_step_is_all() -> None:
    hyperband = HyperBand(1)
    begin(hyperband, 3)
    assert [hyperband.on_report(trial, 1, 0.0, False) for trial in range(3)] == [DONE] * 3


def test_a_limit_that_is_no_power_keeps_absolute_milestones() -> None:
    values = [float(trial) for trial in range(200)]
    found = arrivals(HyperBand(100), 143, 8, values, 0)
    assert found[0] == [1, 3, 11, 33, 100]
    assert found[81] == [3, 11, 33, 100]


def test_settings_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="reduction_factor=1 must be >= 2"):
        HyperBand(81, 1)
    with pytest.raises(InvalidArgument, match="max_resource=0 must be >= 1"):
        HyperBand(0)
    with pytest.raises(InvalidArgument, match=r"max_resource=1.5 must be a whole number"):
        HyperBand(1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="trial 3 is not running"):
        HyperBand(9).on_report(3, 1, 0.0, False)
    with pytest.raises(InvalidArgument, match="cannot be loaded"):
        HyperBand(9).load_state_dict(HyperBand(81).state_dict())
