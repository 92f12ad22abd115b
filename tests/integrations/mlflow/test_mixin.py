"""``@mlflow_mixin``: the trial's own run, inside the trial."""

from __future__ import annotations

import os
import threading

import mlflow
import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgumentType, TrialsFailed, UsageError
from tuneflow.pruners import Pause, Pruner, Stop
from tuneflow_integrations.mlflow import MLflowLogger, mlflow_mixin

SPACE = {"x": tune.grid_search([1.0, 2.0, 3.0])}


def settings(tmp_path, database, **more):
    config = {**SPACE, "mlflow": {"tracking_uri": database, "experiment_name": "exp", "tags": {"team": "blue"}}}
    return {
        "config": config, "metric": "loss", "mode": "min", "verbose": 0, "storage_path": tmp_path, "name": "e", **more
    }  # fmt: skip


@mlflow_mixin
def train(config):
    mlflow.log_metric("inside", config["x"], step=1)
    mlflow.set_tag("pid", str(os.getpid()))
    tune.report({"loss": config["x"]})
    if config["x"] == 2.0:
        raise RuntimeError("boom")


@pytest.fixture
def _workers_end():
    yield
    tune.shutdown_workers()


@pytest.mark.slow
@pytest.mark.usefixtures("_workers_end")
def test_plain_functions_log_to_the_trial_s_run_in_its_process(database, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)  # the driver's
    with pytest.raises(TrialsFailed):
        tune.run(train, **settings(tmp_path, database, max_concurrent_trials=1))
    found = runs(database, "exp")
    assert [run.info.run_name for run in found.children()] == [f"e_{i:05d}" for i in range(3)]
    assert [run.data.metrics["inside"] for run in found.children()] == [1.0, 2.0, 3.0]
    assert [run.data.params for run in found.children()] == [{"x": x} for x in ("1.0", "2.0", "3.0")]
    assert [run.info.status for run in found.children()] == ["FINISHED", "FAILED", "FINISHED"]
    assert [run.data.tags["tuneflow.state"] for run in found.children()] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert all(run.data.tags["pid"] != str(os.getpid()) for run in found.children())
    assert found.parent().info.status == "FINISHED"


class Once(Pruner):
    """Trial 0 pauses and goes on, trial 1 is stopped."""

    def __init__(self):
        self.paused = []

    def on_report(self, trial, step, value, checkpoint, decided=None):
        if decided is None and step == 2 and trial == 0:
            self.paused.append(trial)
            return Pause()
        return decided or (Stop() if step == 2 and trial == 1 else tune.pruners.Continue())

    def next_resume(self, more=True):
        return self.paused.pop() if self.paused else None

    def state_dict(self):
        return {"paused": self.paused}

    def load_state_dict(self, state):
        self.paused = state["paused"]


@mlflow_mixin
class Climb(tune.Trainable):
    def setup(self, config):
        mlflow.log_metric("set up", 1.0)

    def step(self):
        mlflow.log_metric("inside", self.iteration, step=self.iteration)
        return {"loss": self.config["x"] / (self.iteration + 1), "done": self.iteration == 3}

    def save_checkpoint(self, checkpoint_dir):
        pass

    def load_checkpoint(self, checkpoint_dir):
        pass


def test_a_class_and_the_logger_share_the_run_over_a_pause(database, runs, tmp_path, monkeypatch):
    mine = f"sqlite:///{tmp_path / 'mine.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mine)
    logger = MLflowLogger(interval_s=0.02)
    tune.run(Climb, **settings(tmp_path, database, executor="inline", scheduler=Once(), callbacks=[logger]))
    assert mlflow.get_tracking_uri() == mine
    assert mlflow.active_run() is None
    found = runs(database, "exp")
    assert [run.info.run_name for run in found.children()] == [f"e_{i:05d}" for i in range(3)]
    assert [run.data.tags["tuneflow.state"] for run in found.children()] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert [run.info.status for run in found.children()] == ["FINISHED", "KILLED", "FINISHED"]
    for run, n_steps in zip(found.children(), (4, 2, 4), strict=True):
        assert [step for step, _ in found.history(run, "inside")] == list(range(n_steps))
        assert [step for step, _ in found.history(run, "loss")] == list(range(1, n_steps + 1))
        assert run.data.metrics["set up"] == 1.0
        assert run.data.tags["team"] == "blue"


def test_generators_objectives_and_plain_calls(database, runs, tmp_path):
    @mlflow_mixin
    def generate(config):
        for step in range(2):
            mlflow.log_metric("inside", step, step=step)
            yield {"loss": config["x"]}

    tune.run(generate, **settings(tmp_path, database, executor="inline"))
    for run in runs(database, "exp").children():
        assert [step for step, _ in runs(database, "exp").history(run, "inside")] == [0, 1]

    @mlflow_mixin
    def plain(config):
        return mlflow.active_run()

    assert plain({"x": 1}) is None
    for wrong in (3, int):
        with pytest.raises(InvalidArgumentType, match="needs a function"):
            mlflow_mixin(wrong)


def test_two_servers_at_once_in_one_process_are_refused(database, tmp_path):
    inside, errors = threading.Event(), []
    free = threading.Event()

    @mlflow_mixin
    def waiting(config):
        inside.set()
        free.wait(30)
        return {"loss": 1.0}

    @mlflow_mixin
    def other(config):
        return {"loss": 1.0}

    def run_first():
        tune.run(waiting, **settings(tmp_path, database, executor="inline", config={
            "mlflow": {"tracking_uri": database, "experiment_name": "exp"}
        }))  # fmt: skip

    thread = threading.Thread(target=run_first)
    thread.start()
    assert inside.wait(30)
    try:
        second = {"mlflow": {"tracking_uri": f"sqlite:///{tmp_path}/./mlflow.db", "experiment_name": "other"}}
        tune.run(other, **settings(tmp_path, database, executor="inline", config=second, name="second"))
    except TrialsFailed as failed:
        errors = list(failed.errors.values())
    finally:
        free.set()
        thread.join()
    assert "another study logs to" in str(errors[0])
    assert isinstance(errors[0].__cause__, UsageError) or "UsageError" in repr(errors[0])


def test_a_dead_server_fails_the_trial_at_once(tmp_path):
    uri = "http://me:sesame@127.0.0.1:1"
    with pytest.raises(TrialsFailed, match="cannot be used now") as raised:
        tune.run(train, **settings(tmp_path, uri, executor="inline"))
    assert "sesame" not in str(raised.value)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes(), path
