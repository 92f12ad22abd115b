"""What tracking adds to a report and to a trial: each tracker alone, against its peers, and all of them together.

A loop in this process reports every 5 ms and the calls are timed, so that what the loggers' threads take from it counts
too. In worker processes a trial has its answer before the listeners hear of a report, and notices less.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import tracking
from tracking.cost import added, bare, cost_of

MAX_REPORT_MS = 1.0


def measure(report: harness.Report, quick: bool) -> None:
    for module in sorted(each.name for each in pkgutil.iter_modules(tracking.__path__)):
        if module != "cost" and find_spec(module) is not None:
            importlib.import_module(f"tracking.{module}").measure(report, quick)
    n_trials, n_reports = (3, 50) if quick else (10, 200)
    from tracking.mlflow import server

    with tempfile.TemporaryDirectory() as name, server(Path(name)) as uri:
        names = all_loggers(uri, Path(name))[0]
        cost_of(lambda folder: all_loggers(uri, folder)[1], 1, 5)
        ours = added(
            cost_of(lambda folder: all_loggers(uri, folder)[1], n_trials, n_reports), bare(n_trials, n_reports)
        )
    report.add(
        harness.at_most(f"{names}, all on: a report", ours.report_ms, MAX_REPORT_MS, "ms"),
        harness.note(f"{names}, all on: a trial", ours.trial_ms, "ms"),
    )


def all_loggers(uri: str, folder: Path) -> tuple[str, list[Any]]:
    """Every tracker that is installed, W&B offline."""
    from tuneflow_integrations.mlflow import MLflowLogger
    from tuneflow_integrations.tensorboard import TensorBoardLogger

    made: dict[str, Any] = {"MLflow": MLflowLogger(uri, "all"), "TensorBoard": TensorBoardLogger()}
    if find_spec("wandb") is not None and find_spec("tuneflow_integrations.wandb") is not None:
        wandb = importlib.import_module("tuneflow_integrations.wandb")
        made["W&B"] = wandb.WandbLogger("bench", mode="offline", dir=str(folder))
    return ", ".join(made), list(made.values())


if __name__ == "__main__":
    sys.exit(harness.main(measure))
