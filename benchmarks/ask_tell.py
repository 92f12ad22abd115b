"""What tuneflow's ask and tell add to Optuna's own, in memory, with 5 float parameters and the same seeded sampler.

Both sides run the same number of trials in the same process, in turn, so that a machine that drifts slows both alike.
Two styles: declarative (a space given at creation, ``fixed_distributions`` in Optuna) and define-by-run
(``suggest_float``).
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import harness
import optuna

LIMIT = 1.1
NAMES = [f"x{i}" for i in range(5)]
SAMPLERS: dict[str, tuple[Callable[[], Any], int, int]] = {
    # how it is made, trials in the full run, trials in the quick one
    "random": (lambda: optuna.samplers.RandomSampler(seed=0), 1000, 300),
    "TPE": (lambda: optuna.samplers.TPESampler(seed=0), 250, 60),
}


def value_of(params: dict[str, float]) -> float:
    return sum((x - 0.3) ** 2 for x in params.values())


def optuna_declarative(sampler: Callable[[], Any], n_trials: int) -> None:
    study = optuna.create_study(sampler=sampler())
    space = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in NAMES}
    for _ in range(n_trials):
        trial = study.ask(space)
        study.tell(trial, value_of(trial.params))


def tuneflow_declarative(sampler: Callable[[], Any], n_trials: int) -> None:
    import tuneflow as tune

    study = tune.create_study({name: tune.uniform(0.0, 1.0) for name in NAMES}, sampler=sampler(), direction="minimize")
    for _ in range(n_trials):
        trial = study.ask()
        study.tell(trial, value_of(trial.config))


def optuna_define_by_run(sampler: Callable[[], Any], n_trials: int) -> None:
    study = optuna.create_study(sampler=sampler())
    for _ in range(n_trials):
        trial = study.ask()
        study.tell(trial, value_of({name: trial.suggest_float(name, 0.0, 1.0) for name in NAMES}))


def tuneflow_define_by_run(sampler: Callable[[], Any], n_trials: int) -> None:
    import tuneflow as tune

    study = tune.create_study(sampler=sampler(), direction="minimize")
    for _ in range(n_trials):
        trial = study.ask()
        study.tell(trial, value_of({name: trial.suggest_float(name, 0.0, 1.0) for name in NAMES}))


STYLES = {
    "declarative": (tuneflow_declarative, optuna_declarative),
    "define-by-run": (tuneflow_define_by_run, optuna_define_by_run),
}


def measure(report: harness.Report, quick: bool) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    for sampler_name, (sampler, n_full, n_quick) in SAMPLERS.items():
        n_trials = n_quick if quick else n_full
        for style, (ours, theirs) in STYLES.items():
            taken = harness.alternating(
                {"ours": partial(ours, sampler, n_trials), "optuna": partial(theirs, sampler, n_trials)},
                repeats=5 if quick else 9,
            )
            # The median of the ratios of neighbours, not the ratio of the medians: drift cancels.
            times = harness.ratio(taken, "ours", "optuna")
            optuna_us = statistics.median(taken["optuna"]) / n_trials * 1e6
            claim = f"ask + tell, {sampler_name}, {style}, {n_trials:,} trials"
            report.add(harness.against(claim, times * optuna_us, "raw Optuna", optuna_us, LIMIT, "µs"))


if __name__ == "__main__":
    sys.exit(harness.main(measure))
