"""Our random sampler draws what Optuna's does, parameter by parameter."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import tuneflow as tune
from tuneflow.samplers.random import RandomSampler

floats = st.floats(1e-3, 1e3)
DISTRIBUTIONS = st.one_of(
    st.tuples(floats, floats, st.booleans()).map(lambda t: FloatDistribution(min(t[:2]), max(t[:2]), log=t[2])),
    st.integers(1, 9).map(lambda n: FloatDistribution(0.0, n * 0.25, step=0.25)),
    st.tuples(st.integers(1, 50), st.integers(0, 50), st.booleans()).map(
        lambda t: IntDistribution(t[0], t[0] + t[1], log=t[2])
    ),
    st.tuples(st.integers(-9, 9), st.integers(0, 5), st.integers(1, 4)).map(
        lambda t: IntDistribution(t[0], t[0] + t[1] * t[2], step=t[2])
    ),
    st.integers(1, 5).map(lambda n: CategoricalDistribution([f"choice {i}" for i in range(n)])),
)


@given(st.lists(DISTRIBUTIONS, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_the_same_draws_as_optunas(distributions, seed):
    space = {f"p{index}": distribution for index, distribution in enumerate(distributions)}
    theirs = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    expected = [theirs.ask(space).params for _ in range(3)]
    ours = optuna.create_study(sampler=RandomSampler(seed=seed))
    assert [ours.ask(space).params for _ in range(3)] == expected
    at_once = RandomSampler(seed=seed)
    for params in expected:
        drawn = at_once.draw(space)
        assert drawn.params == params
        assert {name: type(value) for name, value in drawn.params.items()} == {
            name: type(value) for name, value in params.items()
        }
        assert drawn.distributions == space


@pytest.mark.parametrize("storage", [None, "study.log", "sqlite:///study.db"])
def test_a_study_stores_what_it_draws(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"x": tune.loguniform(1e-3, 1), "n": tune.randint(1, 9), "kind": tune.choice(["a", "b"])}
    study = tune.create_study(space, sampler="random", storage=storage, seed=1)
    given_ones = [study.ask() for _ in range(4)]
    assert [trial.params for trial in given_ones] == [frozen.params for frozen in study.trials]
    assert all(frozen.distributions == space_of(study) for frozen in study.trials)
    study.enqueue_trial({"x": 0.5})
    assert study.ask().config["x"] == 0.5
    mixed = study.ask({"y": FloatDistribution(0.0, 1.0)})
    assert set(mixed.params) == {"x", "n", "kind", "y"}
    given_ones[0].suggest_float("late", 0.0, 1.0)
    assert "late" in study.trials[0].params
    for trial in given_ones:
        study.tell(trial, 0.5)
    study.close()


def space_of(study):
    return study.space.distributions
