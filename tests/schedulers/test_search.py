"""Tune's searchers: its names and arguments, what they make, and whole runs with them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuneflow as tune
from tuneflow import registry, search
from tuneflow.errors import InvalidArgument, InvalidArgumentType, MissingLibrary, UnknownName
from tuneflow.schedulers import ASHAScheduler
from tuneflow.search import (
    AxSearch,
    BasicVariantGenerator,
    BayesOptSearch,
    HyperOptSearch,
    NevergradSearch,
    OptunaSearch,
    Searcher,
)
from tuneflow.space import Space

SPACE = {"x": tune.uniform(0, 1), "deep": {"k": tune.randint(0, 9)}}
COMMON = ["space", "metric", "mode", "points_to_evaluate"]

ARGUMENTS: dict[type[Searcher], list[str]] = {
    BasicVariantGenerator: ["points_to_evaluate", "max_concurrent", "constant_grid_search", "random_state"],
    OptunaSearch: [*COMMON, "sampler", "study_name", "storage", "seed", "evaluated_rewards"],
    BayesOptSearch: [*COMMON, "utility_kwargs", "random_state", "random_search_steps", "analysis"],
    HyperOptSearch: [*COMMON, "n_initial_points", "random_state_seed", "gamma"],
    NevergradSearch: ["optimizer", "optimizer_kwargs", *COMMON],
    AxSearch: [*COMMON, "parameter_constraints", "outcome_constraints", "ax_client"],
}
LIBRARIES = {
    BayesOptSearch: ("bayesopt", {"random_search_steps": 4}),
    HyperOptSearch: ("hyperopt", {"n_initial_points": 20, "gamma": 0.25}),
    NevergradSearch: ("nevergrad", {}),
    AxSearch: ("ax", {}),
}


def train(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(loss=(config["x"] - 0.3) ** 2 + step)


def run(search_alg: Any, config: Any = SPACE, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {
        "executor": "inline", "storage_path": "results", "name": "e", "verbose": 0, "metric": "loss", "mode": "min",
        "num_samples": 3, **arguments,
    }  # fmt: skip
    return tune.run(train, config, search_alg=search_alg, **given)


def configs(analysis: tune.ExperimentAnalysis) -> list[dict[str, Any]]:
    return [trial.config for trial in analysis.trials]


@pytest.mark.parametrize("cls", ARGUMENTS, ids=lambda cls: cls.__name__)
def test_arguments_and_attributes(cls: type[Searcher]) -> None:
    assert list(inspect.signature(cls).parameters) == ARGUMENTS[cls]
    searcher = cls()
    assert isinstance(searcher, Searcher)
    assert cls.__name__ in search.__all__
    assert (searcher.space, searcher.metric, searcher.mode, searcher.points_to_evaluate) == (None,) * 4
    assert (searcher.max_concurrent, searcher.own_seed) == (0, None)


def test_it_is_light_to_import() -> None:
    code = "import sys, tuneflow.search; print([name for name in ('optuna', 'hyperopt', 'ax') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("searcher", "sampler"),
    [
        (BasicVariantGenerator(), optuna.samplers.RandomSampler),
        (OptunaSearch(), optuna.samplers.TPESampler),
        (OptunaSearch(sampler="nsgaii", seed=3), optuna.samplers.NSGAIISampler),
    ],
)
def test_what_needs_nothing_but_optuna(searcher: Searcher, sampler: type) -> None:
    assert isinstance(searcher.to_sampler(space=Space(SPACE), seed=3), sampler)


def test_a_sampler_of_ones_own_is_taken_as_it_is() -> None:
    sampler = optuna.samplers.RandomSampler(seed=1)
    assert OptunaSearch(sampler=sampler).to_sampler(seed=4) is sampler
    with pytest.raises(
        InvalidArgument, match=r"seed=3 cannot reach the sampler .* seed that one: RandomSampler\(seed=3"
    ):
        OptunaSearch(sampler=sampler, seed=3)
    with pytest.raises(UnknownName, match="unknown sampler 'tpee'"):
        OptunaSearch(sampler="tpee").to_sampler()


@pytest.mark.parametrize("cls", LIBRARIES, ids=lambda cls: cls.__name__)
def test_a_missing_library_names_its_extra(cls: type[Searcher], monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = LIBRARIES[cls]
    entry = registry._entries["sampler"][name]
    gone = entry._replace(target="no_such_library_of_anybodys:make_sampler")
    monkeypatch.setitem(registry._entries["sampler"], name, gone)
    with pytest.raises(
        MissingLibrary, match=rf"{entry.library} is not installed; run: pip install 'tuneflow\[{name}\]'"
    ):
        run(cls())
    assert not Path("results").exists()


@pytest.mark.parametrize("cls", LIBRARIES, ids=lambda cls: cls.__name__)
def test_libraries_are_looked_up_by_name(cls: type[Searcher], monkeypatch: pytest.MonkeyPatch) -> None:
    name, options = LIBRARIES[cls]
    asked: list[dict[str, Any]] = []

    def make_sampler(*, space: Space, seed: int | None, **given: Any) -> optuna.samplers.BaseSampler:
        asked.append({"space": space, "seed": seed, **given})
        return optuna.samplers.RandomSampler(seed=seed)

    module = types.ModuleType("tuneflow_stand_in")
    module.make_sampler = make_sampler  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tuneflow_stand_in", module)
    monkeypatch.setitem(registry._entries["sampler"], name, registry.Entry("tuneflow_stand_in:make_sampler"))
    assert len(run(cls(), seed=1).trials) == 3
    assert list(asked[0]["space"].domains) == ["x", "deep/k"]
    assert isinstance(asked[0]["seed"], int)
    assert asked[0] == {"space": asked[0]["space"], "seed": asked[0]["seed"], **options}
    if cls is NevergradSearch:
        NevergradSearch(optimizer="OnePlusOne").to_sampler()
        assert asked[1] == {"space": None, "seed": None, "optimizer": "OnePlusOne"}


@pytest.mark.parametrize("cls", [cls for cls in ARGUMENTS if cls is not BasicVariantGenerator])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": ["a", "b"]}, InvalidArgumentType, r"metric=\['a', 'b'\] must be .* create_study\(metric=\[...\]"),
        ({"mode": "lowest"}, InvalidArgument, "mode='lowest' must be 'min' or 'max'"),
        ({"points_to_evaluate": {"x": 1}}, InvalidArgumentType, "must be a list of configurations"),
        ({"points_to_evaluate": [3]}, InvalidArgumentType, r"points_to_evaluate=\[3\] must be a list"),
        ({"space": lambda trial: None}, InvalidArgumentType, r"pass an objective\(trial\)"),
        ({"space": [("x", 1)]}, InvalidArgumentType, "must be a dict of domains"),
        (
            {"space": {"a": optuna.distributions.FloatDistribution(6, 8)}},
            InvalidArgumentType,
            r"Optuna's distributions \(a\); write them as domains: tune.uniform",
        ),
        ({"space": {"a": {"b": 1}, "a/b": 2}}, InvalidArgument, "two entries of the space have the name 'a/b'"),
    ],
)
def test_what_all_refuse(cls: type, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cls(**arguments)


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (
            BasicVariantGenerator,
            {"constant_grid_search": True},
            "cannot honour constant_grid_search=True; leave it out",
        ),
        (BasicVariantGenerator, {"max_concurrent": -1}, "max_concurrent=-1 must be an integer >= 0"),
        (BasicVariantGenerator, {"random_state": -1}, "random_state=-1 must be an integer >= 0"),
        (OptunaSearch, {"seed": 0.5}, "seed=0.5 must be an integer >= 0"),
        (OptunaSearch, {"study_name": "s"}, r"cannot honour study_name='s'; leave it out. tune.run\(name=...\)"),
        (OptunaSearch, {"storage": "sqlite:///s"}, r"cannot honour storage=.* create_study\(storage=...\)"),
        (OptunaSearch, {"evaluated_rewards": [1.0]}, r"cannot honour evaluated_rewards=.* study\.optuna\.add_trial"),
        (BayesOptSearch, {"random_search_steps": 0}, "random_search_steps=0 must be an integer >= 1"),
        (BayesOptSearch, {"utility_kwargs": {"kind": "ucb"}}, "BayesOptSearch cannot honour utility_kwargs"),
        (HyperOptSearch, {"n_initial_points": 2.5}, "n_initial_points=2.5 must be an integer >= 1"),
        (HyperOptSearch, {"gamma": 1}, r"gamma=1 must be a number in \(0, 1\)"),
        (NevergradSearch, {"optimizer_kwargs": {"budget": 3}}, "cannot honour optimizer_kwargs"),
        (AxSearch, {"parameter_constraints": ["x1 + x2 <= 2"]}, "cannot honour parameter_constraints.*sample_from"),
    ],
)
def test_bad_values(cls: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        cls(**arguments)


def test_the_space_may_stand_in_the_searcher_and_constants_in_config() -> None:
    analysis = run(OptunaSearch(space=SPACE, metric="loss", mode="min"), {"epochs": 3}, metric=None, mode=None, seed=2)
    assert [sorted(config) for config in configs(analysis)] == [["deep", "epochs", "x"]] * 3
    assert configs(analysis)[0]["epochs"] == 3
    assert configs(run("tpe", {"epochs": 3, **SPACE}, seed=2, name="plain")) == configs(analysis)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"y": tune.uniform(0, 1)}, "y"),
        ({"g": tune.grid_search([1])}, "g"),
        ({"x": 0.5}, "x"),
        ({"c": tune.sample_from(lambda spec: 1)}, "sample_from"),
    ],
)
def test_a_space_in_both_places(config: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"given twice, in config \({named}\) and in OptunaSearch \(x, deep\)"):
        run(OptunaSearch(space=SPACE), config)
    assert not Path("results").exists()


def test_points_come_first() -> None:
    points = [{"x": 0.25, "deep": {"k": 3}}, {"deep/k": 7}]
    for number, searcher in enumerate((OptunaSearch, BasicVariantGenerator)):
        found = configs(run(searcher(points_to_evaluate=points), name=f"e{number}"))
        assert found[0] == {"x": 0.25, "deep": {"k": 3}}
        assert found[1]["deep"] == {"k": 7}
    with pytest.raises(InvalidArgument, match=r"points_to_evaluate=.* of tune.run and .* of OptunaSearch say the same"):
        run(OptunaSearch(points_to_evaluate=points), points_to_evaluate=points, name="twice")
    with pytest.raises(UnknownName, match="'z'"):
        run(OptunaSearch(points_to_evaluate=[{"z": 1}]), name="unknown")


@pytest.mark.parametrize("cls", [BasicVariantGenerator, OptunaSearch])
def test_a_seed_of_the_searcher_is_the_runs(cls: type[Searcher]) -> None:
    seeded = cls(**{cls._seed_argument: 7})
    whole = configs(run(seeded, num_samples=4))
    assert configs(run(cls(), num_samples=4, seed=7, name="same")) == whole
    run(seeded, num_samples=2, name="resumed")
    assert configs(run(seeded, num_samples=4, name="resumed", resume=True)) == whole, "none is drawn again"
    assert configs(run(seeded, num_samples=4, seed=7, name="agreed")) == whole
    with pytest.raises(
        InvalidArgument, match=rf"the seed is given twice, in the run \(8\) and in {cls.__name__} .*=7\)"
    ):
        run(seeded, seed=8, name="other")


def test_random_search_goes_with_grids_and_others_do_not() -> None:
    grid = {"x": tune.grid_search([0.1, 0.2]), "y": tune.uniform(0, 1)}
    found = configs(run(BasicVariantGenerator(), grid, num_samples=2))
    assert [config["x"] for config in found] == [0.1, 0.2, 0.1, 0.2]
    assert len({config["y"] for config in found}) == 4
    with pytest.raises(InvalidArgument, match="cannot be combined with grid_search"):
        run(OptunaSearch(), grid, name="tpe")


def test_max_concurrent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []
    from tuneflow.runner.loop import Loop

    original = Loop.run
    monkeypatch.setattr(Loop, "run", lambda loop: (seen.append(loop.rules.max_concurrent), original(loop)))
    run(BasicVariantGenerator(max_concurrent=2))
    run(BasicVariantGenerator(), max_concurrent_trials=3, name="run")
    run(BasicVariantGenerator(), name="none")
    assert seen == [2, 3, None]
    with pytest.raises(
        InvalidArgument, match=r"max_concurrent_trials=3 of tune.run and max_concurrent=2 of BasicVariant"
    ):
        run(BasicVariantGenerator(max_concurrent=2), max_concurrent_trials=3, name="twice")


def test_metric_and_mode_may_stand_in_searcher_and_scheduler_but_must_agree() -> None:
    searcher, scheduler = OptunaSearch(metric="loss", mode="min"), ASHAScheduler(metric="loss", mode="min", max_t=2)
    analysis = run(searcher, scheduler=scheduler, metric=None, mode=None)
    described = json.loads(Path("results/e/experiment.json").read_text())
    assert (described["metric"], described["mode"]) == ("loss", "min")
    assert max(trial.last_result["training_iteration"] for trial in analysis.trials) == 2
    for arguments in (
        {"scheduler": ASHAScheduler(metric="accuracy", mode="min")},
        {"scheduler": ASHAScheduler(metric="loss", mode="max")},
        {"metric": "loss"},
    ):
        with pytest.raises(InvalidArgument, match=r"(metric|mode) is given twice, in .* and in "):
            run(searcher, **{"metric": None, "mode": None, "name": "twice", **arguments})
