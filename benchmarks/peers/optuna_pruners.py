"""Microseconds per decision of Optuna's pruners, by number of trials known. See ``benchmarks/pruner_decisions.py``."""

from __future__ import annotations

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


def asha_us(size: int, budget_s: float) -> float:
    halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=4)
    return decision_us(halving, TrialState.PRUNED, size, budget_s)


def median_us(size: int, budget_s: float) -> float:
    return decision_us(optuna.pruners.MedianPruner(n_startup_trials=3), TrialState.COMPLETE, size, budget_s)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    harness.reply_curves(optuna.__version__, {"ASHA": asha_us, "median": median_us})


if __name__ == "__main__":
    main()
