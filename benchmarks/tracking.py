"""What trackers add to a trial, per report and per trial, against those of Ray Tune and Optuna.

Each tracker has a part of its own in ``benchmarks/tracking/``; a part whose library is not installed is left out.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import harness
import tracking


def measure(report: harness.Report, quick: bool) -> None:
    for part in pkgutil.iter_modules(tracking.__path__):
        try:
            module = importlib.import_module(f"tracking.{part.name}")
        except ModuleNotFoundError as error:
            report.remark(f"{part.name}: left out, {error.name} is not installed")
            continue
        module.measure(report, quick)


if __name__ == "__main__":
    sys.exit(harness.main(measure))
