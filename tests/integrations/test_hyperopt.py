"""HyperOpt's TPE: Optuna's contract, the library's own sequence, conversion, conditional spaces."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import hyperopt
import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing import pytest_samplers

import tuneflow as tune
from tuneflow.errors import InvalidArgument
from tuneflow.samplers.seeding import derive
from tuneflow.search import HyperOptSearch
from tuneflow_integrations.hyperopt import HyperOptSampler, make_sampler


class TestContract(
    pytest_samplers.BasicSamplerTestCase,
    pytest_samplers.RelativeSamplerTestCase,
    pytest_samplers.SingleOnlySamplerTestCase,
):
    @pytest.fixture
    def sampler(self) -> Any:
        return partial(HyperOptSampler, n_initial_points=5, seed=0)


SPACE = {"x": FloatDistribution(-5, 5), "y": FloatDistribution(1e-5, 1, log=True)}


def loss(params: dict[str, float]) -> float:
    return (params["x"] - 1) ** 2 + math.log(params["y"]) ** 2


def test_it_tries_what_hyperopt_tries() -> None:
    study = optuna.create_study(sampler=HyperOptSampler(SPACE, seed=3, n_initial_points=10))
    study.optimize(
        lambda trial: loss({"y": trial.suggest_float("y", 1e-5, 1, log=True), "x": trial.suggest_float("x", -5, 5)}), 40
    )
    trials = hyperopt.Trials()
    hyperopt.fmin(
        loss,
        {"x": hyperopt.hp.uniform("x", -5, 5), "y": hyperopt.hp.loguniform("y", math.log(1e-5), 0)},
        algo=partial(hyperopt.tpe.suggest, n_startup_jobs=10, verbose=False),
        max_evals=40, rstate=np.random.default_rng(3), trials=trials, show_progressbar=False, verbose=False,
    )  # fmt: skip
    theirs = [{name: held[0] for name, held in misc["vals"].items()} for misc in trials.miscs]
    assert [trial.params for trial in study.trials] == theirs


class _SeedsOfAStudy:
    """In place of HyperOpt's generator: for each trial the seed that a study with a seed gives it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._n_drawn = 0

    def integers(self, high: int) -> int:
        self._n_drawn += 1
        return int(np.random.default_rng(derive(self._seed, self._n_drawn - 1)).integers(high))


def test_a_study_with_a_seed_tries_what_hyperopt_tries_with_the_same_seeds_for_its_trials() -> None:
    study = tune.create_study({"x": tune.uniform(-5, 5), "y": tune.loguniform(1e-5, 1)}, sampler="hyperopt", seed=11)
    tried = []
    for _ in range(40):
        trial = study.ask()
        tried.append(dict(trial.config))
        study.tell(trial, loss(trial.config))
    expected: list[dict[str, float]] = []

    def objective(point: dict[str, float]) -> float:
        expected.append(point)
        return loss(point)

    hyperopt.fmin(
        objective, {"x": hyperopt.hp.uniform("x", -5, 5), "y": hyperopt.hp.loguniform("y", math.log(1e-5), 0)},
        algo=hyperopt.tpe.suggest, max_evals=40, rstate=_SeedsOfAStudy(11), show_progressbar=False, verbose=False,
    )  # fmt: skip
    assert tried == expected


def test_options_reach_the_library() -> None:
    searcher = HyperOptSearch(n_initial_points=7, gamma=0.5)
    sampler = searcher.to_sampler(seed=1)
    assert isinstance(sampler, HyperOptSampler)
    assert (sampler.options["n_startup_jobs"], sampler.options["gamma"]) == (7, 0.5)
    assert make_sampler(n_candidates=3, prior_weight=2.0).options["n_EI_candidates"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_initial_points": 0}, "n_initial_points=0 must be an integer >= 1"),
        ({"n_candidates": 1.5}, "n_candidates=1.5 must be an integer >= 1"),
        ({"gamma": 1.0}, r"gamma=1.0 must be in \(0, 1\)"),
        ({"prior_weight": 0.0}, "prior_weight=0.0 must be > 0"),
        ({"seed": -1}, "seed=-1 must be an integer >= 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        HyperOptSampler(**options)


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(2, 8, step=3),
        IntDistribution(-1, 1),
        FloatDistribution(0.1, 0.4, step=0.1),
        CategoricalDistribution(("a", None, 1.5)),
    ],
)
def test_values_of_a_grid_are_equally_likely(distribution: Any) -> None:
    sampler = HyperOptSampler({"k": distribution}, seed=0)
    study = optuna.create_study(sampler=sampler)
    drawn = [
        sampler.sample_relative(study, trial, {"k": distribution})["k"]
        for trial in [study.ask()._get_latest_trial()] * 900
    ]
    counts = [drawn.count(value) for value in set(drawn)]
    assert len(counts) == (4 if isinstance(distribution, FloatDistribution) else 3)
    expected = 900 / len(counts)
    assert max(abs(count - expected) for count in counts) < 5 * math.sqrt(expected)


def test_a_conditional_parameter_is_modelled_by_the_trials_that_have_it() -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            return trial.suggest_float("a", 0, 1)
        return (trial.suggest_float("b", 0, 1) - 0.75) ** 2 - 1

    study = optuna.create_study(sampler=HyperOptSampler(seed=0))
    study.optimize(objective, n_trials=150)
    late = study.trials[75:]
    assert sum(trial.params["kind"] == "b" for trial in late) > 55, "of 75, where random draws give 37"
    distances = [abs(trial.params["b"] - 0.75) for trial in late if "b" in trial.params]
    assert np.median(distances) < 0.19, "where random draws give 0.25"


def test_running_trials_count_among_the_bad_ones() -> None:
    """Or trials that are asked for one after the other would all stand at the same place."""
    space = {"x": tune.choice(list("abcdef"))}
    study = tune.create_study(space, sampler="hyperopt", seed=0)
    for _ in range(30):
        trial = study.ask()
        study.tell(trial, "abcdef".index(trial.params["x"]))
    waiting = [study.ask().params["x"] for _ in range(30)]
    assert len(set(waiting[-10:])) > 2
