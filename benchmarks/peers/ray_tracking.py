"""Milliseconds of a report and a trial in Ray's logger callbacks, called as its controller calls them: in its loop.

See ``benchmarks/tracking/``. Arguments: "mlflow" or "tensorboard", the tracking URI, trials, reports per trial.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import ray
from tracking.cost import PACE_S, result


class Trial:
    """What the callbacks ask of a trial."""

    def __init__(self, number: int, folder: Path) -> None:
        self.config: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "opt": "adam", "epochs": 10}
        self.evaluated_params = self.config
        self.trial_id = f"{number:05d}"
        self.local_path = str(folder / self.trial_id)

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return f"trial_{self.trial_id}"


def make(kind: str, uri: str) -> Any:
    if kind == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name="ray")
        callback.setup()
        return callback
    from ray.tune.logger import TBXLoggerCallback

    return TBXLoggerCallback()


def main() -> None:
    kind, uri, n_trials, n_reports = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    reports, trials = [], []
    with tempfile.TemporaryDirectory() as name:
        callback = make(kind, uri)
        for number in range(-1, n_trials):  # the first one warms up
            trial = Trial(number + 1, Path(name))
            start = time.perf_counter()
            callback.log_trial_start(trial)
            taken = time.perf_counter() - start
            for step in range(1, (n_reports if number >= 0 else 5) + 1):
                time.sleep(PACE_S)
                start = time.perf_counter()
                callback.log_trial_result(step, trial, result(step))
                reports.append(time.perf_counter() - start)
            start = time.perf_counter()
            callback.log_trial_end(trial)
            trials.append(taken + time.perf_counter() - start)
    harness.reply(
        {
            "version": ray.__version__,
            "report_ms": 1e3 * statistics.mean(reports[5:]),
            "trial_ms": 1e3 * statistics.mean(trials[1:]),
        }
    )


if __name__ == "__main__":
    main()
