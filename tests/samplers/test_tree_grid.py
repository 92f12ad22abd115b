"""The grid of a space that is defined by run."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing import pytest_samplers

import tuneflow as tune
from tuneflow.samplers.tree_grid import TreeGridSampler, grid_values


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (CategoricalDistribution(["a", "b"]), ["a", "b"]),
        (IntDistribution(1, 7, step=3), [1, 4, 7]),
        (FloatDistribution(0.0, 1.0, step=0.5), [0.0, 0.5, 1.0]),
        (FloatDistribution(0.0, 1.0), [0.125, 0.375, 0.625, 0.875]),
        (FloatDistribution(1.0, 10_000.0, log=True), pytest.approx([10**0.5, 10**1.5, 10**2.5, 10**3.5])),
        (IntDistribution(1, 3, log=True), [1, 2, 3]),
        (IntDistribution(5, 5), [5]),
    ],
)
def test_values_of_a_grid(distribution: Any, values: list[Any]) -> None:
    assert grid_values(distribution, 4) == values


def ask(trial: Any, depth: int = 0) -> tuple[Any, ...]:
    """A tree of choices: what is asked for depends on what was drawn."""
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    if kind == "a":
        return (kind,)
    n = trial.suggest_int(f"n_{kind}", 1, 2)
    return (kind, n) if n == 1 else (kind, n, trial.suggest_float("x", 0.0, 1.0, step=0.5))


ALL = {("a",), ("b", 1), ("c", 1), *((kind, 2, x) for kind in "bc" for x in (0.0, 0.5, 1.0))}


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 9))
def test_each_combination_once_whatever_runs_beside_it_and_across_a_restart(picks: list[int], cut: int) -> None:
    study = tune.create_study(sampler=TreeGridSampler())
    running: list[Any] = []
    seen: list[Any] = []
    picks = [*picks, *[0] * 40]
    for pick in picks:
        if len(seen) == cut and not running:  # another process goes on
            study = tune.create_study(
                sampler=TreeGridSampler(known=study.trials), storage=study.optuna._storage,
                study_name=study.study_name, load_if_exists=True,
            )  # fmt: skip
        if pick and not study.sampling.is_exhausted and len(running) < 3:
            running.append(study.ask())
        elif running:
            trial = running.pop(pick % len(running))
            seen.append(ask(trial))
            study.tell(trial, 0.0)
        elif not study.sampling.is_exhausted:
            running.append(study.ask())
    assert sorted(seen, key=str) == sorted(ALL, key=str)
    assert study.sampling.is_exhausted


def test_the_last_asked_changes_fastest_and_a_run_ends_by_itself() -> None:
    seen: list[Any] = []
    study = tune.create_study(sampler=TreeGridSampler())
    study.optimize(lambda trial: seen.append(ask(trial)) or 0.0)
    assert seen[:6] == [("a",), ("b", 1), ("b", 2, 0.0), ("b", 2, 0.5), ("b", 2, 1.0), ("c", 1)]
    assert len(seen) == len(ALL)


def test_a_trial_of_a_former_driver_goes_on_where_it_was() -> None:
    storage = optuna.storages.InMemoryStorage()
    first = optuna.create_study(storage=storage, sampler=TreeGridSampler(), study_name="s")
    cut = first.ask()
    cut.suggest_categorical("kind", ["a", "b", "c"])
    other = optuna.load_study(study_name="s", storage=storage, sampler=TreeGridSampler(known=first.trials))
    again = optuna.Trial(other, cut._trial_id)
    assert again.suggest_int("n_a", 1, 2) == 1
    sibling = other.ask()
    assert sibling.suggest_categorical("kind", ["a", "b", "c"]) == "a"
    assert sibling.suggest_int("n_a", 1, 2) == 2, "what the cut trial has opened is for others"


def test_a_trial_of_a_former_driver_takes_the_combination_that_it_was_on_its_way_to() -> None:
    storage = optuna.storages.InMemoryStorage()
    first = optuna.create_study(storage=storage, sampler=TreeGridSampler(), study_name="s")
    for _ in range(3):  # a; b, 1; b, 2, 0.0
        first.tell(trial := first.ask(), 0.0 if ask(trial) else 1.0)
    cut = first.ask()
    assert cut.suggest_categorical("kind", ["a", "b", "c"]) == "b"
    other = optuna.load_study(study_name="s", storage=storage, sampler=TreeGridSampler(known=first.trials))
    assert ask(optuna.Trial(other, cut._trial_id)) == ("b", 2, 0.5)
    assert ask(other.ask()) == ("b", 2, 1.0)


class TestContract(pytest_samplers.BasicSamplerTestCase):
    """What Optuna asks of every sampler."""

    @pytest.fixture
    def sampler(self) -> Any:
        return TreeGridSampler
