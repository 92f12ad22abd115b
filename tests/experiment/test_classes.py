"""Trainables as classes: what they may return, where they may report, what is said when they cannot be saved."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgument, TrialsFailed, TuneflowWarning, UsageError
from tuneflow.pruners import ASHA
from tuneflow.schedulers import ASHAScheduler


def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {"executor": "inline", "verbose": 0, "name": "e", "storage_path": "results", **arguments}
    return tune.run(trainable, {"x": tune.uniform(0, 1)}, **given)


class Returned(tune.Trainable):
    """Saves itself by returning a dict, and fails once."""

    def setup(self, config: dict[str, Any]) -> None:
        self.state = {"n": 0, "loaded": []}

    def step(self) -> dict[str, Any]:
        self.state["n"] += 1
        if self.state["n"] == 3 and not self.state["loaded"]:
            raise RuntimeError("once")
        return {"loss": self.state["n"], "loaded": self.state["loaded"], "done": self.state["n"] == 4}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        assert Path(checkpoint_dir).is_dir()
        return self.state

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.state = {**checkpoint, "loaded": [type(checkpoint).__name__]}


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_dict_that_save_checkpoint_returns_is_loaded(executor: str) -> None:
    (trial,) = run(Returned, checkpoint_freq=1, max_failures=1, executor=executor).trials
    assert [result["loss"] for result in trial.results] == [1, 2, 3, 4]
    assert trial.last_result["loaded"] == ["dict"]


def counts(config: dict[str, Any]) -> None:
    state = tune.get_checkpoint() or {"n": 0}
    has_failed = state["n"] > 0
    for n in range(state["n"] + 1, 7):
        tune.report({"loss": 1 / n}, checkpoint={"n": n})
        if n == 3 and not has_failed:
            raise RuntimeError("once")


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_dict_that_a_function_reports_is_kept_on_disk(executor: str, tmp_path: Path) -> None:
    analysis = run(counts, metric="loss", mode="min", executor=executor, checkpoint_freq=1, max_failures=1)
    (trial,) = analysis.trials
    assert [result["loss"] for result in trial.results] == [1 / n for n in range(1, 7)]
    assert analysis.best_checkpoint.to_dict() == {"n": 6}
    with pytest.raises(InvalidArgument, match="holds files, not an object"):
        tune.Checkpoint(tmp_path).to_dict()


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_dict_that_cannot_be_kept_says_what_to_pass(executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"]}, checkpoint={"lock": threading.Lock()})

    with pytest.raises(TrialsFailed, match=r"a checkpoint of type dict cannot be pickled .*pass a state_dict"):
        run(train, metric="loss", mode="min", executor=executor, checkpoint_freq=1)


def test_paused_trials_go_on_from_a_dict() -> None:
    def train(config: dict[str, Any]) -> None:
        state = tune.get_checkpoint() or {"n": 0}
        for n in range(state["n"] + 1, 10):
            tune.report({"loss": config["x"]}, checkpoint={"n": n})

    pruner = ASHA(9, reduction_factor=3, promote=True)
    analysis = run(train, scheduler=pruner, metric="loss", mode="min", num_samples=9, executor="processes")
    assert max(len(trial.results) for trial in analysis.trials) == 9
    for trial in analysis.trials:
        steps = [result["training_iteration"] for result in trial.results]
        assert steps == list(range(1, len(steps) + 1))


class InSetup(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        tune.report(loss=1.0)

    def step(self) -> dict[str, Any]:
        return {"loss": 1.0, "done": True}


def test_a_report_in_setup_is_refused_too() -> None:
    with pytest.raises(TrialsFailed, match="cannot be called inside a Trainable class") as caught:
        run(InSetup)
    assert isinstance(caught.value.errors[0], Exception)
    assert isinstance(caught.value.errors[0].__cause__, UsageError)
    assert caught.value.analysis.trials[0].results == []


class Unsaved(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"loss": 1.0, "done": self.iteration == 2}


@pytest.mark.parametrize("asked", [{"checkpoint_freq": 2}, {"checkpoint_at_end": True}])
def test_checkpoints_that_a_class_cannot_make_are_warned_about(asked: dict[str, Any]) -> None:
    (name,) = asked
    with pytest.warns(TuneflowWarning, match=rf"{name}=\w+ saves nothing: Unsaved does not override save_checkpoint"):
        run(Unsaved, **asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Unsaved, name="unasked")


class Nested(Returned):
    def step(self) -> dict[str, Any]:
        self.state["n"] += 1
        loss = np.float32(abs(self.state["n"] - 2))
        return {"val": {"loss": loss}, "done": self.state["n"] == 5}


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_nested_metrics_rank_trials_and_checkpoints(executor: str) -> None:
    analysis = run(
        Nested, metric="val/loss", mode="min", scheduler=ASHAScheduler(max_t=5), checkpoint_freq=1,
        keep_checkpoints_num=1, checkpoint_score_attr="min-val/loss", executor=executor,
    )  # fmt: skip
    assert analysis.best_trial.last_value("val/loss") == 3
    assert analysis.best_checkpoint is not None
    assert analysis.best_checkpoint.path.name == "checkpoint_000002"


def test_a_score_that_no_result_holds_is_warned_about_once() -> None:
    with pytest.warns(TuneflowWarning, match=r"checkpoint_score_attr='min-los' names no number .*loss") as caught:
        run(Returned, checkpoint_freq=1, keep_checkpoints_num=1, checkpoint_score_attr="min-los", max_failures=1)
    assert len(caught) == 1
