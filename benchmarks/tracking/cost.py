"""What listeners add to a report and to a trial, seen from a loop that reports at a steady pace."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tuneflow as tune
from tuneflow.creation import build_study
from tuneflow.space import choice, loguniform, uniform

SPACE = {"lr": loguniform(1e-4, 1e-1), "momentum": uniform(0, 1), "opt": choice(["adam", "sgd"]), "epochs": 10}
PACE_S = 0.005


class Cost(NamedTuple):
    """Milliseconds, listeners and all. ``report_ms`` is a mean: what one report in a hundred costs is in it.

    Attributes:
        report_ms: of a report.
        trial_ms: of starting and ending a trial.
        close_s: seconds until everything is sent, when the study is over.
    """

    report_ms: float
    trial_ms: float
    close_s: float


def result(step: int) -> dict[str, Any]:
    """A result as ``tune.run`` makes it."""
    return {
        "loss": 1.0 / step, "accuracy": 1.0 - 1.0 / step, "lr": 0.1 / step, "training_iteration": step,
        "time_this_iter_s": 0.5, "time_total_s": 0.5 * step, "timestamp": 1.7e9 + step, "trial_id": "00000",
        "done": False, "pid": 1234, "hostname": "host",
    }  # fmt: skip


def cost_of(make: Callable[[Path], Sequence[Any]], n_trials: int, n_reports: int) -> Cost:
    """Drives ``n_trials`` trials of ``n_reports`` reports, ``PACE_S`` seconds apart as a fast training would be."""
    reports: list[float] = []
    trials: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listeners = make(folder)
        study = build_study(
            SPACE, metric="loss", mode="min", sampler="random", seed=0, folder=folder, storage=folder / "study.log",
            study_name="bench",
        )  # fmt: skip
        for listener in listeners:
            study.add_callback(listener)
        study.listeners.emit("on_study_start", study)
        for _ in range(n_trials):
            start = time.perf_counter()
            trial = study.ask()
            taken = time.perf_counter() - start
            for step in range(1, n_reports + 1):
                time.sleep(PACE_S)
                metrics = result(step)
                start = time.perf_counter()
                trial.report(metrics, step)
                reports.append(time.perf_counter() - start)
            start = time.perf_counter()
            study.tell(trial, 1.0 / n_reports)
            trials.append(taken + time.perf_counter() - start)
        start = time.perf_counter()
        study.listeners.emit("on_study_end", study)
        close_s = time.perf_counter() - start
        study.close()
    return Cost(1e3 * statistics.mean(reports), 1e3 * statistics.mean(trials), close_s)


def added(with_it: Cost, without: Cost) -> Cost:
    return Cost(with_it.report_ms - without.report_ms, with_it.trial_ms - without.trial_ms, with_it.close_s)


def bare(n_trials: int, n_reports: int) -> Cost:
    """The same without listeners."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    tune.create_study(mode="min")  # imports what is imported once
    cost_of(lambda _: (), 1, 5)
    return cost_of(lambda _: (), n_trials, n_reports)
