"""The toy problem of the PBT paper (Jaderberg et al. 2017, arXiv 1711.09846, section 3.2 and figure 2).

    python benchmarks/papers/pbt_toy.py [--seeds 50]

Two members climb Q(theta) = 1.2 - theta_1^2 - theta_2^2, which is what is scored, from theta = (0.9, 0.9) by gradient
ascent on 1.2 - h_1 theta_1^2 - h_2 theta_2^2; one starts with h = (1, 0), the other with h = (0, 1). Each sees one
coordinate only, so that neither gets beyond 1.2 - 0.81 = 0.39 by itself. PBT lets them take turns on one theta.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneflow.pruners import PBT, Continue, Exploit, NoPruner, Pruner

N_STEPS = 200
GRID_SEARCH, OPTIMUM = 0.39, 1.2
Theta = tuple[float, float]


def score(theta: Theta) -> float:
    """Q(theta)."""
    return 1.2 - theta[0] ** 2 - theta[1] ** 2


def additive(config: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Explore as in the paper: N(0, 0.1) noise on h, clipped to [0, 1]."""
    return {name: min(1.0, max(0.0, value + rng.normal(0.0, 0.1))) for name, value in config.items()}


@dataclass
class Member:
    config: dict[str, float]
    theta: Theta = (0.9, 0.9)
    saved: Theta | None = None

    def train(self, learning_rate: float) -> None:
        """One step of gradient ascent on the surrogate."""
        h = self.config["h1"], self.config["h2"]
        first, second = (x + learning_rate * -2.0 * weight * x for x, weight in zip(self.theta, h, strict=True))
        self.theta = first, second


def train(pruner: Pruner, learning_rate: float, seed: int) -> list[float]:
    """Both members step by step, in turn; the best Q of the population after every step."""
    pruner.bind(None, np.random.default_rng(seed))
    members = [Member({"h1": 1.0, "h2": 0.0}), Member({"h1": 0.0, "h2": 1.0})]
    for number, member in enumerate(members):
        pruner.on_start(number, member.config)
    best = []
    for step in range(1, N_STEPS + 1):
        for number, member in enumerate(members):
            member.train(learning_rate)
            decision = pruner.on_report(number, step, -score(member.theta), checkpoint=True)
            if isinstance(decision, Exploit):
                donor = members[decision.donor]
                assert donor.saved is not None, "a donor without a checkpoint was chosen"
                member.theta, member.config = donor.saved, decision.config
            elif isinstance(decision, Continue) and decision.save:
                member.saved = member.theta
        best.append(max(score(member.theta) for member in members))
    return best


def pbt(interval: int) -> Pruner:
    """The paper's setting."""
    return PBT({}, perturbation_interval=interval, custom_explore=additive)


def multiplied(interval: int) -> Pruner:
    """Factors alone: 0 times anything is 0."""
    unit = {name: lambda rng: float(rng.random()) for name in ("h1", "h2")}
    return PBT(unit, perturbation_interval=interval, resample_probability=0.0)


def finals(make: Callable[[], Pruner], learning_rate: float, n_seeds: int) -> list[float]:
    """The best Q at the end, by seed."""
    return [train(make(), learning_rate, seed)[-1] for seed in range(n_seeds)]


def verdict(median: float, paper: float) -> str:
    """How a result compares. The paper's 1.2 is where its figure ends: 90 % of it counts as close.

    Twenty or forty steps of noise are a short random walk for h, so that slow settings end on the way ("short").
    """
    if paper == GRID_SEARCH:
        return "holds" if abs(median - paper) < 0.005 else "missed"
    return "holds" if median > 0.9 * paper else "short" if median > 2 * GRID_SEARCH else "missed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="runs per setting")
    n_seeds = parser.parse_args().seeds
    print(f"{'setting':44}{'paper':>8}{'median':>8}{'worst':>8}{'best':>8}  verdict")
    verdicts = []
    for learning_rate in (0.01, 0.02):
        rows: list[tuple[str, float, Callable[[], Pruner]]] = [
            ("grid search", GRID_SEARCH, NoPruner),
            ("PBT every 5, noise", OPTIMUM, lambda: pbt(5)),
            ("PBT every 10, noise", OPTIMUM, lambda: pbt(10)),
            ("PBT every 5, factors only", GRID_SEARCH, lambda: multiplied(5)),
        ]
        for name, paper, make in rows:
            ends = finals(make, learning_rate, n_seeds)
            median = statistics.median(ends)
            verdicts.append(verdict(median, paper))
            label = f"{name}, learning rate {learning_rate}"
            print(f"{label:44}{paper:8.2f}{median:8.3f}{min(ends):8.3f}{max(ends):8.3f}  {verdicts[-1]}")
    return 1 if "missed" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
