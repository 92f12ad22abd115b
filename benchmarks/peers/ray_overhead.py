"""Seconds that Ray Tune takes for trivial trials, start-up left out. See ``benchmarks/tune_overhead.py``."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time

import harness
import ray
import workloads
from ray import tune

N_REPORTS = 10


class Trivial(workloads.Trivial, tune.Trainable):
    pass


def seconds(folder: str, n_trials: int) -> float:
    tuner = tune.Tuner(
        tune.with_resources(Trivial, {"cpu": 1}),
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=n_trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, stop={"training_iteration": N_REPORTS}, verbose=0),
    )
    start = time.perf_counter()
    results = tuner.fit()
    taken = time.perf_counter() - start
    reports = [result.metrics["training_iteration"] for result in results]
    if reports != [N_REPORTS] * n_trials:
        raise RuntimeError(f"trials ended after {reports} reports, not {N_REPORTS} each")
    return taken


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=100)
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        seconds(folder, 4)
        runs = [seconds(folder, given.trials) for _ in range(given.repeats)]
    ray.shutdown()
    harness.reply({"version": ray.__version__, "seconds": runs})


if __name__ == "__main__":
    main()
