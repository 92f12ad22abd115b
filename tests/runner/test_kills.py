"""Workers and drivers are killed at random moments, again and again: nothing is lost, doubled or changed by that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuneflow as tune

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
