"""A run inside the trial: functions of every form, classes, and trials of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import wandb

import tuneflow as tune
from tuneflow.pruners import Continue, Exploit, Pruner, Stop
from tuneflow_integrations.wandb import WandbLogger, setup_wandb, wandb_mixin

SETTINGS = {"project": "p", "tags": ["mine"]}
SPACE = {"a": tune.choice([1, 2, 3]), "password": "hidden", "wandb": SETTINGS}
GOOD, PRUNED, FAILED = range(3)


class OnlyPrunes(Pruner):
    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        return Stop() if (trial, step) == (PRUNED, 2) else Continue()

    def on_end(self, trial: int, state: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


def log_and_maybe_fail(number: int, step: int, a: int) -> dict[str, Any]:
    wandb.log({"loss": a * step, "epoch": step})
    if (number, step) == (FAILED, 2):
        raise ValueError("a pumpkin")
    return {"loss": a * step}


@wandb_mixin
def of_config(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(log_and_maybe_fail(tune.get_trial().number, step, config["a"]))


@wandb_mixin
def with_reporter(config: dict[str, Any], reporter: Any) -> None:
    for step in range(1, 4):
        reporter(**log_and_maybe_fail(tune.get_trial().number, step, config["a"]))


@wandb_mixin
def generator(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for step in range(1, 4):
        yield log_and_maybe_fail(tune.get_trial().number, step, config["a"])


@wandb_mixin
def of_trial(trial: Any) -> float:
    for step in range(1, 4):
        trial.report(log_and_maybe_fail(trial.number, step, trial.config["a"]), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return 3.0


@wandb_mixin
class Net(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        self.n_cleanups = 0

    def step(self) -> dict[str, Any]:
        step = self.iteration + 1
        result = log_and_maybe_fail(int(self.trial_id), step, self.config["a"])
        return {**result, "done": step == 3}

    def cleanup(self) -> None:
        self.n_cleanups += 1
        assert self.n_cleanups == 1


def run(trainable: Any, folder: Path, **options: Any) -> Any:
    return tune.run(
        trainable, options.pop("space", SPACE), metric="loss", mode="min",
        **{"num_samples": 3, "seed": 1, "scheduler": OnlyPrunes(), "executor": "inline", "verbose": 0, "name": "exp",
           "storage_path": folder, "raise_on_failed_trial": False, **options},
    )  # fmt: skip


@pytest.mark.parametrize("trainable", [of_config, with_reporter, generator, of_trial, Net])
def test_what_the_trial_logs(trainable: Any, tmp_path: Path, read_runs: Callable[..., Any]) -> None:
    analysis = run(trainable, tmp_path)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "TERMINATED", "ERROR"]
    runs = read_runs(suffix="-own")
    assert [[(row["loss"], row["epoch"]) for row in run.rows] for run in runs.values()] == [
        [(trial.config["a"] * step, step) for step in range(1, n + 1)]
        for trial, n in zip(analysis.trials, (3, 2, 2), strict=True)
    ]
    ends = [(run.tags, run.summary["state"], run.exit_code) for run in runs.values()]
    assert ends == [
        (("mine", state), state, int(state == "failed")) for state in ("complete", "pruned", "failed")
    ]  # fmt: skip
    assert {run.group for run in runs.values()} == {"exp"}
    assert [run.config for run in runs.values()] == [
        {**trial.config, "password": "********"} for trial in analysis.trials
    ]
    assert "a pumpkin" in runs[FAILED].summary["error"]
    assert wandb.run is None, "nothing stays open"


def test_in_worker_processes(tmp_path: Path, read_runs: Callable[..., Any]) -> None:
    analysis = run(of_config, tmp_path, executor="processes", max_concurrent_trials=2)
    tune.shutdown_workers()
    runs = read_runs(suffix="-own")
    assert [len(run.rows) for run in runs.values()] == [3, 2, 2]
    assert [run.exit_code for run in runs.values()] == [0, 0, 1]
    assert [run.config["a"] for run in runs.values()] == [trial.config["a"] for trial in analysis.trials]


class Exploits(OnlyPrunes):
    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        return Exploit(0, {"a": 50, "password": "new"}) if (trial, step) == (1, 2) else Continue(save=True)


@wandb_mixin
def resumable(config: dict[str, Any]) -> None:
    for _ in range(tune.get_trial().start_step, 3):
        wandb.log({"a": config["a"]})
        tune.report({"loss": 1.0}, checkpoint=lambda folder: None)


@wandb_mixin
class Rebuilt(tune.Trainable):
    def step(self) -> dict[str, Any]:
        wandb.log({"a": self.config["a"]})
        return {"loss": 1.0, "done": self.iteration == 2}

    def save_checkpoint(self, folder: Any) -> None: ...

    def load_checkpoint(self, folder: Any) -> None: ...


@wandb_mixin
class Reset(Rebuilt):
    """Decorated twice, by its base and itself: still one run."""

    def reset_config(self, config: dict[str, Any]) -> bool:
        return True


@pytest.mark.parametrize("trainable", [resumable, Rebuilt, Reset])
def test_an_exploit_stays_in_the_same_run(trainable: Any, tmp_path: Path, read_runs: Callable[..., Any]) -> None:
    run(trainable, tmp_path, scheduler=Exploits(), num_samples=2)
    member = read_runs(suffix="-own")[1]
    values = [row["a"] for row in member.rows]
    assert values[2:] == [50]
    assert set(values[:2]) <= {1, 2, 3}
    assert member.config == {"a": 50, "password": "********"}
    assert (member.tags, member.exit_code) == (("mine", "complete"), 0)


def test_beside_the_logger(tmp_path: Path, read_runs: Callable[..., Any]) -> None:
    run(of_config, tmp_path, callbacks=[WandbLogger], num_samples=2)
    own, driver = read_runs(suffix="-own"), read_runs()
    assert [len(run.rows) for run in own.values()] == [len(run.rows) for run in driver.values()] == [3, 2]
    assert all("time_total_s" in row for run in driver.values() for row in run.rows)


def test_setup_in_a_loop_of_ones_own(read_runs: Callable[..., Any]) -> None:
    study = tune.create_study(SPACE, mode="min", seed=0, study_name="loop")
    trials = [study.ask(), study.ask()]
    runs = [setup_wandb(trial) for trial in trials]
    assert wandb.run is None, "several are open at a time"
    for step in range(2):
        for trial, run in zip(trials, runs, strict=True):
            run.log({"loss": trial.config["a"] * step})
    for run in runs:
        run.finish()
    written = read_runs(suffix="-own")
    assert {number: [row["loss"] for row in run.rows] for number, run in written.items()} == {
        trial.number: [0, trial.config["a"]] for trial in trials
    }
    assert {run.group for run in written.values()} == {"loop"}


@pytest.mark.parametrize("argument", ["nothing", "config", "info"])
def test_setup_inside_a_trial(argument: str, tmp_path: Path, read_runs: Callable[..., Any]) -> None:
    def train(config: dict[str, Any]) -> None:
        given = {"nothing": None, "config": config, "info": tune.get_trial()}[argument]
        with setup_wandb(given, tags=["other"], notes="n"):
            wandb.log({"loss": config["a"]})
        tune.report(loss=config["a"])

    analysis = run(train, tmp_path, num_samples=1)
    written = read_runs(suffix="-own")[0]
    assert [row["loss"] for row in written.rows] == [analysis.trials[0].config["a"]]
    assert (written.project, written.tags, written.group) == ("p", ("mine",), "exp")


def test_setup_in_an_objective(read_runs: Callable[..., Any]) -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", 0, 1)
        with setup_wandb(trial, project="p") as run:
            run.log({"x": x})
        return x

    study = tune.create_study(mode="min", seed=0)
    study.optimize(objective, n_trials=2)
    assert [run.rows[0]["x"] for run in read_runs(suffix="-own").values()] == [t.params["x"] for t in study.trials]


def test_outside_a_trial_a_class_has_no_run() -> None:
    net = Net({"a": 2}, trial_id="0")
    assert wandb.run is None
    net.cleanup()
    assert Net.__name__ == "Net"
    assert issubclass(Net, tune.Trainable)
