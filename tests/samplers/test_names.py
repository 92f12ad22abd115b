"""Samplers by name, and their seeding."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.testing import pytest_samplers

import tuneflow as tune
from tuneflow.errors import InvalidArgument, InvalidArgumentType, MissingLibrary
from tuneflow.samplers import is_reseedable, make_sampler, reseed
from tuneflow.samplers.seeding import derive

FINITE = {
    "quniform": tune.quniform(0.0, 1.0, 0.25),
    "randint": tune.randint(-2, 3),
    "qrandint": tune.qrandint(0, 6, 3),
    "lograndint": tune.lograndint(1, 5),
    "choice": tune.choice(["a", "b"]),
    "objects": tune.choice([(1, 2), None, True]),
}
EVERYTHING = {
    **FINITE,
    "uniform": tune.uniform(-1, 1),
    "loguniform": tune.loguniform(1e-4, 1e-1),
    "qloguniform": tune.qloguniform(1e-4, 1e-1, 5e-5),
    "randn": tune.randn(10, 2),
    "qrandn": tune.qrandn(10, 2, 0.2),
    "qlograndint": tune.qlograndint(2, 10, 2),
    "nested": {"list": [tune.uniform(0, 1), "constant"]},
    "computed": tune.sample_from(lambda spec: spec.config.uniform * 2),
}


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc"])
def test_every_name_works_on_a_space_of_all_domains(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CMA-ES and QMC say what they leave to random search
        study = tune.create_study(EVERYTHING, sampler=name, seed=0)
        for _ in range(14):
            trial = study.ask()
            config = trial.config
            study.tell(trial, config["uniform"] ** 2 + config["randint"])
    assert len({tuple(map(repr, trial.params.values())) for trial in study.trials}) > 10
    for trial in study.trials:
        config = study.config(trial)
        assert config["computed"] == config["uniform"] * 2
        assert config["nested"]["list"][1] == "constant"
        for key, domain in study.space.domains.items():
            assert domain.contains(study.space.flatten(config)[key]), key


@pytest.mark.parametrize("name", ["grid", "bruteforce"])
def test_enumerating_samplers_take_finite_spaces_and_refuse_others(name: str) -> None:
    space = {"a": tune.randint(0, 3), "b": tune.choice(["x", "y"]), "c": tune.quniform(0, 1, 0.5)}
    study = tune.create_study(space, sampler=name, seed=0)
    seen = set()
    for _ in range(18):
        trial = study.ask()
        seen.add(tuple(trial.config.values()))
        study.tell(trial, 0.0)
    assert len(seen) == 18
    with pytest.raises(InvalidArgument, match=f"sampler='{name}' cannot enumerate 'lr', which is continuous"):
        tune.create_study({"lr": tune.loguniform(1e-3, 1)}, sampler=name)


def test_grid_needs_a_space() -> None:
    with pytest.raises(InvalidArgument, match="needs the space"):
        tune.create_study(sampler="grid")


def test_optuna_samplers_pass_and_nonsense_does_not() -> None:
    sampler = optuna.samplers.RandomSampler()
    assert make_sampler(sampler, space=None, seed=None) is sampler
    with pytest.raises(InvalidArgumentType, match="neither a name nor an optuna sampler"):
        make_sampler(3, space=None, seed=None)


def test_a_name_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cmaes" else find_spec(name))
    with pytest.raises(MissingLibrary, match=r"pip install"):
        make_sampler("cmaes", space=None, seed=None)


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc", "bruteforce"])
def test_reseeding_makes_a_sampler_forget_what_it_drew(name: str) -> None:
    def propose(n_drawn: int) -> dict[str, Any]:
        sampler = make_sampler(name, space=None, seed=1)
        assert is_reseedable(sampler)
        study = optuna.create_study(sampler=sampler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(n_drawn):
                sampler.sample_independent(study, study.ask(), "z", optuna.distributions.IntDistribution(0, 1000))
        study = optuna.create_study(sampler=sampler)
        reseed(sampler, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return study.ask({"x": optuna.distributions.IntDistribution(0, 10**6)}).params

    assert propose(0) == propose(7)


def test_derived_seeds_differ_by_path_and_have_32_bits() -> None:
    seeds = {derive(seed, number, stream) for seed in range(10) for number in range(100) for stream in (0, 1)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derive(3, 4) == derive(3, 4)


class TestViewedTPE(pytest_samplers.BasicSamplerTestCase):
    """Optuna's own contract, on a sampler that looks at a study through our view."""

    @pytest.fixture
    def sampler(self) -> Any:
        return optuna.samplers.TPESampler


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["optimize", "run"])
@pytest.mark.parametrize("given", ["grid", "bruteforce", optuna.samplers.GridSampler({"x": [1, 2, 3]})])
def test_what_enumerates_ends_when_all_is_tried(given: Any, kind: str, tmp_path: Path) -> None:
    space = {"x": tune.choice([1, 2, 3])}
    if kind == "optimize":
        study = tune.create_study(space, sampler=given)
        study.optimize(lambda trial: trial.config["x"], n_trials=10)
        tried = [trial.params["x"] for trial in study.trials]
    else:
        analysis = tune.run(
            lambda config: {"loss": config["x"]}, space, metric="loss", mode="min", num_samples=10, search_alg=given,
            executor="inline", verbose=0, storage_path=tmp_path,
        )  # fmt: skip
        tried = [trial.config["x"] for trial in analysis.trials]
    assert sorted(tried) == [1, 2, 3]
