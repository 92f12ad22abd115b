"""Optuna with two processes of its own on one storage: 200 trivial trials x 10 reports, or a CPU-bound objective.

Started as a program it is the driver; with ``--worker`` it is one of the two processes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import optuna


def open_study(kind: str, path: str) -> optuna.Study:
    storage: Any = f"sqlite:///{path}"
    if kind == "journal":
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
    sampler = optuna.samplers.RandomSampler()
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True, sampler=sampler)


def reports(trial: optuna.Trial) -> float:
    values = [trial.suggest_float(f"x{i}", 0, 1) for i in range(2)]
    for step in range(10):
        trial.report(values[0] + step, step)
        trial.should_prune()
    return values[1]


def burns(trial: optuna.Trial) -> float:
    trial.suggest_float("x", 0, 1)
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    return 0.0


def work(kind: str, path: str, objective: str, n_trials: int) -> None:
    """One worker: says when it is ready, waits for the word, runs its share."""
    study = open_study(kind, path)
    print("ready", flush=True)
    sys.stdin.readline()
    study.optimize(reports if objective == "reports" else burns, n_trials=n_trials)


def seconds(kind: str, objective: str, n_trials: int) -> float:
    """Seconds from the word to the end of both workers; start-up is left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "study")
        open_study(kind, path)
        command = [sys.executable, __file__, "--worker", kind, path, objective, str(n_trials // 2)]
        workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        start = time.perf_counter()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            worker.wait()
        taken = time.perf_counter() - start
        for worker in workers:
            worker.communicate()
        return taken


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--worker", nargs=4)
    arguments.add_argument("--quick", action="store_true")
    given = arguments.parse_args()
    if given.worker:
        kind, path, objective, n_trials = given.worker
        work(kind, path, objective, int(n_trials))
        return
    n_trials = 50 if given.quick else 200
    n_burns = 10 if given.quick else 40
    harness.reply(
        {
            "journal": n_trials / seconds("journal", "reports", n_trials),
            "sqlite": n_trials / 4 / seconds("sqlite", "reports", n_trials // 4),
            "ideal": n_burns * 0.1 / 2 / seconds("journal", "burns", n_burns),
        }
    )


if __name__ == "__main__":
    main()
