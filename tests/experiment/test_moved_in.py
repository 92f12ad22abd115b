"""What users of Ray Tune rely on, beyond the blocks of its pages."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgument, InvalidArgumentType, TrialsFailed, TuneflowWarning
from tuneflow.schedulers import PopulationBasedTrainingReplay

GIVEN: dict[str, Any] = {"metric": "loss", "mode": "min", "verbose": 0, "max_concurrent_trials": 2}


def grows(config: dict[str, Any], rows: list[int], table: np.ndarray[Any, Any]) -> dict[str, float]:
    rows.append(1)
    return {"loss": float(len(rows) + table[0])}


def writes(config: dict[str, Any], table: np.ndarray[Any, Any]) -> dict[str, float]:
    table *= 2
    return {"loss": 0.0}


class Grows(tune.Trainable):
    def setup(self, config: dict[str, Any], rows: list[int]) -> None:
        rows.append(1)
        self.n = len(rows)

    def step(self) -> dict[str, Any]:
        return {"loss": self.n, "done": True}


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_no_trial_changes_the_parameters_of_another(executor: str, tmp_path: Path) -> None:
    given = {**GIVEN, "executor": executor, "storage_path": tmp_path, "num_samples": 4}
    rows: list[int] = []
    analysis = tune.run(tune.with_parameters(grows, rows=rows, table=np.ones(3)), {"x": tune.uniform(0, 1)}, **given)
    assert [trial.last_result["loss"] for trial in analysis.trials] == [2.0] * 4
    analysis = tune.run(tune.with_parameters(Grows, rows=rows), {"x": tune.uniform(0, 1)}, **given)
    assert [trial.last_result["loss"] for trial in analysis.trials] == [1] * 4
    assert rows == []
    with pytest.raises(TrialsFailed, match="read-only"):
        tune.run(tune.with_parameters(writes, table=np.ones(3)), {"x": tune.uniform(0, 1)}, **given)


def test_what_cannot_be_pickled_is_bound_inline(tmp_path: Path) -> None:
    lines = (str(n) for n in range(9))
    bound = tune.with_parameters(lambda config, lines: {"loss": float(next(lines))}, lines=lines)
    analysis = tune.run(bound, {}, executor="inline", storage_path=tmp_path, num_samples=2, **GIVEN)
    assert [trial.last_result["loss"] for trial in analysis.trials] == [0.0, 1.0]


def scaled(config: dict[str, Any], factor: float, rows: list[int], shift: float) -> dict[str, float]:
    return {"loss": factor * len(rows) + shift}


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_parameters_of_what_has_some_already(executor: str, tmp_path: Path) -> None:
    partial = functools.partial(scaled, factor=2.0)
    for inner in (partial, tune.with_parameters(scaled, factor=2.0)):
        bound = tune.with_parameters(tune.with_parameters(inner, rows=[1, 1]), shift=0.5)
        analysis = tune.run(bound, {}, executor=executor, storage_path=tmp_path, **GIVEN)
        assert analysis.best_result["loss"] == 4.5


def importable(config: dict[str, Any], api_key: str) -> float:
    return config["x"]


@pytest.mark.parametrize("bind", [tune.with_parameters, functools.partial])
def test_a_bound_secret_is_written_nowhere(bind: Any, tmp_path: Path) -> None:
    bound = bind(importable, api_key="very-secret-4711")
    tune.run(bound, {"x": tune.uniform(0, 1)}, executor="inline", storage_path=tmp_path, **GIVEN)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"very-secret-4711" not in path.read_bytes()


def test_other_constants_at_a_resume_are_said_and_leave_what_has_ended_as_it_was(tmp_path: Path) -> None:
    def evaluate(config: dict[str, Any]) -> float:
        return config["x"] + config["k"]

    given = {**GIVEN, "executor": "inline", "storage_path": tmp_path, "name": "r", "seed": 1}
    tune.run(evaluate, {"x": tune.uniform(0, 1), "k": 7}, num_samples=2, **given)
    space = {"x": tune.uniform(0, 1), "k": 100}
    with pytest.warns(TuneflowWarning, match=r"were \{'k': 7\} and are \{'k': 100\}"):
        analysis = tune.run(evaluate, space, num_samples=3, resume=True, **given)
    assert [trial.config["k"] for trial in analysis.trials] == [7, 7, 100]
    assert sorted(analysis.dataframe()["config/k"]) == [7, 7, 100]


def test_a_replay_starts_with_the_policys_configuration_and_compares_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "pbt_policy.json"
    policy.write_text('[[0, {"lr": 0.1}, null], [3, {"lr": 0.9}, 1]]')

    def train(config: dict[str, Any]) -> None:
        for step in range(5):
            tune.report({"lr": config["lr"], "data": config.get("data")}, checkpoint={"step": step})

    given = {"verbose": 0, "storage_path": tmp_path, "stop": {"training_iteration": 5}, "executor": "inline"}
    analysis = tune.run(train, scheduler=PopulationBasedTrainingReplay(policy), **given)
    assert analysis.trial_dataframes["00000"]["lr"].tolist() == [0.1, 0.1, 0.1, 0.9, 0.9]
    with pytest.warns(TuneflowWarning, match="config has lr, and so has the first configuration"):
        analysis = tune.run(train, {"lr": 5.0, "data": 1}, scheduler=PopulationBasedTrainingReplay(policy), **given)
    rows = analysis.trial_dataframes["00000"]
    assert (rows["lr"].tolist()[0], rows["data"].tolist()[0]) == (0.1, 1)


def test_a_point_may_give_what_would_be_computed(tmp_path: Path) -> None:
    space = {"x": tune.uniform(0, 1), "double": tune.sample_from(lambda spec: 2 * spec.config.x)}
    study = tune.create_study(space)
    study.enqueue_trial({"x": 0.25, "double": 0.75})
    study.enqueue_trial({"x": 0.25})
    assert [study.ask().config["double"] for _ in range(2)] == [0.75, 0.5]


def test_points_beyond_the_samples_are_no_trials(tmp_path: Path) -> None:
    points = [{"x": 0.5}, {"x": 0.1}]
    given = {**GIVEN, "executor": "inline", "storage_path": tmp_path, "points_to_evaluate": points, "name": "r"}
    analysis = tune.run(lambda config: config["x"], {"x": tune.uniform(0, 1)}, num_samples=1, **given)
    assert [trial.config for trial in analysis.trials] == points[:1]
    analysis = tune.run(lambda config: config["x"], {"x": tune.uniform(0, 1)}, num_samples=2, resume=True, **given)
    assert [trial.config for trial in analysis.trials] == points


def test_a_type_of_numpys_is_a_value(tmp_path: Path) -> None:
    space = {"dtype": np.float32, "other": tune.choice([np.float32, np.float16])}
    analysis = tune.run(
        lambda config: float(config["dtype"](1)), space, executor="inline", storage_path=tmp_path, **GIVEN
    )
    assert analysis.best_config["dtype"] is np.float32
    params = json.loads(Path(analysis.trials[0].logdir, "params.json").read_text())
    assert params["dtype"] == repr(np.float32)


def test_rays_name_of_the_reported_dict(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(metrics={"loss": 0.5})

    assert tune.run(train, {}, executor="inline", storage_path=tmp_path, **GIVEN).best_result["loss"] == 0.5


def test_a_second_argument_that_nobody_gives(tmp_path: Path) -> None:
    def train(config: dict[str, Any], data: Any) -> float:
        return 0.0

    with pytest.raises(InvalidArgumentType, match=r"takes 'data', .* tune.with_parameters\(..., data=...\)"):
        tune.run(train, {}, storage_path=tmp_path, **GIVEN)


def test_a_bucket_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="written to a folder of this machine"):
        tune.run(lambda config: 0.0, {}, storage_path="s3://bucket/x", **GIVEN)
    analysis = tune.run(lambda config: 0.0, {}, storage_path=f"file://{tmp_path}", executor="inline", **GIVEN)
    assert analysis.folder.parent == tmp_path


class Logs(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.logged: list[int] = []

    def step(self) -> dict[str, Any]:
        return {"loss": 1.0, "n_before": len(self.logged), "done": self.iteration == 2}

    def log_result(self, result: dict[str, Any]) -> None:
        self.logged.append(result["n_before"])


def test_a_class_that_logs_its_results_is_asked_to(tmp_path: Path) -> None:
    analysis = tune.run(Logs, {}, executor="inline", storage_path=tmp_path, **GIVEN)
    assert [result["n_before"] for result in analysis.trials[0].results] == [0, 1, 2]
