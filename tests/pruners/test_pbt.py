from __future__ import annotations

import json
import math

import numpy as np
import pytest
from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners.base import CONTINUE, PAUSE, Continue, Exploit, Stop
from tuneflow.pruners.pbt import PBT

SAVE = Continue(save=True)


def bound(n: int, seed: int = 0, **arguments: object) -> PBT:
    arguments = {"mutations": {"lr": [0, 1, 2, 3, 4]}, "resample_probability": 0.0, **arguments}
    pbt = PBT(**arguments)  # type: ignore[arg-type]
    pbt.bind(None, np.random.default_rng(seed))
    for trial in range(n):
        pbt.on_start(trial, {"lr": 2, "name": f"t{trial}"})
    return pbt


def report_all(pbt: PBT, step: int, values: list[float]) -> list[object]:
    return [pbt.on_report(trial, step, value, True) for trial, value in enumerate(values)]


def test_nothing_happens_between_the_intervals() -> None:
    pbt = bound(2)
    assert [pbt.on_report(0, step, 1.0, True) for step in range(1, 5)] == [CONTINUE] * 4
    assert pbt.on_report(0, 5, 1.0, True) == SAVE
    assert [pbt.on_report(1, step, 9.0, True) for step in range(1, 5)] == [CONTINUE] * 4
    assert isinstance(pbt.on_report(1, 5, 9.0, True), Exploit)


def test_an_interval_is_at_the_first_report_at_or_past_each_multiple() -> None:
    pbt = bound(2)
    pbt.on_report(0, 5, 1.0, True)
    decided = {step: pbt.on_report(1, step, 2.0, True) for step in (4, 8, 12, 14, 16)}
    assert [step for step, decision in decided.items() if isinstance(decision, Exploit)] == [8, 12, 16]


@pytest.mark.parametrize(("n", "exploits"), [(2, 1), (3, 1), (4, 1), (8, 2), (9, 3)])
def test_as_many_exploit_as_the_quantile_says(n: int, exploits: int) -> None:
    pbt = bound(n)
    report_all(pbt, 5, [float(n - trial) for trial in range(n)])  # each new one is the best: all are saved
    decisions = report_all(pbt, 10, [float(trial) - 100 for trial in range(n)])
    # Every report at step 10 beats all of step 5, so only the last ones can end in the bottom of their own kind.
    bottom = [trial for trial, decision in enumerate(decisions) if isinstance(decision, Exploit)]
    assert bottom == list(range(n - exploits, n))
    assert all(decision.donor < exploits for decision in decisions if isinstance(decision, Exploit))


def test_equal_members_exploit_and_the_lower_number_ranks_better() -> None:
    pbt = bound(2)
    first, second = report_all(pbt, 5, [1.0, 1.0])
    assert first == SAVE
    assert isinstance(second, Exploit)
    assert (second.donor, second.config["name"]) == (0, "t0")


@pytest.mark.parametrize("worst", [math.inf, 1e308])
def test_the_worst_exploits(worst: float) -> None:
    pbt = bound(3)
    decisions = report_all(pbt, 5, [1.0, worst, 0.5])
    assert isinstance(decisions[1], Exploit)
    assert decisions[2] == SAVE


def test_an_infinite_score_is_copied_by_its_like_only() -> None:
    pbt = bound(4)
    decisions = report_all(pbt, 5, [math.inf] * 4) + report_all(pbt, 10, [math.inf, math.inf, 1.0, math.inf])
    assert [d.donor for d in decisions if isinstance(d, Exploit)] == [0, 0, 0, 2]


def test_minus_infinity_is_best() -> None:
    pbt = bound(2)
    assert isinstance(report_all(pbt, 5, [-math.inf, 0.0])[1], Exploit)


