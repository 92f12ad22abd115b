"""BOHB's counting ones (Falkner et al. 2018, arXiv 1807.01774, section 4.1): a model helps HyperBand.

    python benchmarks/papers/counting_ones.py [--seeds 50] [--jobs 1]

Eight parameters are 0 or 1, eight lie in [0, 1]. The loss is minus the sum of the former and of the means of ``budget``
Bernoulli draws, one mean for each of the latter, divided by 16: -1 is the best. HyperBand, eta = 3, gives budgets of 9
to 729 draws. Cost is counted in full evaluations of 729 draws; a promoted trial pays for the draws that it adds. After
200 of them, the configuration with the best loss at the full budget is judged by its expected loss. HyperBand with a
model (TPE) has to be ahead of HyperBand with random search, over paired seeds: Wilcoxon's signed-rank test, one-sided,
p < 0.01.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import optuna

import tuneflow as tune
from tuneflow.pruners import HyperBand

D = 8
MIN_BUDGET, MAX_BUDGET, ETA = 9, 729, 3
N_STEPS = MAX_BUDGET // MIN_BUDGET  # a step is nine draws
RUNGS = [1, 3, 9, 27, 81]
N_EVALUATIONS = 200
SPACE: dict[str, Any] = {f"c{i}": tune.choice([0, 1]) for i in range(D)} | {
    f"x{i}": tune.uniform(0, 1) for i in range(D)
}


def expected(config: Mapping[str, float]) -> float:
    """The loss without noise."""
    return -sum(config.values()) / (2 * D)


def draw(config: Mapping[str, float], step: int, rng: np.random.Generator) -> float:
    """The loss as a training of ``step`` steps shows it."""
    n_draws = MIN_BUDGET * step
    hits = rng.binomial(n_draws, [min(1.0, config[f"x{i}"]) for i in range(D)])
    return -float(sum(config[f"c{i}"] for i in range(D)) + hits.sum() / n_draws) / (2 * D)


def regret(sampler: str, seed: int, n_evaluations: int = N_EVALUATIONS) -> float:
    """How far the expected loss of the configuration found is from the best possible, in [0, 1]."""
    executor = tune.SimulatedExecutor(1, draw, 1 / N_STEPS, max_steps=N_STEPS, report_every=RUNGS, seed=seed)
    study = tune.create_study(SPACE, sampler=make_sampler(sampler, seed), pruner=HyperBand(N_STEPS, ETA), seed=seed)
    study.optimize(None, timeout=n_evaluations, executor=executor, show_progress_bar=False)
    full = [trial for trial in study.optuna.get_trials(deepcopy=False) if N_STEPS in trial.intermediate_values]
    best = min(full, key=lambda trial: trial.intermediate_values[N_STEPS])
    return expected(best.params) + 1.0


def make_sampler(name: str, seed: int) -> Any:
    if name == "random":
        return "random"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def p_value(model: Sequence[float], random: Sequence[float]) -> float:
    """Of Wilcoxon's signed-rank test for "the model's regrets are lower"."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(model, random, alternative="less").pvalue)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="paired runs")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args()
    regrets: dict[str, list[float]] = {}
    print(f"{'HyperBand with':16}{'median regret':>14}{'mean':>9}{'worst':>9}")
    with ProcessPoolExecutor(given.jobs) as pool:
        for name in ("random", "TPE"):
            found = regrets[name] = list(pool.map(regret, [name] * given.seeds, range(given.seeds)))
            print(
                f"{name:16}{statistics.median(found):14.4f}{statistics.fmean(found):9.4f}{max(found):9.4f}", flush=True
            )
    p = p_value(regrets["TPE"], regrets["random"])
    verdict = "holds" if p < 0.01 else "missed"
    print(f"paper: the model is ahead by 200 full evaluations; ours: p = {p:.2g}, {verdict}")
    return 1 if verdict == "missed" else 0


if __name__ == "__main__":
    sys.exit(main())
