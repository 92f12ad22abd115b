from __future__ import annotations

import json
from typing import Any

import pytest
from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners.base import CONTINUE, Exploit
from tuneflow.pruners.replay import PBTReplay, lineage

SCHEDULE = [(0, {"lr": 0.1, "deep": [1]}, None), (5, {"lr": 0.2, "deep": [1]}, 3), (9, {"lr": 0.3, "deep": [2]}, 1)]


def run(replay: PBTReplay, steps: list[int]) -> dict[int, Any]:
    decisions = {step: replay.on_report(4, step, 0.0, True) for step in steps}
    return {step: decision.config["lr"] for step, decision in decisions.items() if isinstance(decision, Exploit)}


def test_each_entry_takes_effect_at_its_step() -> None:
    replay = PBTReplay(SCHEDULE)
    replay.on_start(4, replay.initial_config)
    assert run(replay, list(range(1, 20))) == {5: 0.2, 9: 0.3}


def test_an_entry_between_reports_takes_effect_at_the_next_one_and_the_last_counts() -> None:
    replay = PBTReplay(SCHEDULE)
    replay.on_start(4, replay.initial_config)
    assert run(replay, [4, 7, 8]) == {7: 0.2}
    replay = PBTReplay(SCHEDULE)
    replay.on_start(4, replay.initial_config)
    assert run(replay, [4, 10, 12]) == {10: 0.3}


def test_it_copies_from_itself() -> None:
    replay = PBTReplay(SCHEDULE)
    replay.on_start(4, replay.initial_config)
    assert replay.on_report(4, 5, 0.0, True) == Exploit(4, {"lr": 0.2, "deep": [1]})


def test_another_start_is_put_right_at_the_first_report() -> None:
    replay = PBTReplay(SCHEDULE)
    replay.on_start(4, {"lr": 0.9})
    assert run(replay, [1, 2, 5]) == {1: 0.1, 5: 0.2}


def test_a_schedule_that_starts_later_leaves_the_start_alone() -> None:
    replay = PBTReplay(SCHEDULE[1:])
    assert replay.initial_config == {}
    replay.on_start(4, {"lr": 0.9})
    assert run(replay, [1, 5]) == {5: 0.2}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda entries: entries,
        lambda entries: {"schedule": entries},
        lambda entries: [dict(zip(("step", "config", "donor"), entry, strict=True)) for entry in entries],
        lambda entries: [entry[:2] for entry in entries],
    ],
)
def test_what_a_policy_file_holds(wrap: Any) -> None:
    replay = PBTReplay(json.loads(json.dumps(wrap(SCHEDULE))))
    assert [entry[:2] for entry in replay.schedule] == [entry[:2] for entry in SCHEDULE]


def test_the_schedule_is_left_as_it_is() -> None:
    replay = PBTReplay(SCHEDULE)
    replay.on_start(4, replay.initial_config)
    replay.initial_config["deep"].append(7)
    decision = replay.on_report(4, 5, 0.0, True)
    assert isinstance(decision, Exploit)
    decision.config["deep"].append(7)
    assert [config["deep"] for _, config, _ in replay.schedule] == [[1], [1], [2]]
    assert SCHEDULE[1][1] == {"lr": 0.2, "deep": [1]}


def test_a_second_trial_is_refused() -> None:
    replay = PBTReplay(SCHEDULE)
    replay.on_start(0, {})
    with pytest.raises(UsageError, match="one trial"):
        replay.on_start(1, {})
    replay.on_end(0, TrialState.COMPLETE)
    with pytest.raises(UsageError):
        replay.on_start(1, {})


@pytest.mark.parametrize("rebuild", [False, True])
def test_it_goes_on_where_it_was(rebuild: bool) -> None:
    replay, other = PBTReplay(SCHEDULE), PBTReplay(SCHEDULE)
    replay.on_start(4, replay.initial_config)
    decisions = {step: replay.on_report(4, step, 0.0, True) for step in range(1, 7)}
    if rebuild:
        other.on_start(4, replay.initial_config)
        for step, decision in decisions.items():
            assert other.on_report(4, step, 0.0, True, decided=decision) is decision
    else:
        other.load_state_dict(json.loads(json.dumps(replay.state_dict())))
    assert run(other, [7, 8, 9, 10]) == run(replay, [7, 8, 9, 10]) == {9: 0.3}
    assert other.on_report(4, 11, 0.0, True) == CONTINUE


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {},
        "pbt_policy.json",
        7,
        [(0, {})] * 2,
        [(5, {}, None), (3, {}, None)],
        [(-1, {}, None)],
        [(0.5, {}, None)],
        [(True, {}, None)],
        [(0, "lr", None)],
        [(0, {}, "three")],
        [(0,)],
        [{"config": {}}],
        ["0"],
    ],
)
def test_what_is_no_schedule_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="schedule"):
        PBTReplay(wrong)


def test_a_lineage_follows_the_weights_back() -> None:
    def config(name: str) -> dict[str, Any]:
        return {"name": name}

    schedules: dict[int, list[Any]] = {
        0: [(0, config("a"), None), (15, config("a2"), 2)],
        1: [(0, config("b"), None), (5, config("b2"), 0), (10, config("b3"), 2)],
        2: [(0, config("c"), None), (5, config("c2"), 0)],
        3: [(0, config("d"), None)],
    }
    assert lineage(schedules, 3) == [(0, config("d"), None)]
    assert lineage(schedules, 2) == [(0, config("a"), None), (5, config("c2"), 0)]
    assert lineage(schedules, 1) == [(0, config("a"), None), (5, config("c2"), 0), (10, config("b3"), 2)]
    assert PBTReplay(lineage(schedules, 1)).initial_config == config("a")
