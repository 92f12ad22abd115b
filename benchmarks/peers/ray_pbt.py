"""Seconds of a PBT run in Ray Tune, ``ray.init`` and a first run left out. See ``benchmarks/pbt_end_to_end.py``."""

from __future__ import annotations

import argparse
import logging
import os
import random
import tempfile
import time

import harness
import ray
import workloads
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

N_MEMBERS, N_STEPS, INTERVAL = 8, 50, 5


class Walk(workloads.Walk, tune.Trainable):
    pass


def seconds(folder: str, n_members: int, n_steps: int) -> tuple[float, int]:
    """Seconds of one run, and how many exploits there were."""
    random.seed(0)
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=INTERVAL,
        hyperparam_mutations={"lr": tune.uniform(0.0, 0.2)},
        log_config=False,
    )
    tuner = tune.Tuner(
        tune.with_resources(Walk, {"cpu": 1}),
        param_space={"lr": tune.uniform(0.0, 0.2)},
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=n_members, scheduler=scheduler, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=folder, stop={"training_iteration": n_steps}, verbose=0),
    )
    start = time.perf_counter()
    results = tuner.fit()
    taken = time.perf_counter() - start
    steps = [result.metrics["training_iteration"] for result in results]
    if steps != [n_steps] * n_members:
        raise RuntimeError(f"members ended after {steps} steps, not {n_steps} each")
    return taken, int(scheduler._num_perturbations)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        seconds(folder, 2, INTERVAL)
        runs = [seconds(folder, N_MEMBERS, N_STEPS) for _ in range(given.repeats)]
    ray.shutdown()
    harness.reply(
        {"version": ray.__version__, "seconds": [taken for taken, _ in runs], "exploits": [count for _, count in runs]}
    )


if __name__ == "__main__":
    main()
