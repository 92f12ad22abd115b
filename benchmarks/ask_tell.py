"""What tuneflow's ask and tell add to Optuna's own, in memory, with 5 float parameters and the same seeded sampler.

Both sides run in the same process, trial by trial in turn, so that a busy machine slows both alike. Two styles:
declarative (a space given at creation, ``fixed_distributions`` in Optuna) and define-by-run (``suggest_float``).
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable
from typing import Any

import harness
import optuna

LIMIT = 1.1
NAMES = [f"x{i}" for i in range(5)]
SAMPLERS: dict[str, tuple[Callable[[int], Any], int, int]] = {
    # how it is made from a seed, trials per study in the full run, trials in the quick one
    "random": (lambda seed: optuna.samplers.RandomSampler(seed=seed), 1000, 500),
    "TPE": (lambda seed: optuna.samplers.TPESampler(seed=seed), 500, 100),
}


def value_of(params: dict[str, float]) -> float:
    return sum((x - 0.3) ** 2 for x in params.values())


def optuna_declarative(sampler: Any) -> Callable[[], None]:
    study = optuna.create_study(sampler=sampler)
    space: dict[str, Any] = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in NAMES}

    def step() -> None:
        trial = study.ask(space)
        study.tell(trial, value_of(trial.params))

    return step


def tuneflow_declarative(sampler: Any) -> Callable[[], None]:
    import tuneflow as tune

    study = tune.create_study({name: tune.uniform(0.0, 1.0) for name in NAMES}, sampler=sampler, direction="minimize")

    def step() -> None:
        trial = study.ask()
        study.tell(trial, value_of(trial.config))

    return step


def optuna_define_by_run(sampler: Any) -> Callable[[], None]:
    study = optuna.create_study(sampler=sampler)

    def step() -> None:
        trial = study.ask()
        study.tell(trial, value_of({name: trial.suggest_float(name, 0.0, 1.0) for name in NAMES}))

    return step


def tuneflow_define_by_run(sampler: Any) -> Callable[[], None]:
    import tuneflow as tune

    study = tune.create_study(sampler=sampler, direction="minimize")

    def step() -> None:
        trial = study.ask()
        study.tell(trial, value_of({name: trial.suggest_float(name, 0.0, 1.0) for name in NAMES}))

    return step


STYLES = {
    "declarative": (tuneflow_declarative, optuna_declarative),
    "define-by-run": (tuneflow_define_by_run, optuna_define_by_run),
}


def measure(report: harness.Report, quick: bool) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    for sampler_name, (make_sampler, n_full, n_quick) in SAMPLERS.items():
        n_trials = n_quick if quick else n_full
        for style, (ours, theirs) in STYLES.items():
            sums: dict[str, list[float]] = {"ours": [], "Optuna": []}
            for seed in range(3 if quick else 5):
                steps = {"ours": ours(make_sampler(seed)), "Optuna": theirs(make_sampler(seed))}
                for name, taken in harness.interleaved(steps, n_trials).items():
                    sums[name].append(harness.typical_sum(taken) / n_trials)
            ratio = statistics.median(a / b for a, b in zip(*sums.values(), strict=True))
            optuna_us = statistics.median(sums["Optuna"])
            claim = f"ask + tell, {sampler_name}, {style}, {n_trials:,} trials"
            report.add(harness.against(claim, ratio * optuna_us, "raw Optuna", optuna_us, LIMIT, "µs"))


if __name__ == "__main__":
    sys.exit(harness.main(measure))