def test_a_donor_without_a_checkpoint_is_never_chosen() -> None:
    pbt = bound(3)
    assert pbt.on_report(0, 5, 1.0, False) == SAVE  # asked for, so that the Study may say that none can be made
    assert pbt.on_report(1, 5, 2.0, True) == CONTINUE
    assert pbt.on_report(0, 10, 1.0, True) == SAVE
    decision = pbt.on_report(1, 10, 2.0, False)
    assert isinstance(decision, Exploit)  # its own checkpoint is not needed


def test_only_a_checkpoint_that_was_asked_for_is_copied() -> None:
    pbt = bound(4)
    report_all(pbt, 5, [1.0, 3.0, 2.0, 2.5])
    # 0 was the best when it came and was saved; 2 was in the middle and was not.
    assert pbt.on_report(0, 10, 9.0, True) != SAVE
    # Now 2 leads without a checkpoint; 3 is in the middle, 1 and 0 are behind: nobody to copy.
    assert pbt.on_report(1, 10, 99.0, True) == CONTINUE
    assert pbt.on_report(2, 10, 0.5, True) == SAVE
    decision = pbt.on_report(1, 15, 99.0, True)
    assert isinstance(decision, Exploit)
    assert decision.donor == 2


def test_an_exploiter_keeps_its_score_but_is_no_donor_until_its_next_interval() -> None:
    pbt = bound(4)
    assert [type(d) for d in report_all(pbt, 5, [1.0, 2.0, 3.0, 4.0])] == [Continue, Exploit, Exploit, Exploit]
    # Its stale 4.0 still holds the last place, so that 2 with 3.5 is not replaced.
    assert pbt.on_report(2, 10, 3.5, True) == CONTINUE
    # The best leaves its place: the leader is now an exploiter with a stale score, which nobody may copy.
    assert pbt.on_report(0, 10, 8.0, True) == CONTINUE
    assert pbt.on_report(3, 10, 9.0, True) == CONTINUE
    assert pbt.on_report(1, 10, 2.0, True) == SAVE


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
def test_ended_members_rank_no_more_and_are_no_donors(state: TrialState) -> None:
    pbt = bound(3)
    pbt.on_report(0, 5, 1.0, True)
    pbt.on_end(0, state)
    assert pbt.on_report(1, 5, 5.0, True) == SAVE  # alone
    decision = pbt.on_report(2, 5, 6.0, True)
    assert isinstance(decision, Exploit)
    assert decision.donor == 1
    assert pbt.on_report(0, 6, 0.0, True) == CONTINUE  # a straggler


def test_donors_are_drawn_from_the_whole_top() -> None:
    donors = set()
    for seed in range(30):
        pbt = bound(9, seed)
        report_all(pbt, 5, [9.0 - trial for trial in range(9)])
        decision = pbt.on_report(0, 10, 9.0, True)
        assert isinstance(decision, Exploit)
        donors.add(decision.donor)
    assert donors == {6, 7, 8}


def test_burn_in() -> None:
    pbt = bound(2, burn_in=11)
    for step in range(1, 15):
        assert report_all(pbt, step, [0.0, 1.0]) == [CONTINUE, CONTINUE]
    assert isinstance(report_all(pbt, 15, [0.0, 1.0])[1], Exploit)


def test_a_fraction_of_zero_replaces_nobody() -> None:
    pbt = bound(4, quantile_fraction=0)
    decisions = report_all(pbt, 5, [1.0, 2.0, 3.0, 4.0]) + report_all(pbt, 10, [4.0, 3.0, 2.0, 1.0])
    assert not any(isinstance(decision, Exploit) for decision in decisions)


def test_the_order_of_the_calls_does_not_change_the_draws() -> None:
    def run(order: list[int]) -> dict[int, object]:
        pbt = bound(8, mutations={"lr": lambda rng: float(rng.random())}, resample_probability=1.0)
        for trial in range(8):
            pbt.on_report(trial, 5, 8.0 - trial, True)
        return {trial: pbt.on_report(trial, 10, 10.0 + trial, True) for trial in order}

    assert run([0, 1])[1] == run([1])[1]
    assert run([0, 1])[0] != run([0, 1])[1]


