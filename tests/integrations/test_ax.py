"""Ax: Optuna's contract, the library's own sequence, pending and abandoned trials.

A model of Ax's takes seconds to fit. So the contract is run with Ax's initial points, and the model is met in three
tests.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing import pytest_samplers
from optuna.trial import TrialState

import tuneflow_integrations.ax as ours
from tuneflow.errors import InvalidArgument
from tuneflow.search import AxSearch
from tuneflow_integrations.ax import AxSampler, make_sampler

NUMBERS = [
    FloatDistribution(-1.0, 1.0),
    FloatDistribution(1e-7, 1.0, log=True),
    FloatDistribution(-10, 10, step=0.5),
    IntDistribution(3, 10),
    IntDistribution(1, 100, log=True),
    IntDistribution(3, 9, step=2),
]


METHODS = [
    lambda trial, name: trial.suggest_float(name, 0, 10),
    lambda trial, name: trial.suggest_categorical(name, [0, 1, 2]),
    lambda trial, name: trial.suggest_float(name, 1e-7, 10, log=True),
    lambda trial, name: trial.suggest_int(name, 1, 10, log=True),
]


class TestContract(
    pytest_samplers.BasicSamplerTestCase,
    pytest_samplers.RelativeSamplerTestCase,
    pytest_samplers.SingleOnlySamplerTestCase,
):
    """All of it; of the pairs of distributions each kind once in either place, for their sheer time."""

    @pytest.fixture
    def sampler(self) -> Any:
        return partial(AxSampler, seed=0, initialization_budget=1000)

    @pytest.mark.parametrize(("x_distribution", "y_distribution"), list(zip(NUMBERS, reversed(NUMBERS), strict=True)))
    def test_sample_relative_numerical(self, sampler: Any, x_distribution: Any, y_distribution: Any) -> None:
        super().test_sample_relative_numerical(sampler, x_distribution, y_distribution)

    @pytest.mark.parametrize(("first", "second"), list(zip(METHODS, reversed(METHODS), strict=True)))
    def test_combination_of_different_distributions_objective(self, sampler: Any, first: Any, second: Any) -> None:
        super().test_combination_of_different_distributions_objective(
            sampler, lambda trial: first(trial, "x"), lambda trial: second(trial, "y")
        )


SPACE = {"x": FloatDistribution(-5, 5), "y": FloatDistribution(1e-5, 1, log=True)}


def loss(params: dict[str, float]) -> float:
    return (params["x"] - 1) ** 2 + math.log(params["y"]) ** 2


def test_it_tries_what_ax_tries() -> None:
    study = optuna.create_study(sampler=AxSampler(SPACE, seed=3, initialization_budget=4))
    study.optimize(lambda trial: loss({name: trial._suggest(name, d) for name, d in SPACE.items()}), 6)
    client = ours.Client(random_seed=3)
    client.configure_experiment(
        [
            ours.RangeParameterConfig("x0", (-5.0, 5.0), "float"),
            ours.RangeParameterConfig("x1", (1e-5, 1.0), "float", scaling="log"),
        ]
    )
    theirs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ax and what is below it, about each other
        client.configure_optimization("-loss")
        client.configure_generation_strategy(
            initialization_budget=4, initialization_random_seed=3, allow_exceeding_initialization_budget=True
        )
        for _ in range(6):
            ((index, values),) = client.get_next_trials(1).items()
            theirs.append({"x": values["x0"], "y": values["x1"]})
            client.complete_trial(index, {"loss": loss(theirs[-1])})
    assert [trial.params for trial in study.trials] == theirs


def test_all_kinds_of_parameters_with_a_model() -> None:
    space = {
        "step": FloatDistribution(0.1, 0.4, step=0.1),
        "log": IntDistribution(1, 1000, log=True),
        "kind": CategoricalDistribution(("a", None, 1.5)),
    }
    study = optuna.create_study(sampler=AxSampler(seed=0, initialization_budget=4))
    for _ in range(6):
        trial = study.ask(space)
        study.tell(trial, trial.params["step"] + math.log(trial.params["log"]) + (trial.params["kind"] != "a"))
    assert all(trial.params["kind"] in ("a", None, 1.5) for trial in study.trials)
    assert study.best_value < 3


def test_failed_trials_are_given_up_and_unproposed_points_attached() -> None:
    sampler = AxSampler(SPACE, seed=0, initialization_budget=100)
    study = optuna.create_study(sampler=sampler)
    study.tell(study.ask(SPACE), state=TrialState.FAIL)
    study.enqueue_trial({"x": 0.0})
    for value in (math.inf, 1.0, -math.inf):
        study.tell(study.ask(SPACE), value)
    waiting = study.ask(SPACE)
    ((model, _),) = sampler._models.values()
    states = [trial.status.name for trial in model._client._experiment.trials.values()]  # type: ignore[attr-defined]
    assert states == ["ABANDONED", "ABANDONED", "COMPLETED", "COMPLETED", "COMPLETED", "RUNNING"]
    assert waiting.number == 4


def test_a_space_that_is_used_up() -> None:
    """Ax would look for an untried point for minutes, and then give up."""
    space = {"n": IntDistribution(0, 2), "kind": CategoricalDistribution(("a", "b"))}
    study = optuna.create_study(sampler=AxSampler(space, seed=0, initialization_budget=100))
    for _ in range(20):
        study.tell(study.ask(space), 1.0)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 6


def test_options_reach_the_library() -> None:
    sampler = AxSearch().to_sampler(seed=1)
    assert isinstance(sampler, AxSampler)
    study = optuna.create_study(sampler=make_sampler(seed=1, method="random_search"))
    for _ in range(12):
        study.tell(study.ask(SPACE), 1.0)
    assert len({trial.params["x"] for trial in study.trials}) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method='best' must be 'fast', 'quality' or 'random_search'"),
        ({"initialization_budget": 0}, "initialization_budget=0 must be an integer >= 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        AxSampler(**options)
