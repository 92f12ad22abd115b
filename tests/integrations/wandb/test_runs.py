"""Every kind of trial, eight at a time, in real processes: what W&B's files hold is what the trials reported."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.callbacks import DEFAULT_LOGGERS
from tuneflow.pruners import Continue, Exploit, Pause, Pruner, Stop
from tuneflow_integrations.wandb import WandbLogger

COMPLETE, PRUNED, FAILED, KILLED, PAUSED, EXPLOITED, RETRIED, DROPPED = range(8)
N_STEPS = 5
NEW_RATE = 7.5


class Fates(Pruner):
    """Decides by the number of the trial alone."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._given_up: list[int] = []
        self._configs: dict[int, Any] = {}

    def on_start(self, trial: int, config: Any) -> None:
        self._configs[trial] = config

    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        if decided is not None:
            return decided
        if (trial, step) == (PRUNED, 2):
            return Stop()
        if (trial, step) == (PAUSED, 2):
            self._waiting.append(trial)
            return Pause()
        if (trial, step) == (DROPPED, 2):
            self._given_up.append(trial)
            return Pause()
        if (trial, step) == (EXPLOITED, 3):
            return Exploit(COMPLETE, {**self._configs[trial], "lr": NEW_RATE})
        return Continue(save=trial == COMPLETE)

    def on_end(self, trial: int, state: Any) -> None: ...

    def next_resume(self, more: bool = True) -> int | None:
        return self._waiting.pop() if self._waiting else None

    def take_dropped(self) -> list[int]:
        dropped, self._given_up = self._given_up, []
        return dropped

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


def train(config: dict[str, Any]) -> None:
    trial, checkpoint = tune.get_trial(), tune.get_checkpoint()
    assert config["wandb"]["project"] == "fates", "the trainable sees the settings"
    assert "wandb" not in trial.config
    start = 0 if checkpoint is None else int((Path(checkpoint.path) / "step").read_text())
    has_saved, has_copied = Path(trial.dir).parent / "donor-has-saved", Path(trial.dir).parent / "heir-has-copied"
    if trial.number == EXPLOITED and checkpoint is not None:
        has_copied.write_text("")
    for step in range(start + 1, N_STEPS + 1):
        if trial.number == EXPLOITED and step == 3:
            wait_for(has_saved)
        if trial.number == COMPLETE and step == 4:
            wait_for(has_copied)
        if trial.number == FAILED and step == 4:
            raise ValueError("the loss is a pumpkin")
        if trial.number == KILLED and step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        if trial.number == RETRIED and step == 3 and trial.attempt == 1:
            raise RuntimeError("only once")

        def save(folder: Any, step: int = step) -> None:
            Path(folder, "step").write_text(str(step))

        metrics = {"loss": config["lr"] * step, "val": {"acc": 1 / step, "secret": 1}, "note": f"s{step}"}
        tune.report(metrics, checkpoint=save)
        if trial.number == COMPLETE and step == 2:
            has_saved.write_text("")


def wait_for(path: Path) -> None:
    until_s = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until_s:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        tune.run(
            train,
            {
                "lr": tune.choice([0.5, 0.25]),
                "net": {"width": 16},
                "password": "swordfish",
                "wandb": {
                    "project": "fates", "api_key": KEY, "excludes": ["val/secret", "time_this_iter_s"],
                    "log_config": True, "tags": ["mine"], "dir": str(folder),
                },
            },
            metric="loss", mode="min", num_samples=8, scheduler=Fates(), search_alg="random", seed=1, verbose=0,
            resources_per_trial={"cpu": tune_share()}, max_failures=1, raise_on_failed_trial=False, checkpoint_freq=1,
            loggers=(*DEFAULT_LOGGERS, WandbLogger), storage_path=folder, name="fates of eight",
        )  # fmt: skip
    tune.shutdown_workers()
    return folder


KEY = "0123456789abcdef" * 3


def tune_share() -> float:
    """So that eight trials fit, whatever the machine has."""
    from tuneflow.runner.resources import machine

    return min(1.0, machine().cpu / 8)


