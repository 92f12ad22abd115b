"""ASHA: both forms against a plain reading of the paper, and its published settings."""

from __future__ import annotations

import heapq
import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument, InvalidArgumentType, UsageError
from tuneflow.pruners import ASHA, Continue, Decision, Pause, Stop
from tuneflow.pruners.base import CONTINUE, PAUSE

GO, STOP, DONE = CONTINUE, Stop(), Stop(complete=True)


def begin(asha: ASHA, n: int) -> None:
    for trial in range(n):
        asha.on_start(trial, {})


def report(asha: ASHA, trial: int, step: int, value: float) -> Decision:
    return asha.on_report(trial, step, value, False)


# --- the stopping form -------------------------------------------------------------------------------------


def test_between_rungs_a_trial_goes_on() -> None:
    asha = ASHA(64, min_resource=4)
    begin(asha, 2)
    assert report(asha, 0, 4, 0.0) is CONTINUE
    for step in (1, 2, 3):
        assert report(asha, 1, step, 9.0) is CONTINUE
    assert report(asha, 1, 4, 9.0) == STOP


def test_the_first_arrival_goes_on_and_the_full_budget_completes() -> None:
    asha = ASHA(9, reduction_factor=3)
    begin(asha, 1)
    decisions = [report(asha, 0, step, math.inf) for step in range(1, 10)]
    assert decisions == [GO] * 8 + [DONE]


def test_equal_values_go_on() -> None:
    asha = ASHA(9, reduction_factor=3)
    begin(asha, 8)
    assert [report(asha, trial, 1, 0.5) for trial in range(7)] == [GO] * 7
    assert report(asha, 7, 1, 0.5000001) == STOP


def test_a_jump_is_recorded_at_the_highest_rung_only() -> None:
    asha = ASHA(100, reduction_factor=3)  # rungs 1, 3, 9, 27, 81
    begin(asha, 4)
    assert report(asha, 0, 30, 0.1) == GO
    assert report(asha, 1, 1, 0.9) == GO  # the first at rung 1: the 0.1 of step 30 is not filed there
    assert report(asha, 2, 27, 0.2) == STOP  # but it is at rung 27
    assert report(asha, 3, 100, 5.0) == DONE


def test_a_rung_counts_a_trial_once() -> None:
    asha = ASHA(100, min_resource=2, reduction_factor=2)
    begin(asha, 3)
    assert report(asha, 0, 2, 0.5) == GO
    assert report(asha, 0, 3, 0.0) == GO  # still the first rung: not filed again
    assert report(asha, 1, 2, 0.4) == GO
    assert report(asha, 2, 2, 0.45) == STOP


def test_a_stopped_trial_that_reports_on_is_told_again_and_not_recorded() -> None:
    asha = ASHA(16)
    begin(asha, 3)
    report(asha, 0, 1, 0.1)
    assert report(asha, 1, 1, 0.2) == STOP
    assert report(asha, 1, 4, 0.2) == STOP
    assert report(asha, 2, 4, 0.9) == GO  # the first at rung 4
    assert report(asha, 2, 16, 0.9) == DONE
    assert report(asha, 2, 17, 0.9) == DONE


