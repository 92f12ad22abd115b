"""Microseconds per decision of Optuna's pruners, by number of trials known. See ``benchmarks/pruner_decisions.py``."""

from __future__ import annotations

import argparse
import random
from typing import Any

import harness
import optuna
from optuna.trial import TrialState, create_trial


def decision_us(pruner: Any, state: TrialState, size: int, budget_s: float) -> float:
    """``Trial.should_prune`` at step 1, with ``size`` trials that have reported there and ended as ``state``."""
    rng = random.Random(0)
    study = optuna.create_study(pruner=pruner)
    for _ in range(size):
        value = rng.random()
        # What SuccessiveHalvingPruner itself notes down for a trial that it has seen at its bottom rung.
        attributes = {"completed_rung_0": value}
        study.add_trial(
            create_trial(
                state=state,
                value=value if state == TrialState.COMPLETE else None,
                intermediate_values={1: value},
                system_attrs=attributes,
            )
        )

    def prepare(_: int) -> optuna.Trial:
        trial = study.ask()
        trial.report(rng.random(), 1)
        return trial

    return harness.microseconds_each(prepare, lambda trial: trial.should_prune(), budget_s=budget_s)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("sizes", nargs="+", type=int)
    arguments.add_argument("--budget", type=float, default=1.0)
    given = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves: dict[str, list[float]] = {"ASHA": [], "median": []}
    for size in given.sizes:
        halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=4)
        curves["ASHA"].append(decision_us(halving, TrialState.PRUNED, size, given.budget))
        median = optuna.pruners.MedianPruner(n_startup_trials=3)
        curves["median"].append(decision_us(median, TrialState.COMPLETE, size, given.budget))
    harness.reply({"version": optuna.__version__, "curves": curves})


if __name__ == "__main__":
    main()
