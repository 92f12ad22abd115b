"""What Optuna's WeightsAndBiasesCallback adds per trial, offline. See ``benchmarks/tracking/wandb.py``."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from typing import Any

os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")

import harness
import optuna
from optuna_integration.wandb import WeightsAndBiasesCallback


def seconds(callbacks: list[Any], n_trials: int) -> float:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    start = time.perf_counter()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=n_trials, callbacks=callbacks)
    return time.perf_counter() - start


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=20)
    arguments.add_argument("--reports", type=int, default=0, help="it takes no notice of reports")
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        options = {"project": "benchmark", "dir": folder}
        seconds([WeightsAndBiasesCallback(wandb_kwargs=options, as_multirun=True)], 1)
        without, with_it = [], []
        for _ in range(given.repeats):
            without.append(seconds([], given.trials))
            with_it.append(seconds([WeightsAndBiasesCallback(wandb_kwargs=options, as_multirun=True)], given.trials))
    harness.reply({"per_trial_ms": (min(with_it) - min(without)) / given.trials * 1000.0})


if __name__ == "__main__":
    main()
