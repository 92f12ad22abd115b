"""What Ray's WandbLoggerCallback adds per report and per trial, offline. See ``benchmarks/tracking/wandb.py``."""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from typing import Any

# It asks for a key even offline.
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_API_KEY="0" * 40)

import harness
import ray
from ray import tune
from ray.air.integrations.wandb import WandbLoggerCallback


class Trivial(tune.Trainable):
    def setup(self, config: dict[str, float]) -> None:
        self.x = config["x"]

    def step(self) -> dict[str, float]:
        return {"loss": self.x + self.iteration, "accuracy": self.x}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def reset_config(self, new_config: dict[str, float]) -> bool:
        self.x = new_config["x"]
        return True


def seconds(folder: str, callbacks: list[Any], n_trials: int, n_reports: int) -> float:
    tuner = tune.Tuner(
        tune.with_resources(Trivial, {"cpu": 1}),
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=n_trials, reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=folder, stop={"training_iteration": n_reports}, verbose=0, callbacks=callbacks
        ),
    )
    start = time.perf_counter()
    tuner.fit()
    return time.perf_counter() - start


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=20)
    arguments.add_argument("--reports", type=int, default=1000)
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:

        def added_ms(n: int, n_trials: int, n_reports: int) -> float:
            taken: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(given.repeats):
                for on, times in taken.items():
                    callbacks = [WandbLoggerCallback(project="benchmark", dir=folder)] if on else []
                    times.append(seconds(folder, callbacks, n_trials, n_reports))
            return (min(taken[True]) - min(taken[False])) / n * 1000.0

        seconds(folder, [], 2, 1)
        figures = {
            "version": ray.__version__,
            "per_report_ms": added_ms(given.reports, 4, given.reports // 4),
            "per_trial_ms": added_ms(given.trials, given.trials, 1),
        }
    ray.shutdown()
    harness.reply(figures)


if __name__ == "__main__":
    main()