@given(
    st.sampled_from([(81, 1, 3), (256, 1, 4), (64, 4, 2), (10, 0.5, 3), (30, 0, 2)]),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.integers(-4, 4)), max_size=80),
)
def test_the_stopping_form_is_the_papers(setting: tuple[int, float, int], moves: list[tuple[int, int, int]]) -> None:
    max_resource, min_resource, eta = setting
    asha = ASHA(max_resource, min_resource, eta)
    begin(asha, 10)
    rungs = [r for k in range(12) if (r := (min_resource or 1) * eta**k) < max_resource]
    if min_resource == 0:
        rungs[0] = 0
    recorded: dict[float, list[float]] = {rung: [] for rung in rungs}
    at, step_of, over = dict.fromkeys(range(10), -1.0), dict.fromkeys(range(10), 0), set()
    for trial, stride, value in moves:
        if trial in over:
            continue
        step = step_of[trial] = step_of[trial] + stride
        expected: Decision = GO
        if step >= max_resource:
            expected = DONE
        else:
            reached = [rung for rung in rungs if at[trial] < rung <= step]
            if reached:
                at[trial] = reached[-1]
                values = recorded[reached[-1]]
                values.append(value)
                if value > sorted(values)[max(1, len(values) // eta) - 1]:
                    expected = STOP
        assert report(asha, trial, step, float(value)) == expected
        if expected != GO:
            over.add(trial)


# --- the promotion form ------------------------------------------------------------------------------------


def test_every_rung_pauses_and_the_best_is_promoted() -> None:
    asha = ASHA(9, reduction_factor=3, promote=True)
    begin(asha, 3)
    assert report(asha, 0, 1, 0.3) is PAUSE
    assert asha.next_resume() is None  # one of three goes on
    assert report(asha, 1, 1, 0.1) is PAUSE
    assert asha.next_resume() is None
    assert report(asha, 2, 1, 0.2) is PAUSE
    assert asha.next_resume() == 1
    assert asha.next_resume() is None  # handed out once
    assert asha.on_resume(1) is CONTINUE
    assert report(asha, 1, 2, 0.1) is CONTINUE
    assert report(asha, 1, 3, 0.1) is PAUSE


def test_the_highest_rung_comes_first() -> None:
    asha = ASHA(16, reduction_factor=2, promote=True)
    begin(asha, 6)
    for trial in range(4):
        report(asha, trial, 1, float(trial))
    assert [asha.next_resume(), asha.next_resume()] == [0, 1]
    report(asha, 4, 1, -1.0)
    report(asha, 5, 1, -2.0)  # now 5 may go on from rung 1 ...
    report(asha, 0, 2, 0.0)
    report(asha, 1, 2, 0.0)  # ... but rung 2 has one as well
    assert [asha.next_resume(), asha.next_resume(), asha.next_resume()] == [0, 5, 4]
    assert asha.next_resume() is None


def test_a_trial_that_loses_its_rank_before_it_is_promoted_stays() -> None:
    asha = ASHA(8, reduction_factor=2, promote=True)
    begin(asha, 3)
    report(asha, 0, 1, 0.5)
    report(asha, 1, 1, 0.9)
    report(asha, 2, 1, 0.1)
    assert [asha.next_resume(), asha.next_resume()] == [2, None]


def test_ties_rank_by_number() -> None:
    asha = ASHA(8, reduction_factor=2, promote=True)
    begin(asha, 4)
    for trial in (3, 1, 2, 0):
        report(asha, trial, 1, 0.5)
    assert [asha.next_resume(), asha.next_resume(), asha.next_resume()] == [0, 1, None]


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_an_ended_trial_is_never_promoted_but_its_value_counts(state: TrialState) -> None:
    asha = ASHA(8, reduction_factor=2, promote=True)
    begin(asha, 4)
    for trial in range(4):
        report(asha, trial, 1, float(trial))
    asha.on_end(0, state)
    assert [asha.next_resume(), asha.next_resume()] == [1, None]  # two of four: 0, which is gone, and 1


def test_a_report_of_a_paused_trial_means_that_it_was_resumed() -> None:
    asha = ASHA(8, reduction_factor=2, promote=True)
    begin(asha, 2)
    report(asha, 0, 1, 0.1)
    report(asha, 1, 1, 0.2)
    assert asha.on_report(0, 2, 0.1, False, PAUSE) is PAUSE  # folded in, at the rung above
    assert asha.next_resume() is None


def drive(asha: ASHA, n: int, values: list[float], failing: frozenset[int] = frozenset()) -> dict[int, str]:
    """One slot; a failing trial fails at its first report after a promotion."""
    ended: dict[int, str] = {}
    step, started = dict.fromkeys(range(n), 0), 0
    while True:
        trial = asha.next_resume(more=started < n)
        for dropped in asha.take_dropped():
            asha.on_end(dropped, TrialState.PRUNED)
            ended[dropped] = "dropped"
        if trial is None:
            if started == n:
                return ended
            trial, started = started, started + 1
            asha.on_start(trial, {})
        elif trial in failing:
            asha.on_end(trial, TrialState.FAIL)
            ended[trial] = "failed"
            continue
        decision: Decision = GO
        while decision == GO:
            step[trial] += 1
            decision = report(asha, trial, step[trial], values[trial])
        if isinstance(decision, Stop):
            asha.on_end(trial, TrialState.COMPLETE)
            ended[trial] = "complete"


def test_a_small_run_still_trains_one_to_the_end() -> None:
    ended = drive(ASHA(256, promote=True), 3, [0.3, 0.1, 0.2])
    assert ended == {1: "complete", 0: "dropped", 2: "dropped"}


def test_where_the_best_fails_the_next_one_is_trained() -> None:
    ended = drive(ASHA(256, promote=True), 3, [0.3, 0.1, 0.2], frozenset({1}))
    assert ended == {1: "failed", 2: "complete", 0: "dropped"}


def test_nothing_is_settled_while_a_trial_runs() -> None:
    asha = ASHA(256, promote=True)
    begin(asha, 2)
    report(asha, 0, 1, 0.5)
    assert asha.next_resume(more=False) is None  # 1 may do better
    assert asha.take_dropped() == []
    asha.on_end(1, TrialState.FAIL)
    assert asha.next_resume(more=False) == 0


def test_paused_trials_stay_while_new_ones_may_come() -> None:
    asha = ASHA(256, promote=True)
    begin(asha, 3)
    for trial in range(3):
        report(asha, trial, 1, 0.5)
    assert asha.next_resume() is None
    assert asha.take_dropped() == []


class PlainPromotion:
    """The promotion form by scanning everything: which paused trial goes on, if any."""

    def __init__(self, eta: int) -> None:
        self.eta = eta
        self.recorded: dict[int, list[tuple[float, int]]] = {}
        self.promoted: set[tuple[int, int]] = set()
        self.gone: set[int] = set()

    def next(self) -> int | None:
        for rung in sorted(self.recorded, reverse=True):
            pairs = sorted(self.recorded[rung])
            for _, trial in pairs[: len(pairs) // self.eta]:
                if (rung, trial) not in self.promoted and trial not in self.gone:
                    self.promoted.add((rung, trial))
                    return trial
        return None


@given(
    st.sampled_from([(81, 3), (64, 2)]),
    st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([-2.0, 0.0, 1.0, 3.0, math.inf]), st.integers(0, 9)), max_size=90
    ),
)
def test_the_promotion_form_is_the_papers(setting: tuple[int, int], moves: list[tuple[int, float, int]]) -> None:
    max_resource, eta = setting
    rungs = [eta**k for k in range(9) if eta**k <= max_resource]
    asha, plain = ASHA(max_resource, 1, eta, promote=True), PlainPromotion(eta)
    running: dict[int, int] = {}  # trial: index of the rung that it is heading for
    paused: dict[int, int] = {}
    n_trials = 0
    for which, value, kind in moves:
        if kind < 5 or not running:  # a free slot: resume, else start
            trial = asha.next_resume()
            assert trial == plain.next()
            if trial is None:
                trial, n_trials = n_trials, n_trials + 1
                asha.on_start(trial, {})
                paused[trial] = -1
            running[trial] = paused.pop(trial) + 1
        elif kind == 5 and paused:
            trial = sorted(paused)[which % len(paused)]
            del paused[trial]
            plain.gone.add(trial)
            asha.on_end(trial, TrialState.FAIL)
        else:
            trial = sorted(running)[which % len(running)]
            level = running.pop(trial)
            if rungs[level] == max_resource:
                assert report(asha, trial, max_resource, value) == DONE
                asha.on_end(trial, TrialState.COMPLETE)
            else:
                assert report(asha, trial, rungs[level], value) is PAUSE
                plain.recorded.setdefault(rungs[level], []).append((value, trial))
                paused[trial] = level


# --- brackets ----------------------------------------------------------------------------------------------


def first_rungs(asha: ASHA, n: int) -> list[int]:
    found = []
    for trial in range(n):
        asha.on_start(trial, {})
        found.append(next(step for step in itertools.count() if report(asha, trial, step, 0.0).should_stop))
    return found


def test_brackets_are_filled_by_their_shares() -> None:
    # K = 4: shares 81, 34, 15, 8, 5 as HyperBand's; the last has no rung but the end
    found = first_rungs(ASHA(81, reduction_factor=3, brackets=5, promote=True), 143)
    assert [found.count(step) for step in (1, 3, 9, 27, 81)] == [81, 34, 15, 8, 5]
    for n in range(1, 144):
        for step, share in ((1, 81), (3, 34), (9, 15), (27, 8), (81, 5)):
            assert abs(found[:n].count(step) - share * n / 143) < 1.5
    assert found == first_rungs(ASHA(81, reduction_factor=3, brackets=5, promote=True), 143)


def test_the_brackets_halve_apart() -> None:
    asha = ASHA(81, reduction_factor=3, brackets=2)  # shares 81 : 34
    begin(asha, 3)  # brackets 0, 1, 0
    assert report(asha, 0, 3, 0.1) == GO
    assert report(asha, 1, 3, 0.9) == GO
    assert report(asha, 2, 3, 0.9) == STOP


# --- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_resource": 9, "reduction_factor": 1}, "reduction_factor=1 must be >= 2"),
        ({"max_resource": 9, "min_resource": 10}, "min_resource=10 must be <= max_resource=9"),
        ({"max_resource": 0}, "max_resource=0 must be > 0"),
        ({"max_resource": -1}, "max_resource=-1 must be >= 0"),
        ({"max_resource": math.inf}, "max_resource=inf must be finite"),
        ({"max_resource": 9, "min_resource": -1}, "min_resource=-1 must be >= 0"),
        ({"max_resource": 9, "reduction_factor": 2.5}, "reduction_factor=2.5 must be a whole number"),
        ({"max_resource": 9, "brackets": 0}, "brackets=0 must be >= 1"),
        ({"max_resource": 9, "reduction_factor": 3, "brackets": 4}, "brackets=4 must be <= 3"),
    ],
)
def test_settings_are_checked(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ASHA(**arguments)  # type: ignore[arg-type]


def test_a_setting_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidArgumentType, match="max_resource='9' must be a number"):
        ASHA("9")  # type: ignore[arg-type]