def results_of(folder: Path, number: int) -> list[dict[str, Any]]:
    path = folder / "fates of eight" / f"{number:05d}" / "result.json"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_there_in_order_and_none_twice(fates: Path, read_runs: Callable[..., Any]) -> None:
    runs = read_runs(fates)
    assert list(runs) == list(range(8))
    n_rows = {COMPLETE: 5, PRUNED: 2, FAILED: 3, KILLED: 3, PAUSED: 5, EXPLOITED: 5, RETRIED: 5, DROPPED: 2}
    for number, run in runs.items():
        reported = results_of(fates, number)
        assert [row["_step"] for row in run.rows] == list(range(len(reported)))
        for row, result in zip(run.rows, reported, strict=True):
            assert (row["loss"], row["val/acc"]) == (result["loss"], pytest.approx(result["val"]["acc"]))
            assert (row["note"], row["training_iteration"]) == (result["note"], result["training_iteration"])
            assert row["time_total_s"] == pytest.approx(result["time_total_s"])
        assert len(run.rows) == n_rows[number] or number == EXPLOITED
        assert all({"done", "pid", "trial_id", "val/secret", "time_this_iter_s"}.isdisjoint(row) for row in run.rows)


def test_names_groups_and_configurations(fates: Path, read_runs: Callable[..., Any]) -> None:
    runs = read_runs(fates)
    assert {run.project for run in runs.values()} == {"fates"}
    assert {run.group for run in runs.values()} == {"fates of eight"}
    assert [run.name for run in runs.values()] == [f"fates of eight-{number:05d}" for number in range(8)]
    for number, run in runs.items():
        params = json.loads((fates / "fates of eight" / f"{number:05d}" / "params.json").read_text())
        assert run.config == params
        assert run.config["password"] == "********"
        assert "wandb" not in run.config


def test_a_run_ends_as_its_trial_did(fates: Path, read_runs: Callable[..., Any]) -> None:
    runs = read_runs(fates)
    states = {number: run.summary["state"] for number, run in runs.items()}
    assert states == {
        COMPLETE: "complete", PRUNED: "pruned", FAILED: "failed", KILLED: "failed", PAUSED: "complete",
        EXPLOITED: "complete", RETRIED: "complete", DROPPED: "pruned",
    }  # fmt: skip
    assert all(run.tags == ("mine", states[number]) for number, run in runs.items())
    assert {number: run.exit_code for number, run in runs.items()} == {
        number: int(state == "failed") for number, state in states.items()
    }
    assert not any(run.is_preempted for run in runs.values())
    assert "the loss is a pumpkin" in runs[FAILED].summary["error"]
    assert "WorkerLost" in runs[KILLED].summary["error"]
    assert "SIGKILL" in runs[KILLED].summary["error"]
    assert {number: run.summary.get("attempts", 1) for number, run in runs.items()} == {
        number: 2 if number in (FAILED, KILLED, RETRIED) else 1 for number in runs
    }
    for number, run in runs.items():
        if states[number] == "complete":
            assert run.summary["value"] == run.rows[-1]["loss"]


def test_an_exploit_shows_in_the_rows(fates: Path, read_runs: Callable[..., Any]) -> None:
    run = read_runs(fates)[EXPLOITED]
    rates = [row["config/lr"] for row in run.rows]
    steps = [row["training_iteration"] for row in run.rows]
    assert set(rates[:3]) <= {0.5, 0.25}, "the row of the decision was trained with the old one"
    assert set(rates[3:]) == {NEW_RATE}
    assert steps == sorted(set(steps))
    assert run.config["lr"] == NEW_RATE
    assert (run.summary["exploits"], run.summary["donor"]) == (1, COMPLETE)


def test_the_settings_are_no_hyperparameters_and_the_key_is_nowhere(fates: Path) -> None:
    import optuna

    from tuneflow.storage import open_storage

    study = optuna.load_study(study_name="fates of eight", storage=open_storage(fates / "fates of eight" / "study.log"))
    assert all(set(trial.params) == {"lr"} for trial in study.trials)
    assert not any("wandb" in json.dumps([t.user_attrs, t.system_attrs], default=str) for t in study.trials)
    analysis = tune.ExperimentAnalysis(fates / "fates of eight", metric="loss", mode="min")
    assert "wandb" not in analysis.best_config
    assert not [column for column in analysis.dataframe().columns if "wandb" in column]
    files = [path for path in (fates / "fates of eight").rglob("*") if path.is_file()]
    assert [path for path in files if b"excludes" in path.read_bytes()] == []
    assert [path for path in fates.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert (fates / "fates of eight" / "00000" / "params.json").exists()
