"""Trials through two warm worker processes: how many per second, how near to ideal, how much memory.

Start-up is left out on every side: workers are warm, and Optuna's processes have opened their study. Memory is the sum
of the resident sets of driver and workers, which counts pages that they share as often as they are shared.

Every trial has a folder with three files. What that costs depends on the state of the file system: ext4 gives out again
no inode that was freed in the last seconds, and looks past all of them, so that after many files were deleted a folder
can take ten times as long. The benchmark therefore says what such a folder costs at that moment without tuneflow, and
how fast trials are where files lie in memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import harness
import psutil

import tuneflow as tune

SPACE = {"x0": tune.uniform(0, 1), "x1": tune.uniform(0, 1)}
MAX_MEMORY_MB = 250.0


def reports(config: dict[str, float]) -> None:
    for step in range(10):
        tune.report(loss=config["x0"] + step)


def burns(config: dict[str, float]) -> None:
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    tune.report(loss=config["x0"])


def seconds(trainable: Any, n_trials: int, folder: Path, name: str) -> float:
    """Seconds of a ``tune.run`` with journal, JSON and CSV on, workers warm."""
    start = time.perf_counter()
    tune.run(
        trainable,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=n_trials,
        search_alg="random",
        name=name,
        storage_path=folder,
        max_concurrent_trials=2,
        verbose=0,
    )
    return time.perf_counter() - start


def folder_ms(root: Path) -> float:
    """Milliseconds for a folder with three small files in it, as each trial has one, by Python's own means."""
    root.mkdir()
    start = time.perf_counter()
    for number in range(100):
        folder = root / str(number)
        folder.mkdir()
        for name in ("params.json", "result.json", "progress.csv"):
            (folder / name).write_bytes(bytes(300))
    return (time.perf_counter() - start) * 1e3 / 100


def memory_mb() -> float:
    """Resident memory of this process and its children, in MB."""
    me = psutil.Process()
    return sum(process.memory_info().rss for process in [me, *me.children(recursive=True)]) / 1e6


def measure(report: harness.Report, quick: bool) -> None:
    warnings.simplefilter("ignore")
    n_trials, n_burns, repeats = (50, 10, 1) if quick else (200, 40, 3)
    peer = harness.peer("optuna_processes", *(["--quick"] if quick else []), needs="optuna")
    harness.RESULTS.mkdir(exist_ok=True)
    # Where experiments lie in use, and not where other programs have just deleted thousands of files.
    with tempfile.TemporaryDirectory(dir=harness.RESULTS) as name:
        folder = Path(name)
        seconds(reports, 4, folder, "warm")
        rate = max(n_trials / seconds(reports, n_trials, folder, f"reports{i}") for i in range(repeats))
        used_mb = memory_mb()
        cost_ms = folder_ms(folder / "folders")
        seconds(burns, 2, folder, "warm-burns")
        ideal = max(n_burns * 0.1 / 2 / seconds(burns, n_burns, folder, f"burns{i}") for i in range(repeats))
    in_memory = None
    if os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            in_memory = max(n_trials / seconds(reports, n_trials, Path(name), str(i)) for i in range(repeats))
    tune.shutdown_workers()
    journal = None if peer is None else float(peer["journal"])
    claim = "trivial trials x 10 reports, two warm processes, journal, JSON and CSV"
    report.add(harness.at_least(claim, rate, 400.0, "trials/s"))
    report.add(
        harness.Row(
            claim=claim,
            floor=">= 2 x Optuna, two processes, journal",
            measured=rate,
            unit="trials/s",
            verdict="no peer" if journal is None else "holds" if rate >= 2 * journal else "missed",
            peer="Optuna, two processes, journal",
            peer_value=journal,
        )
    )
    report.add(harness.note("a folder with three files, without tuneflow", cost_ms, "ms"))
    if in_memory is not None:
        report.add(harness.note(f"{claim}, files in memory", in_memory, "trials/s"))
    report.add(harness.at_most("driver and two workers, resident", used_mb, MAX_MEMORY_MB, "MB"))
    report.add(harness.at_least("0.1 s of CPU x 40 on two workers, of ideal", 100 * ideal, 95.0, "%"))
    if peer is not None:
        report.add(harness.note(claim, rate, "trials/s", "Optuna, two processes, SQLite", float(peer["sqlite"])))
        report.add(
            harness.note("0.1 s of CPU x 40", 100 * ideal, "%", "Optuna's processes", 100 * float(peer["ideal"]))
        )


if __name__ == "__main__":
    sys.exit(harness.main(measure))
