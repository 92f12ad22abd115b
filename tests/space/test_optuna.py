"""Spaces in a real Optuna study: stored, resumed, enqueued, and under samplers that go to the edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

import tuneflow.space as tune
from tuneflow.space import Space

SPACE = {
    "u": tune.uniform(0, 1),
    "q": tune.quniform(3.2, 5.4, 0.2),
    "thirds": tune.quniform(0, 1, 1 / 3),
    "lu": tune.loguniform(1e-4, 1e-1),
    "qlu": tune.qloguniform(1e-4, 1e-1, 5e-5),
    "n": tune.randn(10, 2),
    "qn": tune.qrandn(10, 2, 0.2),
    "i": {"i": tune.randint(-9, 15), "q": tune.qrandint(-21, 12, 3), "l": [tune.lograndint(1, 10)]},
    "qli": tune.qlograndint(1, 10, 2),
    "c": tune.choice(["a", None, 3, 0.5]),
    "mixed": tune.choice([True, 1, [1, 2], (1,)]),
}


class EdgeSampler(optuna.samplers.BaseSampler):
    """Answers one end of every distribution, which no sampler is forbidden to do."""

    def __init__(self, end: str) -> None:
        self.end = end

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        if isinstance(param_distribution, optuna.distributions.CategoricalDistribution):
            return param_distribution.choices[-1 if self.end == "high" else 0]
        return getattr(param_distribution, self.end)


@pytest.fixture(params=["memory", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    if request.param == "memory":
        return InMemoryStorage()
    return JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))


def test_configs_come_back_from_storage(storage: BaseStorage) -> None:
    space = Space(SPACE)
    study = optuna.create_study(storage=storage, study_name="s", sampler=optuna.samplers.RandomSampler(seed=1))
    configs = []
    for _ in range(8):
        trial = study.ask(space.distributions)
        configs.append(space.to_config(trial.params))
        study.tell(trial, 0.0)
    loaded = optuna.load_study(storage=storage, study_name="s")
    assert [space.to_config(trial.params) for trial in loaded.trials] == configs
    assert [list(map(repr, space.flatten(space.to_config(t.params)).values())) for t in loaded.trials] == [
        list(map(repr, space.flatten(config).values())) for config in configs
    ]
    # A study that is resumed with the same definition agrees with the stored distributions.
    assert all(trial.distributions == Space(SPACE).distributions for trial in loaded.trials)


def test_given_values_are_enqueued_without_a_warning_and_come_back(storage: BaseStorage) -> None:
    space = Space(SPACE)
    point = {
        "u": 1.0, "q": 5.4, "thirds": 2 / 3, "lu": 0.1, "qlu": 0.1, "n": 99.5, "qn": 9.4,
        "i": {"i": 15, "q": 12, "l": [10]}, "qli": 10, "c": 3, "mixed": 1,
    }  # fmt: skip
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(space.to_params(point))
    trial = study.ask(space.distributions)
    assert space.to_config(trial.params, given=space.kept(point)) == point
    assert set(space.kept(point)) == {"u", "lu", "n", "i/i", "i/l/0"}


def test_no_sampler_draws_an_excluded_bound() -> None:
    space = Space(SPACE)
    study = optuna.create_study(sampler=EdgeSampler("high"))
    config = space.to_config(study.ask(space.distributions).params)
    assert 0.99 < config["u"] < 1
    assert 0.0999 < config["lu"] < 0.1
    assert (config["i"]["i"], config["i"]["q"], config["i"]["l"]) == (14, 12, [9])
    assert (config["q"], config["thirds"], config["qlu"], config["qli"]) == (5.4, 1.0, 0.1, 10)
    study = optuna.create_study(sampler=EdgeSampler("low"))
    config = space.to_config(study.ask(space.distributions).params)
    assert (config["u"], config["lu"], config["q"], config["qlu"], config["qli"]) == (0.0, 1e-4, 3.2, 1e-4, 2)


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: optuna.samplers.TPESampler(seed=2, n_startup_trials=5),
        lambda: optuna.samplers.NSGAIISampler(seed=2, population_size=5),
    ],
)
def test_model_samplers_stay_within_the_space(sampler: Any) -> None:
    space = Space(SPACE)
    study = optuna.create_study(sampler=sampler())
    for _ in range(20):
        trial = study.ask(space.distributions)
        config = space.to_config(trial.params)
        assert space.to_config(space.to_params(config)) == config
        assert space.kept(config) == {}
        # Better and better towards the excluded bounds.
        study.tell(trial, -config["u"] - config["i"]["i"])


def test_draws_of_the_space_and_of_the_study_need_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    Space(SPACE).sample(np.random.default_rng(0))
    _ = Space(SPACE).distributions
    assert not recwarn.list
