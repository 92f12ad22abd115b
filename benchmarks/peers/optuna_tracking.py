"""Milliseconds that optuna-integration's MLflowCallback adds to a trial. It logs no reports.

See ``benchmarks/tracking/mlflow.py``. Arguments: the tracking URI, trials.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from typing import Any

import harness
import optuna
from optuna_integration.mlflow import MLflowCallback


def main() -> None:
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    uri, n_trials = sys.argv[1], int(sys.argv[2])
    callback = MLflowCallback(tracking_uri=uri, metric_name="loss")
    taken: list[float] = []

    def timed(study: optuna.Study, trial: Any) -> None:
        start = time.perf_counter()
        callback(study, trial)
        taken.append(time.perf_counter() - start)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical("opt", ["adam", "sgd"])
        return trial.suggest_float("lr", 1e-4, 1e-1, log=True) + trial.suggest_float("momentum", 0, 1)

    study = optuna.create_study(study_name="optuna", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=n_trials + 1, callbacks=[timed])
    harness.reply({"version": optuna.__version__, "trial_ms": 1e3 * statistics.mean(taken[1:])})


if __name__ == "__main__":
    main()
