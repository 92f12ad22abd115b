"""bayesian-optimization: Optuna's contract over numbers, the library's own sequence, duplicates, refusals."""

from __future__ import annotations

import itertools
import math
import warnings
from functools import partial
from typing import Any

import numpy as np
import optuna
import pytest
from bayes_opt import BayesianOptimization
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing import pytest_samplers

import tuneflow as tune
from tuneflow.errors import InvalidArgument
from tuneflow.search import BayesOptSearch
from tuneflow_integrations.bayesopt import BayesOptSampler, make_sampler


class TestContract(
    pytest_samplers.BasicSamplerTestCase,
    pytest_samplers.RelativeSamplerTestCase,
    pytest_samplers.SingleOnlySamplerTestCase,
):
    """All of it but the cases with a categorical parameter: the library has none, and each of those must be refused."""

    @pytest.fixture
    def sampler(self) -> Any:
        return partial(BayesOptSampler, seed=0, random_search_steps=2)

    @pytest.fixture(autouse=True)
    def _refusal(self, request: pytest.FixtureRequest) -> Any:
        parameters = getattr(getattr(request.node, "callspec", None), "params", {})
        suggests = [value for name, value in parameters.items() if name.startswith("suggest_method")]
        has_choices = any(_suggests_a_choice(method) for method in suggests) or any(
            word in request.node.name for word in ("categorical", "conditional", "mixed")
        )
        if has_choices:
            request.applymarker(pytest.mark.xfail(raises=InvalidArgument, strict=True, reason="it has no choices"))


def _suggests_a_choice(method: Any) -> bool:
    return "suggest_categorical" in method.__code__.co_names


SPACE = {"x": FloatDistribution(-5, 5), "y": FloatDistribution(1e-5, 1, log=True)}


def loss(params: dict[str, float]) -> float:
    return (params["x"] - 1) ** 2 + math.log(params["y"]) ** 2


def test_it_tries_what_the_library_tries() -> None:
    study = optuna.create_study(sampler=BayesOptSampler(SPACE, seed=3))
    study.optimize(lambda trial: loss({n: trial._suggest(n, d) for n, d in SPACE.items()}), 12)
    direct = BayesianOptimization(
        lambda x, y: -loss({"x": x, "y": math.exp(y)}),
        {"x": (-5, 5), "y": (math.log(1e-5), 0)},
        random_state=np.random.RandomState(3), verbose=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        direct.maximize(init_points=4, n_iter=8)
    theirs = [{"x": known["params"]["x"], "y": math.exp(known["params"]["y"])} for known in direct.res]
    # The logarithm of an exponential is not the same to the last bit, and a search by gradients enlarges that.
    assert [trial.params for trial in study.trials] == [pytest.approx(params, rel=1e-3) for params in theirs]


def test_a_linear_space_is_the_same_to_the_last_bit() -> None:
    study = optuna.create_study(sampler=BayesOptSampler({"x": SPACE["x"]}, seed=3))
    study.optimize(lambda trial: trial.suggest_float("x", -5, 5) ** 2, 10)
    direct = BayesianOptimization(lambda x: -(x**2), {"x": (-5, 5)}, random_state=np.random.RandomState(3), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        direct.maximize(init_points=4, n_iter=6)
    assert [trial.params for trial in study.trials] == [known["params"] for known in direct.res]


def test_integers_are_not_tried_again_while_others_are_left_untried() -> None:
    study = optuna.create_study(sampler=BayesOptSampler({"n": IntDistribution(0, 20)}, seed=0))
    study.optimize(lambda trial: abs(trial.suggest_int("n", 0, 20) - 13), 15)
    assert study.best_value == 0
    assert len({trial.params["n"] for trial in study.trials}) > 10


def test_trials_at_the_same_time_differ() -> None:
    study = optuna.create_study(sampler=BayesOptSampler(SPACE, seed=0))
    for _ in range(6):
        trial = study.ask(SPACE)
        study.tell(trial, loss(trial.params))
    waiting = [study.ask(SPACE).params for _ in range(3)]
    distances = [abs(a["x"] - b["x"]) + abs(math.log(a["y"] / b["y"])) for a, b in itertools.combinations(waiting, 2)]
    assert min(distances) > 0.05


def test_infinite_losses_and_points_tried_twice() -> None:
    study = optuna.create_study(sampler=BayesOptSampler(SPACE, seed=0))
    for value in (math.inf, 1.0, -math.inf, 2.0, math.inf, 3.0):
        study.enqueue_trial({"x": 1.0, "y": 0.1})
        study.tell(study.ask(SPACE), value)
        study.tell(study.ask(SPACE), value)
    assert all(-5 <= trial.params["x"] <= 5 for trial in study.trials)


def test_a_choice_is_refused_by_name_and_with_advice() -> None:
    message = (
        "bayesian-optimization cannot express parameter 'net/kind', which is .*: it knows numbers only.*'hyperopt'"
    )
    space = {"net": {"kind": tune.choice(["a", "b"]), "lr": tune.uniform(0, 1)}}
    study = optuna.create_study(sampler=make_sampler())
    with pytest.raises(InvalidArgument, match=message):
        study.ask({"net/kind": CategoricalDistribution(("a", "b"))})
    with pytest.raises(InvalidArgument, match=message):
        tune.create_study(space, sampler="bayesopt")
    with pytest.raises(InvalidArgument, match=message):
        tune.run(lambda config: 0.0, space, search_alg=BayesOptSearch(), metric="loss", mode="min", verbose=0)


def test_options_reach_the_library() -> None:
    sampler = BayesOptSearch(random_search_steps=4, random_state=3).to_sampler()
    assert isinstance(sampler, BayesOptSampler)
    assert sampler.random_search_steps == 4
    assert make_sampler(kind="ei", xi=0.1).acquisition.kind == "ei"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_search_steps": 0}, "random_search_steps=0 must be an integer >= 1"),
        ({"kind": "max"}, "kind='max' must be 'ucb', 'ei' or 'poi'"),
        ({"kappa": -1.0}, "kappa=-1.0 must be >= 0"),
        ({"xi": math.nan}, "xi=nan must be >= 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        BayesOptSampler(**options)
