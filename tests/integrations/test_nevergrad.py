"""Nevergrad: Optuna's contract, the library's own sequence, points it did not propose, what it cannot do."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import nevergrad as ng
import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing import pytest_samplers

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.search import NevergradSearch
from tuneflow_integrations.nevergrad import NevergradSampler, make_sampler


class TestContract(
    pytest_samplers.BasicSamplerTestCase,
    pytest_samplers.RelativeSamplerTestCase,
    pytest_samplers.SingleOnlySamplerTestCase,
):
    @pytest.fixture
    def sampler(self) -> Any:
        return partial(NevergradSampler, seed=0, optimizer="OnePlusOne")


SPACE = {"x": FloatDistribution(-5, 5), "y": FloatDistribution(1e-5, 1, log=True)}


def loss(params: dict[str, float]) -> float:
    return (params["x"] - 1) ** 2 + math.log(params["y"]) ** 2


@pytest.mark.parametrize("optimizer", ["Shiwa", "TwoPointsDE", "PSO", "OnePlusOne"])
def test_it_tries_what_nevergrad_tries(optimizer: str) -> None:
    study = optuna.create_study(sampler=NevergradSampler(SPACE, seed=3, optimizer=optimizer, budget=40))
    study.optimize(lambda trial: loss({n: trial._suggest(n, d) for n, d in SPACE.items()}), 40)
    space = ng.p.Dict(x=ng.p.Scalar(lower=-5, upper=5), y=ng.p.Log(lower=1e-5, upper=1))
    space.random_state = np.random.RandomState(3)
    direct = ng.optimizers.registry[optimizer](space, budget=40, num_workers=2)
    theirs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cma's, on how Nevergrad calls it
        for _ in range(40):
            candidate = direct.ask()
            theirs.append(candidate.value)
            direct.tell(candidate, loss(candidate.value))
    assert [trial.params for trial in study.trials] == [pytest.approx(value, rel=1e-12) for value in theirs]


def test_all_kinds_of_parameters_with_its_own_choice_of_optimiser() -> None:
    space = {
        "float": FloatDistribution(0, 1),
        "step": FloatDistribution(0.1, 0.4, step=0.1),
        "int": IntDistribution(2, 8, step=3),
        "log": IntDistribution(1, 1000, log=True),
        "kind": CategoricalDistribution(("a", None, 1.5)),
    }
    study = optuna.create_study(sampler=NevergradSampler(seed=0))
    for _ in range(40):
        trial = study.ask(space)
        study.tell(trial, trial.params["float"] + trial.params["int"] + (trial.params["kind"] != "a"))
    assert {trial.params["int"] for trial in study.trials} == {2, 5, 8}
    assert {trial.params["kind"] for trial in study.trials} == {"a", None, 1.5}
    assert study.best_value < 2.5


def test_points_that_it_did_not_propose_and_infinite_losses() -> None:
    sampler = NevergradSampler(SPACE, seed=0, optimizer="CMA")
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({"x": 1.0})
    for value in (0.5, math.inf, -math.inf, 2.0):
        study.tell(study.ask(SPACE), value)
    study.ask(SPACE)
    ((model, _),) = sampler._models.values()
    optimizer = model._optimizer  # type: ignore[attr-defined]
    assert (optimizer.num_tell, optimizer.num_tell_not_asked) == (4, 1)
    assert optimizer.current_bests["minimum"].mean == -1e20


def test_an_optimiser_that_only_learns_from_its_own_proposals_goes_on() -> None:
    sampler = NevergradSampler(SPACE, seed=0, optimizer="EDA")
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({"x": 1.0, "y": 0.1})
    for _ in range(5):
        study.tell(study.ask(SPACE), 1.0)
    ((model, _),) = sampler._models.values()
    optimizer = model._optimizer  # type: ignore[attr-defined]
    assert (optimizer.num_tell, optimizer.num_tell_not_asked) == (3, 0)  # the last is told with the next ask


def test_options_reach_the_library() -> None:
    sampler = NevergradSearch(optimizer=ng.optimizers.PSO).to_sampler(seed=1)
    assert isinstance(sampler, NevergradSampler)
    study = optuna.create_study(sampler=sampler)
    for _ in range(3):
        study.tell(study.ask(SPACE), 1.0)
    (model, _) = next(iter(sampler._models.values()))
    assert model._optimizer.name == "PSO"  # type: ignore[attr-defined]
    assert isinstance(NevergradSearch().to_sampler(), NevergradSampler)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": "CMAES"}, InvalidArgument, "optimizer='CMAES' is none of Nevergrad's; near it are: .*CMA"),
        ({"optimizer": "Cobyla"}, InvalidArgument, "runs on its own, one trial after the other"),
        ({"optimizer": 3}, InvalidArgumentType, "must be the name of a Nevergrad optimiser or its class"),
        (
            {"optimizer": ng.optimizers.OnePlusOne(ng.p.Scalar())},
            InvalidArgumentType,
            "bound to a parametrization of its own",
        ),
        ({"budget": 0}, InvalidArgument, "budget=0 must be an integer >= 1"),
        ({"num_workers": 1}, InvalidArgument, "num_workers=1 must be an integer >= 2"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_sampler(**options)
