"""Two hundred deaths of the driver, and of random workers, in one deterministic experiment; then the same undisturbed.

Fails where a trial is lost, doubled or different. The driver of it all is ``tests/runner/chaos_driver.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness

DRIVER = harness.ROOT / "tests" / "runner" / "chaos_driver.py"


def run(folder: Path, n_kills: int, n_trials: int) -> dict[str, Any]:
    command = [sys.executable, str(DRIVER), str(folder), str(n_kills), "3", str(n_trials), "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def record(folder: Path) -> list[Any]:
    import optuna

    import tuneflow as tune

    study = optuna.load_study(study_name=None, storage=tune.open_storage(folder / "study.log"))
    return [(t.number, t.params, t.state.name, t.values, sorted(t.intermediate_values.items())) for t in study.trials]


def n_rows_wrong(folder: Path, trials: list[Any]) -> int:
    """Trials whose result file has a gap or a doubled line."""
    wrong = 0
    for number, *_, reports in trials:
        rows = (folder / f"{number:05d}" / "result.json").read_text().splitlines()
        wrong += [json.loads(row)["training_iteration"] for row in rows] != [step for step, _ in reports]
    return wrong


def measure(report: harness.Report, quick: bool) -> None:
    n_kills, n_trials = (30, 100) if quick else (200, 700)
    with tempfile.TemporaryDirectory() as scratch:
        calm, killed = Path(scratch) / "calm", Path(scratch) / "killed"
        seconds_calm = harness.seconds_of(lambda: run(calm, 0, n_trials))
        told: dict[str, Any] = {}
        seconds_killed = harness.seconds_of(lambda: told.update(run(killed, n_kills, n_trials)))
        first, second = record(calm), record(killed)
        different = [pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]]
        if different:  # what to look for: the others follow from it
            print("the first trial that differs, undisturbed and killed:", *different[0], sep="\n")
        report.add(
            harness.at_least("deaths of the driver", told["drivers"], n_kills, ""),
            harness.note("deaths of workers", told["workers"], ""),
            harness.at_most(
                f"trials that differ from the undisturbed run, of {n_trials}",
                len(different) + abs(len(first) - len(second)), 0, "",
            ),
            harness.at_most("trials with gaps or doubled lines in their results", n_rows_wrong(killed, second), 0, ""),
            harness.note("seconds undisturbed", seconds_calm, "s"),
            harness.note("seconds with all the deaths", seconds_killed, "s"),
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(harness.main(measure))