def test_an_unknown_trial_is_named() -> None:
    with pytest.raises(UsageError, match="trial 7 is not running; call on_start"):
        report(ASHA(9), 7, 1, 0.0)


def test_no_grace_means_the_first_report_decides() -> None:
    asha = ASHA(16, min_resource=0, reduction_factor=2)
    begin(asha, 4)
    assert report(asha, 0, 0, 0.1) == GO
    assert report(asha, 1, 0, 0.2) == STOP
    assert report(asha, 2, 1, 0.2) == STOP
    assert report(asha, 3, 1, 0.0) == GO
    assert report(asha, 3, 2, 9.0) == GO  # the first at rung 2


def test_without_a_rung_below_the_end_all_complete() -> None:
    asha = ASHA(5, min_resource=5)
    begin(asha, 2)
    assert [report(asha, 0, 4, 0.1), report(asha, 1, 4, 0.2)] == [GO, GO]
    assert [report(asha, 0, 5, 0.1), report(asha, 1, 5, 0.2)] == [DONE, DONE]


def test_a_state_of_other_settings_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="cannot be loaded"):
        ASHA(9).load_state_dict(ASHA(81).state_dict())


# --- published behaviour -----------------------------------------------------------------------------------


def first_full_training(resume: bool) -> float:
    """Nine machines, r = 1, R = 9, η = 3; a step takes one unit of time. When the first trial has trained to R."""
    asha = ASHA(9, reduction_factor=3, promote=True)
    rungs, number = (1, 3, 9), itertools.count()
    done: dict[int, int] = {}
    jobs: list[tuple[float, int, int]] = []
    now, free = 0.0, 9
    while True:
        while free:
            trial = asha.next_resume()
            if trial is None:
                trial = next(number)
                asha.on_start(trial, {})
            target = next(rung for rung in rungs if rung > done.get(trial, 0))
            start = done.get(trial, 0) if resume else 0
            heapq.heappush(jobs, (now + target - start, trial, target))
            free -= 1
        now, trial, target = heapq.heappop(jobs)
        done[trial] = target
        free += 1
        if report(asha, trial, target, float(trial)) == DONE:
            return now


