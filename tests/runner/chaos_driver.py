"""Runs one experiment to its end through many deaths: ``python chaos_driver.py FOLDER N_KILLS SEED N_TRIALS STEP_S``.

Each life of the driver is a fork of this process, which has imported everything: a life begins in milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import optuna
import psutil

import tuneflow as tune
from tuneflow.pruners import ASHA


def train(config: dict[str, float]) -> None:
    checkpoint = tune.get_checkpoint()
    start = 0 if checkpoint is None else int((checkpoint.path / "n").read_text())
    for step in range(start + 1, 28):
        time.sleep(config["step_s"])

        def save(folder: Path, step: int = step) -> None:
            (folder / "n").write_text(str(step))

        tune.report({"loss": (config["x"] - 0.3) ** 2 + config["y"] / step}, checkpoint=save)


def life(folder: Path, n_trials: int, step_s: float) -> None:
    tune.run(
        train,
        {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "step_s": step_s},
        metric="loss",
        mode="min",
        num_samples=n_trials,
        name=folder.name,
        storage_path=folder.parent,
        scheduler=ASHA(27, reduction_factor=3, promote=True),
        search_alg="tpe",
        seed=5,
        deterministic=True,
        max_failures=-1,
        resources_per_trial={"cpu": 0.5},
        max_concurrent_trials=2,
        resume="auto",
        verbose=0,
    )


def kill_a_worker(driver: int, chance: random.Random) -> bool:
    """Kills one, as soon as there is one; whether there was."""
    give_up = time.monotonic() + 3
    while time.monotonic() < give_up:
        try:
            children = psutil.Process(driver).children()
            workers = [child for child in children if "tuneflow.runner.worker" in child.cmdline()]
            if workers:
                chance.choice(workers).kill()
                return True
        except psutil.Error:
            pass
        time.sleep(0.01)
    return False


def main() -> None:
    folder, n_kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    n_trials, step_s = int(sys.argv[4]), float(sys.argv[5])
    chance = random.Random(seed)
    optuna.create_study(sampler=optuna.samplers.TPESampler()).optimize(
        lambda t: t.suggest_float("x", 0, 1), n_trials=15
    )
    n_driver, n_worker, n_lives = 0, 0, 0
    while True:
        n_lives += 1
        driver = os.fork()
        if driver == 0:
            status = 1
            try:
                life(folder, n_trials, step_s)
                status = 0
            finally:
                os._exit(status)
        if n_driver < n_kills:
            time.sleep(chance.uniform(0.05, 0.5))
            if chance.random() < 0.5:
                n_worker += kill_a_worker(driver, chance)
                time.sleep(chance.uniform(0.0, 0.3))
            os.kill(driver, signal.SIGKILL)
        _, status = os.waitpid(driver, 0)
        if os.WIFSIGNALED(status):
            n_driver += 1
            continue
        print(json.dumps({"status": status, "drivers": n_driver, "workers": n_worker, "lives": n_lives}))
        return


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
