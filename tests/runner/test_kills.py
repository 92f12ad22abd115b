"""Workers and drivers are killed at random moments, again and again: nothing is lost, doubled or changed by that."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuneflow as tune
from tuneflow.pruners import ASHA, HyperBand, MedianStopping
from tuneflow.storage import Journal

DRIVER = Path(__file__).with_name("chaos_driver.py")


def run_through(folder: Path, n_kills: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), str(n_kills), "1", "60", "0.03"],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def record_of(folder: Path) -> list[Any]:
    study = optuna.load_study(study_name=None, storage=tune.open_storage(folder / "study.log"))
    return [
        (trial.number, trial.params, trial.state.name, trial.values, sorted(trial.intermediate_values.items()))
        for trial in study.trials
    ]


@pytest.mark.timeout(240)
def test_sixty_trials_through_twenty_deaths_of_the_driver(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert run_through(calm, 0)["status"] == 0
    told = run_through(killed, 20)
    assert (told["status"], told["drivers"]) == (0, 20)
    assert told["workers"] >= 5
    first, second = record_of(calm), record_of(killed)
    assert len(second) == 60
    assert {state for _, _, state, _, _ in second} <= {"COMPLETE", "PRUNED"}
    assert second == first  # trial by trial: the best value too
    for number, _, _, _, reports in second:
        rows = (killed / f"{number:05d}" / "result.json").read_text().splitlines()
        iterations = [json.loads(row)["training_iteration"] for row in rows]
        assert iterations == [step for step, _ in reports] == list(range(1, len(reports) + 1))


def train(config: dict[str, float]) -> None:
    for step in range(9):
        tune.report(loss=(config["x"] - 0.3) ** 2 + 1 / (step + 1))


def in_child(call: Callable[[], object]) -> None:
    """Runs ``call`` in a fork of this process, to its death."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
        finally:
            os._exit(1)
    os.waitpid(pid, 0)


class Dies(tune.Callback):
    def __init__(self, report: int) -> None:
        self.n_left = report

    def on_trial_report(self, trial: object, result: object) -> None:
        self.n_left -= 1
        if self.n_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, name: str, scheduler: Any = None, space: Any = None, **given: Any) -> list[Any]:
    analysis = tune.run(
        train, space or {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=8, scheduler=scheduler,
        max_concurrent_trials=2, storage_path=folder, name=name, verbose=0, seed=3, deterministic=True, **given,
    )  # fmt: skip
    return [(trial.config, [result["loss"] for result in trial.results]) for trial in analysis.trials]


@pytest.mark.filterwarnings("ignore:trial .* goes on without a checkpoint")
@pytest.mark.parametrize("scheduler", [ASHA(9, reduction_factor=3), HyperBand(9), MedianStopping()], ids=repr)
def test_a_driver_that_dies_at_any_report_changes_nothing(tmp_path: Path, scheduler: Any) -> None:
    calm = run(tmp_path, "calm", copy.deepcopy(scheduler))
    for report in (1, 3, 8, 15):
        name = f"dies{report}"
        in_child(lambda name=name, report=report: run(
            tmp_path, name, copy.deepcopy(scheduler), callbacks=[Dies(report)])
        )  # fmt: skip
        assert run(tmp_path, name, copy.deepcopy(scheduler), resume=True) == calm


@pytest.mark.parametrize("space", [{}, {"g": tune.grid_search([1, 2])}], ids=["sampled", "grid"])
def test_a_trial_that_died_before_it_had_its_parameters_gets_them(
    tmp_path: Path, space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"x": tune.uniform(0, 1), "y": tune.randn(0, 1), **space}
    calm = run(tmp_path, "calm", space=space)

    def dies() -> None:
        monkeypatch.setattr(Journal, "set_trial_param", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        run(tmp_path, "dies", space=space)

    in_child(dies)
    assert run(tmp_path, "dies", space=space, resume="auto") == calm