def test_the_first_full_training_is_there_when_the_paper_says() -> None:
    assert first_full_training(resume=False) == 13  # 13/9 · time(R), section 3.1
    assert first_full_training(resume=True) == 9  # 1 · time(R)


def test_mispromotions_grow_like_the_root_of_n() -> None:
    counts = {}
    for n in (400, 6_400):
        total = 0
        for seed in range(10):
            random_ = random.Random(seed)
            asha = ASHA(4, reduction_factor=4, promote=True)
            values = [random_.random() for _ in range(n)]
            promoted = set()
            for trial, value in enumerate(values):
                asha.on_start(trial, {})
                assert isinstance(report(asha, trial, 1, value), Pause)
                while (chosen := asha.next_resume()) is not None:
                    promoted.add(chosen)
            total += len(promoted - set(sorted(range(n), key=values.__getitem__)[: n // 4]))
        counts[n] = total / 10
    # sixteen times as many trials: four times as many mispromotions, not sixteen times
    assert 2 < counts[6_400] / counts[400] < 8
    assert counts[6_400] < 3 * math.sqrt(6_400)


def test_decisions_are_the_shared_constants() -> None:
    asha = ASHA(16, min_resource=2)
    begin(asha, 1)
    assert report(asha, 0, 1, 0.0) is CONTINUE
    assert isinstance(report(asha, 0, 2, 0.0), Continue)