def test_the_seed_changes_the_draws() -> None:
    def draw(seed: int) -> object:
        pbt = bound(2, seed, mutations={"lr": lambda rng: float(rng.random())}, resample_probability=1.0)
        return report_all(pbt, 5, [0.0, 1.0])[1]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_configurations_are_copies() -> None:
    given = {"lr": 2, "layers": [{"units": 8}]}
    pbt = PBT({"lr": [1, 2, 3]}, resample_probability=0.0)
    pbt.bind(None, np.random.default_rng(0))
    pbt.on_start(0, given)
    pbt.on_start(1, given)
    given["layers"][0]["units"] = 99  # type: ignore[index]
    second = report_all(pbt, 5, [0.0, 1.0])[1]
    assert isinstance(second, Exploit)
    assert second.config["layers"] == [{"units": 8}]
    second.config["layers"][0]["units"] = 77
    second = report_all(pbt, 10, [0.0, 1.0])[1]
    assert isinstance(second, Exploit)
    assert second.config["layers"] == [{"units": 8}]


def test_a_copy_of_a_copy_starts_from_the_mutated_configuration() -> None:
    pbt = bound(2, mutations={"lr": [0, 1, 2, 3, 4]}, custom_explore=lambda config, rng: {**config, "lr": 7})
    report_all(pbt, 5, [0.0, 1.0])
    first = pbt.on_report(1, 10, -1.0, True)
    assert first == SAVE
    decision = pbt.on_report(0, 10, 1.0, True)
    assert isinstance(decision, Exploit)
    assert decision == Exploit(1, {"lr": 7, "name": "t0"})


def test_a_stop_that_was_decided_elsewhere_is_folded_in() -> None:
    pbt = bound(2)
    assert pbt.on_report(0, 5, 0.0, True, decided=Stop()) == Stop()
    assert pbt.on_report(0, 6, 0.0, True, decided=CONTINUE) == CONTINUE


def test_without_bind_it_says_so() -> None:
    pbt = PBT({"lr": [1, 2]})
    pbt.on_start(0, {"lr": 1})
    pbt.on_start(1, {"lr": 1})
    pbt.on_report(0, 5, 0.0, True)
    with pytest.raises(UsageError, match="bind"):
        pbt.on_report(1, 5, 1.0, True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"population_size": 0}, "population_size"),
        ({"population_size": 2.5}, "population_size"),
        ({"perturbation_interval": 0}, "perturbation_interval"),
        ({"perturbation_interval": 2.5}, "perturbation_interval"),
        ({"quantile_fraction": 0.6}, "quantile_fraction"),
        ({"quantile_fraction": -0.1}, "quantile_fraction"),
        ({"quantile_fraction": math.nan}, "quantile_fraction"),
        ({"burn_in": -1}, "burn_in"),
        ({"synchronous": True}, "population_size"),
        ({"resample_probability": 1.5}, "resample_probability"),
        ({"perturbation_factors": ()}, "perturbation_factors"),
        ({"perturbation_factors": (1.2, 0.0)}, "perturbation_factors"),
        ({"mutations": {}}, "mutations"),
        ({"mutations": {"lr": []}}, "lr"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        PBT(**{"mutations": {"lr": [1, 2]}, **arguments})  # type: ignore[arg-type]


def test_between_intervals_a_report_touches_nothing() -> None:
    pbt = bound(3)
    report_all(pbt, 5, [1.0, 2.0, 3.0])
    before = json.dumps(pbt.state_dict(), allow_nan=False)
    report_all(pbt, 9, [3.0, math.inf, 1.0])
    assert json.dumps(pbt.state_dict(), allow_nan=False) == before


def test_it_needs_checkpoints_and_never_pauses_without_a_population_size() -> None:
    assert PBT.needs_checkpoints
    pbt = bound(3)
    decisions = report_all(pbt, 5, [1.0, 2.0, 3.0])
    assert PAUSE not in decisions
    assert pbt.next_resume() is None
    assert pbt.take_dropped() == []
