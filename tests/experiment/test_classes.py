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
from tuneflow.objects import note_path, noted_path
from tuneflow.pruners import ASHA
from tuneflow.schedulers import ASHAScheduler, PopulationBasedTraining


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


def test_dicts_are_kept_as_folders_are() -> None:
    (trial,) = run(counts, metric="loss", mode="min", max_failures=1).trials
    assert [result["loss"] for result in trial.results] == [1 / n for n in range(1, 7)]  # none is trained twice
    wanted = {"keep_checkpoints_num": 2, "checkpoint_score_attr": "loss", "max_failures": 1}
    analysis = run(counts, metric="loss", mode="min", name="some", **wanted)
    kept = sorted(Path(analysis.best_logdir).glob("checkpoint_*"))
    assert [tune.Checkpoint(folder).to_dict() for folder in kept] == [{"n": 1}, {"n": 2}, {"n": 6}]


def of_folder(config: dict[str, Any], checkpoint_dir: str | None = None, last: int = 3) -> None:
    before = 0 if checkpoint_dir is None else int(Path(checkpoint_dir, "n").read_text())
    for n in range(before + 1, last + 1):
        folder = Path(tune.get_trial().dir, "state")
        folder.mkdir(exist_ok=True)
        (folder / "n").write_text(str(n))
        tune.report({"n": n, "from": checkpoint_dir}, checkpoint=folder)
        if n == 2:
            raise RuntimeError("once")


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_checkpoint_dir_is_the_folder_that_a_trial_goes_on_from(executor: str) -> None:
    (trial,) = run(tune.with_parameters(of_folder, last=4), max_failures=1, executor=executor).trials
    assert [result["n"] for result in trial.results] == [1, 2, 3, 4]
    starts = [result["from"] for result in trial.results]
    assert starts == [None, None, *2 * [str(Path(trial.logdir, "checkpoint_000002"))]]


def test_checkpoint_dir_without_a_default() -> None:
    def train(config: dict[str, Any], checkpoint_dir: str | None) -> dict[str, Any]:
        return {"given": checkpoint_dir}

    assert run(train).trials[0].last_result["given"] is None


def test_checkpoint_dir_that_is_bound_stays_so() -> None:
    def train(config: dict[str, Any], checkpoint_dir: str | None = None) -> dict[str, Any]:
        return {"given": checkpoint_dir}

    assert run(tune.with_parameters(train, checkpoint_dir="mine")).trials[0].last_result["given"] == "mine"


def test_checkpoint_dir_where_garbage_is_collected() -> None:
    def train(config: dict[str, Any], checkpoint_dir: str = "never") -> float:
        return 0.0 if checkpoint_dir == "never" else 1.0

    def filled(config: dict[str, Any], checkpoint_dir: Any) -> float:
        return 0.0 if checkpoint_dir is None else 1.0

    study = tune.create_study({"x": tune.uniform(0, 1)}, mode="min", seed=0)
    for trainable in (train, filled):
        study.optimize(trainable, n_trials=1, gc_after_trial=True)
    assert [trial.value for trial in study.trials] == [0.0, 0.0]


def test_checkpoint_dir_cannot_be_an_object() -> None:
    def train(config: dict[str, Any], checkpoint_dir: str | None = None) -> None:
        tune.report({"n": 1}, checkpoint={"n": 1})
        raise RuntimeError("always")

    with pytest.raises(TrialsFailed, match=r"goes on from an object, a dict; .* read it with tune.get_checkpoint\(\)"):
        run(train, max_failures=1)


class OfFile(tune.Trainable):
    """Saves itself into a file, and is loaded from it by its path."""

    def setup(self, config: dict[str, Any]) -> None:
        self.n, self.loaded = 0, ""

    def step(self) -> dict[str, Any]:
        self.n += 1
        if self.n == 3 and not self.loaded:
            raise RuntimeError("once")
        return {"n": self.n, "loaded": self.loaded, "done": self.n == 4}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        path = Path(checkpoint_dir, "model", "weights")
        path.parent.mkdir()
        path.write_text(str(self.n))
        return str(path)

    def load_checkpoint(self, checkpoint_path: str) -> None:
        self.n, self.loaded = int(Path(checkpoint_path).read_text()), checkpoint_path


class OfName(OfFile):
    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        super().save_checkpoint(checkpoint_dir)
        return "model/weights"


@pytest.mark.parametrize(("trainable", "executor"), [(OfFile, "inline"), (OfFile, "processes"), (OfName, "inline")])
def test_a_path_that_save_checkpoint_returns_is_loaded(trainable: Any, executor: str) -> None:
    (trial,) = run(trainable, checkpoint_freq=1, max_failures=1, executor=executor).trials
    assert [result["n"] for result in trial.results] == [1, 2, 3, 4]
    assert trial.last_result["loaded"] == str(Path(trial.logdir, "checkpoint_000002", "model", "weights"))


def test_a_path_is_loaded_from_another_trials_checkpoint() -> None:
    pbt = PopulationBasedTraining(perturbation_interval=1, hyperparam_mutations={"x": tune.uniform(0, 1)})

    class Climbs(OfFile):
        def step(self) -> dict[str, Any]:
            self.n += 1
            return {"height": self.n + self.config["x"], "loaded": self.loaded}

    analysis = run(Climbs, scheduler=pbt, metric="height", mode="max", num_samples=4, stop={"training_iteration": 4})
    loaded = {result["loaded"] for trial in analysis.trials for result in trial.results} - {""}
    assert loaded
    assert all(path.endswith("/model/weights") for path in loaded)


@pytest.mark.parametrize("returned", [None, 3, "saved", ".", "text " * 99])
def test_what_is_no_path_is_passed_over(returned: Any) -> None:
    class Saved(OfFile):
        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            Path(checkpoint_dir, "n").write_text(str(self.n))
            return checkpoint_dir if returned == "." else returned

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            super().load_checkpoint(str(Path(checkpoint_dir, "n")))

    (trial,) = run(Saved, checkpoint_freq=1, max_failures=1).trials
    assert trial.last_result["n"] == 4


def test_a_path_may_be_given_without_the_links_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    folder = tmp_path / "home" / "checkpoint"
    folder.mkdir()
    (folder / "weights").write_text("w")
    note_path(folder, (folder / "weights").resolve())
    assert noted_path(folder) == folder / "weights"


def test_a_checkpoint_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    class Elsewhere(OfFile):
        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            return tmp_path / "weights"

    with pytest.raises(
        TrialsFailed, match=r"returned '.*weights', which is not in the folder .* write into checkpoint_d"
    ):
        run(Elsewhere, checkpoint_freq=1)


def test_a_class_in_tunes_first_form_is_told_the_names() -> None:
    class First(tune.Trainable):
        def _train(self) -> dict[str, Any]:
            return {"loss": 1.0}

    with pytest.raises(
        TrialsFailed, match=r"must override step.*write setup, step, save_checkpoint, .* for _setup, _train"
    ):
        run(First)


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
