"""The same seed gives the same run: every sampler with every pruner, twice at one slot and twice at four.

Trials sleep for random times. The decision logs of the two runs at a slot count have to be the same to the byte (at one
slot the first run is inline, the second in a process). Then: what ``deterministic=True`` costs.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

SAMPLERS = ("random", "tpe", "cmaes", "qmc", "gp")
N_TRIALS, N_STEPS = 12, 9


def train(config: dict[str, float]) -> None:
    import tuneflow as tune

    rng = random.Random()  # of the system: sleeps differ from run to run
    checkpoint = tune.get_checkpoint()
    start = 0 if checkpoint is None else int((checkpoint.path / "n").read_text())
    for step in range(start + 1, N_STEPS + 1):
        time.sleep(rng.random() * 0.004)

        def save(folder: Path, step: int = step) -> None:
            (folder / "n").write_text(str(step))

        tune.report({"loss": (config["x"] - 0.4) ** 2 + config["y"] / step}, checkpoint=save)


def pruners() -> dict[str, Callable[[], Any]]:
    import tuneflow as tune
    from tuneflow.pruners import ASHA, PBT, HyperBand, MedianStopping

    return {
        "none": lambda: None,
        "ASHA": lambda: ASHA(N_STEPS, reduction_factor=3),
        "ASHA, promotion": lambda: ASHA(N_STEPS, reduction_factor=3, promote=True),
        "HyperBand": lambda: HyperBand(N_STEPS, reduction_factor=3),
        "median": lambda: MedianStopping(),
        "PBT": lambda: PBT({"y": tune.uniform(0, 1)}, perturbation_interval=3),
    }


def run(sampler: str, pruner: Any, *, n_slots: int, executor: str, is_deterministic: bool = True) -> str:
    """A digest of all that was tried, reported and decided."""
    import tuneflow as tune

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Slots are counted in CPUs: four of them are there on any machine.
        total = tune.Resources(cpu=float(n_slots))
        chosen: Any = executor
        if executor == "processes":
            from tuneflow.runner.processes import ProcessExecutor

            chosen = ProcessExecutor(total)
        analysis = tune.run(
            train, {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=N_TRIALS,
            name="run", storage_path=scratch, search_alg=sampler, scheduler=pruner, seed=7, verbose=0,
            deterministic=is_deterministic, executor=chosen,
        )  # fmt: skip
        if executor == "processes":
            chosen.shutdown()
        study = tune.load_study(study_name=None, storage=analysis.folder / "study.log")
        log = [
            [
                trial.number, trial.params, trial.state.name, sorted(trial.intermediate_values.items()),
                sorted((key, value) for key, value in trial.user_attrs.items() if key.startswith("tuneflow:decision")),
            ]
            for trial in study.trials
        ]  # fmt: skip
    return hashlib.sha256(json.dumps(log).encode()).hexdigest()


def measure(report: harness.Report, quick: bool) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kinds = pruners()
    samplers = SAMPLERS[:2] if quick else SAMPLERS
    for sampler in samplers:
        for name, make in kinds.items():
            inline = run(sampler, make(), n_slots=1, executor="inline")
            process = run(sampler, make(), n_slots=1, executor="processes")
            first, second = (run(sampler, make(), n_slots=4, executor="processes") for _ in range(2))
            n_same = (inline == process) + (first == second)
            report.add(harness.at_least(f"{sampler} x {name}: pairs of runs that are the same, of 2", n_same, 2, ""))
    seconds = {
        is_deterministic: min(
            harness.seconds_of(
                lambda is_deterministic=is_deterministic: run(
                    "random", kinds["ASHA"](), n_slots=4, executor="processes", is_deterministic=is_deterministic
                )
            )
            for _ in range(3)
        )
        for is_deterministic in (False, True)
    }
    report.add(harness.note("seconds of a run, deterministic by without", seconds[True] / seconds[False], "x"))


if __name__ == "__main__":
    sys.exit(harness.main(measure))
