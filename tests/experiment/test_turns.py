"""What is tried over several calls: cells of a grid, points, and failed trials that are tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuneflow as tune
from tuneflow.errors import InvalidArgument
from tuneflow.space.turns import Known, Turns

GRID = {"g": tune.grid_search([10, 20, 30]), "x": tune.uniform(0, 1)}


def train(config: dict[str, Any]) -> None:
    if Path("fails").exists() and config.get("g", 20) == 20:
        raise ValueError("boo")
    tune.report(loss=config["x"])


def run(space: Any = GRID, **arguments: Any) -> list[tuple[Any, str]]:
    given = {"executor": "inline", "verbose": 0, "name": "e", "storage_path": "results", "seed": 0, **arguments}
    trials = tune.run(train, space, raise_on_failed_trial=False, **given).trials
    return [(trial.config.get("g", trial.config.get("x")), trial.status) for trial in trials]


def cells(found: list[tuple[Any, str]]) -> list[Any]:
    return [cell for cell, _ in found]


@pytest.mark.parametrize(
    ("points", "tried"),
    [
        ([{"g": 30}], [30, 10, 20]),
        ([{"g": 30}, {"g": 20}], [30, 20, 10]),
        ([{"x": 0.5}, {"g": 10}], [20, 10, 30]),
        ([{"x": 0.5}], [10, 20, 30]),
    ],
)
def test_points_take_the_turn_of_their_cell(points: Any, tried: list[int]) -> None:
    assert cells(run(points_to_evaluate=points)) == tried
    assert cells(run(points_to_evaluate=points, num_samples=2, resume=True)) == [*tried, 10, 20, 30]


def test_more_points_in_a_cell_than_turns_are_refused() -> None:
    points = [{"g": 30, "x": 0.5}, {"g": 30, "x": 0.6}]
    with pytest.raises(InvalidArgument, match=r"2 points with {'g': 30}, .*pass num_samples=2"):
        run(points_to_evaluate=points)
    assert not Path("results").exists()
    assert cells(run(points_to_evaluate=points, num_samples=2)) == [30, 30, 10, 20, 10, 20]


def test_points_that_are_added_later_are_tried_those_before_are_not_tried_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    space = {"x": tune.uniform(0, 1)}
    assert cells(run(space, points_to_evaluate=[{"x": 0.5}])) == [0.5]
    found = run(space, points_to_evaluate=[{"x": 0.5}, {"x": 0.25}], num_samples=3, resume=True)
    assert cells(found)[:2] == [0.5, 0.25]
    assert len(found) == 3
    assert capfd.readouterr().err == "", "and Optuna says nothing of it"


def test_a_failed_trial_is_tried_again_until_it_works_and_no_longer() -> None:
    Path("fails").touch()
    first = [(10, "TERMINATED"), (20, "ERROR"), (30, "TERMINATED")]
    assert run() == first
    assert run(resume="errored") == [*first, (20, "ERROR")]
    Path("fails").unlink()
    whole = [*first, (20, "ERROR"), (20, "TERMINATED")]
    assert run(resume="errored") == whole
    assert run(resume="errored") == whole, "it has worked"
    assert run(resume=True, num_samples=2) == [*whole, *((cell, "TERMINATED") for cell in (10, 20, 30))]


@given(st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.booleans(), st.booleans()), max_size=9))
def test_every_cell_has_its_turns(kinds: list[tuple[int | None, bool, bool]]) -> None:
    grid = [{"g": value} for value in range(3)]
    turns = Turns(grid, grid)
    trials = [
        Known(number, {} if value is None else {"g": value}, is_waiting, is_retry)
        for number, (value, is_waiting, is_retry) in enumerate(kinds)
    ]
    turns.begin(5, trials)
    waiting = [trial for trial in trials if trial.is_waiting]
    own = [turns.of(trial.number)["g"] for trial in trials if not trial.is_retry]
    given_out = [turns.next(5 + index).get("g") for index in range(len(waiting) + 30)]
    assert given_out[: len(waiting)] == [turns.of(trial.number).get("g") for trial in waiting]
    for trial in trials:
        if trial.params and not trial.is_retry:
            assert turns.of(trial.number) == trial.params
    rounds = own + given_out[len(waiting) :]
    counts = [rounds.count(value) for value in range(3)]
    assert max(counts) - min(counts) <= 1
