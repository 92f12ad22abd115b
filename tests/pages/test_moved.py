"""What a script of Ray Tune's meets here that is called otherwise: each name and argument says what to write."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow import moved
from tuneflow.callbacks import ProgressTable
from tuneflow.errors import InvalidArgumentType
from tuneflow.schedulers import ASHAScheduler, PopulationBasedTraining, create_scheduler
from tuneflow.search import BayesOptSearch, ConcurrencyLimiter, OptunaSearch

OURS = re.compile(r"\b(?:tune|tuneflow|tuneflow_integrations)(?:\.\w+)+")


def loss(config: dict[str, Any]) -> dict[str, Any]:
    return {"loss": config["x"], "val": {"loss": config["x"]}}


@pytest.fixture
def analysis(tmp_path: Path) -> tune.ExperimentAnalysis:
    space = {"x": tune.grid_search([1, 2])}
    return tune.run(
        loss, space, metric="loss", mode="min", storage_path=tmp_path, name="e", executor="inline", verbose=0
    )


@pytest.mark.parametrize("module", [name for name in moved._NAMES if name.startswith("tuneflow.") or "." not in name])
def test_names_that_moved_say_where(module: str) -> None:
    found = importlib.import_module(module)
    for name, advice in moved._NAMES[module].items():
        assert not hasattr(found, name)
        with pytest.raises(AttributeError) as missed:
            getattr(found, name)
        assert str(missed.value) == f"module {module!r} has no attribute {name!r}: {advice}"
        with pytest.raises(ImportError) as refused:
            exec(f"from {module} import {name}")
        assert str(refused.value) == f"cannot import name {name!r} from {module!r}: {advice}"


@pytest.mark.parametrize("library", ["lightgbm", "wandb", "xgboost"])
def test_names_of_integrations_that_moved_say_where(library: str) -> None:
    module = f"tuneflow_integrations.{library}"
    found = pytest.importorskip(module)
    for name, advice in moved._NAMES[module].items():
        assert not hasattr(found, name)
        with pytest.raises(ImportError, match=re.escape(advice)):
            exec(f"from {module} import {name}")


def test_arguments_of_integrations() -> None:
    xgboost = pytest.importorskip("tuneflow_integrations.xgboost")
    with pytest.raises(InvalidArgumentType, match=r"TuneCallback does not take filename .*, frequency \(write every="):
        xgboost.TuneCallback({"loss": "eval-logloss"}, filename="model", frequency=5)


@pytest.mark.parametrize("module", ["tuneflow", "tuneflow.search", "tuneflow.callbacks"])
def test_a_name_that_nobody_has_is_missed_as_ever(module: str) -> None:
    found = importlib.import_module(module)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        getattr(found, "nothing")  # noqa: B009
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {module} import nothing")


def test_what_is_advised_exists() -> None:
    texts = [
        text
        for table in (moved._NAMES, moved._ATTRIBUTES, moved._ARGUMENTS)
        for by in table.values()
        for text in by.values()
    ]
    named = {match for text in texts for match in OURS.findall(text)}
    named = {re.sub(r"^tune\.", "tuneflow.", name) for name in named if not name.endswith((".LIBRARY", ".track.log"))}
    assert len(named) > 15
    for name in named:
        module, _, attribute = name.rpartition(".")
        if module == "tuneflow_integrations":
            importlib.import_module(name)
        else:
            assert hasattr(importlib.import_module(module), attribute), name


def test_arguments_of_run(tmp_path: Path) -> None:
    for name, advice in moved._ARGUMENTS["tune.run"].items():
        with pytest.raises(InvalidArgumentType, match=re.escape(f"tune.run does not take {name} ({advice})")):
            tune.run(loss, {"x": 1}, storage_path=tmp_path, **{name: None})
    with pytest.raises(InvalidArgumentType, match=r"num_sample \(did you mean num_samples\?\)"):
        tune.run(loss, {"x": 1}, storage_path=tmp_path, num_sample=3)
    with pytest.raises(InvalidArgumentType, match=r"colour \(it takes: config, metric, .*storage_path"):
        tune.run(loss, {"x": 1}, storage_path=tmp_path, colour="red")
    with pytest.raises(InvalidArgumentType, match="to name the experiment write name='mine'"):
        tune.run(loss, "mine", storage_path=tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_arguments_of_schedulers_searchers_and_tables() -> None:
    with pytest.raises(InvalidArgumentType, match=r"AsyncHyperBandScheduler does not take reward_attr .write metric="):
        ASHAScheduler(reward_attr="accuracy")
    with pytest.raises(InvalidArgumentType, match=r"resample_prob \(write resample_probability="):
        PopulationBasedTraining(hyperparam_mutations={"lr": [1]}, resample_prob=0.5)
    with pytest.raises(
        InvalidArgumentType, match=r"BayesOptSearch does not take verbose .leave it out.*max_concurrent"
    ):
        BayesOptSearch(verbose=0, max_concurrent=2)
    with pytest.raises(InvalidArgumentType, match=r"ConcurrencyLimiter does not take batched .did you mean batch"):
        ConcurrencyLimiter("tpe", 2, batched=True)
    with pytest.raises(InvalidArgumentType, match=r"ProgressTable does not take metric_columns .leave it out"):
        ProgressTable(metric_columns=["loss"])
    assert create_scheduler("asha", max_t=9).max_t == 9
    again = pickle.loads(pickle.dumps(OptunaSearch(metric="loss", mode="min")))
    assert (again.metric, copy.copy(again).mode) == ("loss", "min")


def test_attributes_of_an_analysis_and_its_trials(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    for holder in (analysis, analysis.best_trial, tune.Checkpoint(tmp_path)):
        for name, advice in moved._ATTRIBUTES[type(holder).__name__].items():
            assert not hasattr(holder, name)
            with pytest.raises(AttributeError, match=re.escape(f"no attribute {name!r}: {advice}")):
                getattr(holder, name)
        assert type(copy.copy(holder)) is type(holder)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        analysis.nothing


class Steps(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"loss": 1.0}


class Names:
    def __getattr__(self, name: str) -> str:
        return f"the other's {name}"


class Both(Steps, Names):
    pass


def test_attributes_of_a_trainable() -> None:
    for name, advice in moved._ATTRIBUTES["Trainable"].items():
        assert not hasattr(Steps(), name)
        with pytest.raises(AttributeError, match=re.escape(f"'Steps' object has no attribute {name!r}: {advice}")):
            getattr(Steps(), name)
    assert Both().weights == "the other's weights"
    assert copy.deepcopy(Steps({"x": 1})).config == {"x": 1}


def test_the_checkpoint_of_a_trial(analysis: tune.ExperimentAnalysis) -> None:
    trial = analysis.best_trial
    named: dict[str, Any] = {"trial": trial, "metric": "loss", "mode": "min"}
    for given, by_name in (((), named), ((trial.logdir, "loss", "min"), {}), ((trial, "loss", "min"), {})):
        with pytest.raises(InvalidArgumentType, match=r"trial.best_checkpoint\(metric, mode\)"):
            analysis.get_best_checkpoint(*given, **by_name)
    with pytest.raises(InvalidArgumentType, match=r"filter_nan_and_inf \(leave it out"):
        analysis.get_best_trial(filter_nan_and_inf=False)
    with pytest.raises(InvalidArgumentType, match=r"default_metric \(write metric=\)"):
        tune.ExperimentAnalysis(analysis.folder, default_metric="loss")


def test_an_analysis_of_a_folder_at_home(analysis: tune.ExperimentAnalysis, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(analysis.folder.parent))
    assert tune.ExperimentAnalysis("~/e").best_config == {"x": 1}


def test_a_checkpoint_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("3")
    with open(os.path.join(tune.Checkpoint(tmp_path), "weights")) as file:  # noqa: PTH118
        assert file.read() == "3"
