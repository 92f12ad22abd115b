"""W&B, offline: what ``WandbLogger`` adds, and what Ray's ``WandbLoggerCallback`` and Optuna's callback do."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import wandb

import tuneflow as tune
from tuneflow.callbacks import DEFAULT_LOGGERS
from tuneflow_integrations.wandb import WandbLogger

MAX_MS_PER_REPORT = 1.0


class Trivial(tune.Trainable):
    """Reports as fast as it can."""

    def step(self) -> dict[str, float]:
        return {"loss": self.config["x"] + self.iteration, "accuracy": self.config["x"]}


def report_ms(folder: Path, callbacks: list[Any], n_reports: int) -> float:
    """Milliseconds that a trial waits in ``report``, on average, in a loop that does nothing else."""
    study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", storage=folder / "study.log", seed=0)
    for callback in callbacks:
        study.add_callback(callback)
    trial = study.ask()
    spent = 0.0
    for step in range(1, n_reports + 1):
        start = time.perf_counter()
        trial.report({"loss": 1.0 / step, "accuracy": 0.5, "lr": 1e-3}, step)
        spent += time.perf_counter() - start
    study.tell(trial, 0.0)
    study.close()
    return spent / n_reports * 1000.0


def run_s(folder: Path, loggers: tuple[Any, ...], n_trials: int, n_reports: int) -> float:
    """Seconds of a whole ``tune.run`` on two slots, the wait for W&B at its end included."""
    start = time.perf_counter()
    tune.run(
        Trivial, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=n_trials, search_alg="random",
        stop={"training_iteration": n_reports}, max_concurrent_trials=2, storage_path=folder, verbose=0,
        loggers=(*DEFAULT_LOGGERS, *loggers),
    )  # fmt: skip
    return time.perf_counter() - start


def optimize_s(callbacks: list[Any], n_trials: int) -> float:
    """Seconds of ``study.optimize`` over an objective that does nothing, the wait at its end included."""
    study = tune.create_study({"x": tune.uniform(0, 1)}, mode="min", sampler="random")
    start = time.perf_counter()
    study.optimize(lambda trial: trial.config["x"], n_trials=n_trials, callbacks=callbacks, show_progress_bar=False)
    return time.perf_counter() - start


def added_ms(run: Callable[[bool], float], n: int, repeats: int) -> float:
    """What the tracker adds to each of ``n`` in milliseconds: best with it less best without, in turn."""
    without, with_it = [], []
    for _ in range(repeats):
        without.append(run(False))
        with_it.append(run(True))
    return (min(with_it) - min(without)) / n * 1000.0


def measure(report: harness.Report, quick: bool) -> None:
    warnings.simplefilter("ignore")
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
    n_reports, n_trials, repeats = (200, 4, 1) if quick else (1000, 20, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def logger() -> WandbLogger:
            return WandbLogger("benchmark", dir=name)

        def fresh() -> Path:
            return Path(tempfile.mkdtemp(dir=folder))

        optimize_s([logger()], 1)
        run_s(fresh(), (logger(),), 2, 1)
        waits = added_ms(lambda on: report_ms(fresh(), [logger()] if on else [], n_reports) / 1000.0, 1, repeats)
        per_report = added_ms(
            lambda on: run_s(fresh(), (logger(),) if on else (), 4, n_reports // 4), n_reports, repeats
        )
        per_trial = added_ms(lambda on: run_s(fresh(), (logger(),) if on else (), n_trials, 1), n_trials, repeats)
        per_objective = added_ms(lambda on: optimize_s([logger()] if on else [], n_trials), n_trials, repeats)
        tune.shutdown_workers()
        wandb.teardown()
    given = ["--trials", str(n_trials), "--reports", str(n_reports), "--repeats", str(repeats)]
    ray = harness.peer("ray_wandb", *given, needs="ray")
    optuna = harness.peer("optuna_wandb", *given, needs="optuna_integration")
    report.add(
        harness.at_most("W&B: what a report waits longer, in a loop without pauses", waits, MAX_MS_PER_REPORT, "ms"),
        harness.against(
            "W&B: whole run, added per report (4 trials)",
            per_report,
            "Ray's WandbLoggerCallback",
            None if ray is None else ray["per_report_ms"],
            1.0,
            "ms",
        ),
        harness.against(
            "W&B: whole run, added per trial",
            per_trial,
            "Ray's WandbLoggerCallback",
            None if ray is None else ray["per_trial_ms"],
            1.0,
            "ms",
        ),
        harness.against(
            "W&B: optimize, added per trial",
            per_objective,
            "Optuna's WeightsAndBiasesCallback",
            None if optuna is None else optuna["per_trial_ms"],
            1.0,
            "ms",
        ),
    )
