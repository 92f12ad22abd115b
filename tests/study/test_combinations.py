"""Any pruner with any sampler, and what becomes of checkpoints under a budget."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuneflow as tune
from tuneflow.pruners import ASHA, PBT, HyperBand, MedianStopping

SPACE = {"x": tune.uniform(-1, 1), "y": tune.loguniform(1e-3, 1.0)}
PRUNERS: dict[str, Callable[[], Any]] = {
    "asha": lambda: ASHA(9, reduction_factor=3),
    "promotion": lambda: ASHA(9, reduction_factor=3, promote=True),
    "hyperband": lambda: HyperBand(9),
    "median": MedianStopping,
    "pbt": lambda: PBT({"y": tune.loguniform(1e-3, 1.0)}, population_size=5, perturbation_interval=3),
    "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(n_startup_steps=2),
    "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=2), patience=1),
    "threshold": lambda: optuna.pruners.ThresholdPruner(upper=2.0),
}


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc", "nsgaii"])
def test_any_pruner_with_any_sampler(sampler: str, pruner: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        study = tune.create_study(SPACE, sampler=sampler, pruner=PRUNERS[pruner](), seed=0)
        n_new = 0
        while (trial := study.ask(new=n_new < 15)) is not None:
            n_new += trial.last_step is None
            state = trial.checkpoint or {"n": trial.start_step}
            while state["n"] < 9:
                state["n"] += 1
                step = (trial.last_step or 0) + 1
                value = trial.config["x"] ** 2 + trial.config["y"] + 1 / step
                decision = trial.report(value, step, checkpoint=state)
                if decision.should_stop:
                    break
                if isinstance(decision, tune.pruners.Exploit):
                    state = decision.checkpoint
            if not trial.is_paused:
                study.tell(trial, trial.last_value)
    assert len(study.trials) == 15
    assert all(trial.state.is_finished() for trial in study.trials)
    assert any(trial.state.name == "COMPLETE" for trial in study.trials)


def test_a_budget_deletes_the_oldest_spare_checkpoints_and_never_the_latest() -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in range(6):
            tune.report({"loss": config["x"]}, checkpoint=lambda folder: (folder / "w").write_bytes(b"x" * 10_000))

    analysis = tune.run(
        train, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=3, verbose=0, name="e",
        checkpoint_freq=1, checkpoint_budget_bytes=50_000, max_concurrent_trials=1,
    )  # fmt: skip
    kept = [sorted(path.name for path in Path(trial.logdir).glob("checkpoint_*")) for trial in analysis.trials]
    assert all(names[-1] == "checkpoint_000006" for names in kept)
    files = [path for trial in analysis.trials for path in Path(trial.logdir).rglob("*") if path.name in ("w",)]
    assert len(files) * 10_000 <= 50_000
    assert len(files) == 4, "as many as fit, with what is noted beside them"
