"""How often ASHA promotes a trial too early (Li et al. 2020, arXiv 1810.05934, section 3.2).

    python benchmarks/papers/asha_mispromotion.py [--repeats 20]

ASHA promotes whoever is among the best 1/eta of those that a rung has seen so far. Some of them would not be among the
best 1/eta of all n in the end. By the law of large numbers their number grows like the square root of n only: with
25 workers and random order, the slope of log(mispromoted) over log(n) has to be 1/2, within 0.1.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState

import tuneflow as tune
from tuneflow.pruners import ASHA

ETA, N_WORKERS = 4, 25
SIZES = (200, 800, 3200, 12800)


def curve(config: Mapping[str, float], step: int) -> float:
    return config["loss"]


def mispromoted(n: int, seed: int) -> int:
    """How many of the trials that were promoted from a rung of n are not among its best n // eta."""
    executor = tune.SimulatedExecutor(N_WORKERS, curve, max_steps=ETA, report_every=[1], straggle=0.5, seed=seed)
    study = tune.create_study(
        {"loss": tune.uniform(0, 1)}, sampler="random", seed=seed,
        pruner=ASHA(ETA, min_resource=1, reduction_factor=ETA, promote=True),
    )  # fmt: skip
    study.optimize(None, n_trials=n, executor=executor, show_progress_bar=False)
    trials = study.optuna.get_trials(deepcopy=False)
    ranked = sorted(trials, key=lambda trial: (trial.params["loss"], trial.number))
    promoted = {trial.number for trial in trials if trial.state is TrialState.COMPLETE}
    return len(promoted - {trial.number for trial in ranked[: n // ETA]})


def slope(sizes: Sequence[int], means: Sequence[float]) -> float:
    """Of log(mean) over log(n), by least squares."""
    return statistics.linear_regression([math.log(n) for n in sizes], [math.log(mean) for mean in means]).slope


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="runs per size")
    repeats = parser.parse_args().repeats
    print(f"{'n':>6}{'mispromoted':>13}{'of n':>8}{'per sqrt(n)':>13}")
    means = []
    for n in SIZES:
        means.append(statistics.fmean(mispromoted(n, seed) for seed in range(repeats)))
        print(f"{n:6}{means[-1]:13.1f}{means[-1] / n:8.1%}{means[-1] / math.sqrt(n):13.2f}", flush=True)
    ours = slope(SIZES, means)
    verdict = "holds" if abs(ours - 0.5) <= 0.1 else "missed"
    print(f"slope: paper 1/2, ours {ours:.2f}: {verdict}")
    return 1 if verdict == "missed" else 0


if __name__ == "__main__":
    sys.exit(main())
