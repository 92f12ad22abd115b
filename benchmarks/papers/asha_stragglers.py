"""ASHA against synchronous halving where jobs are slow or dropped (Li et al. 2020, arXiv 1810.05934, appendix A.1).

    python benchmarks/papers/asha_stragglers.py [--repeats 25] [--jobs 1]

Simulated: eta = 4, r = 1, R = 256, n = 256, 25 workers. A job trains one trial up to one rung, from scratch. It takes
its resource times 1 + |z|, z ~ N(0, sd), and is dropped with probability p per unit of time; a dropped job runs again,
since a synchronous rung is complete only when all its jobs are. Over 2000 units: how many trials are trained to R, and
when the first one is. ASHA has to be ahead in both, in the mean over the repeats, in every cell.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from optuna.trial import TrialState

import tuneflow as tune
from tuneflow.errors import TuneflowWarning
from tuneflow.pruners import ASHA, Decision, Pause, Pruner, Stop
from tuneflow.runner.loop import Loop
from tuneflow.runner.rules import Rules

ETA, R, N, N_WORKERS, UNITS = 4, 256, 256, 25, 2000.0
RUNGS = [1, 4, 16, 64]
SDS = (0.10, 0.24, 0.56, 1.33)
DROPS = (0.0, 0.0025, 0.005, 0.0075, 0.01)


class _Bracket:
    def __init__(self) -> None:
        self.n_started = self.n_running = 0
        self.arrived: list[tuple[float, int]] = []


class SynchronousHalving(Pruner):
    """Brackets of n trials; at a rung all wait for each other, then the best 1/eta go on. A reference, by the book.

    A new bracket opens whenever the ones before it have no job to give, as in the paper: no worker is idle.
    """

    def __init__(self) -> None:
        self._bracket_of: dict[int, _Bracket] = {}
        self._filling = _Bracket()
        self._ready: deque[int] = deque()
        self._dropped: list[int] = []

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:
        if self._filling.n_started == N:
            self._filling = _Bracket()
        bracket = self._bracket_of[trial] = self._filling
        bracket.n_started += 1
        bracket.n_running += 1

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        if step >= R:
            return Stop(complete=True)
        bracket = self._bracket_of[trial]
        bracket.n_running -= 1
        bracket.arrived.append((value, trial))
        if bracket.n_started == N and not bracket.n_running:
            self._decide(bracket)
        return Pause()

    def on_end(self, trial: int, state: TrialState) -> None:
        del self._bracket_of[trial]

    def _decide(self, bracket: _Bracket) -> None:
        ranked, bracket.arrived = sorted(bracket.arrived), []
        n_best = bracket.n_running = len(ranked) // ETA
        self._ready.extend(trial for _, trial in ranked[:n_best])
        self._dropped.extend(trial for _, trial in ranked[n_best:])

    def next_resume(self, more: bool = True) -> int | None:
        return self._ready.popleft() if self._ready else None

    def take_dropped(self) -> list[int]:
        dropped, self._dropped = self._dropped, []
        return dropped


class Outcome(NamedTuple):
    """What one run did: trials trained to R, and the moment of the first (the end of the run where there is none)."""

    n_full: int
    first: float


def run(method: str, sd: float, drop: float, seed: int) -> Outcome:
    """One run of 2000 units."""
    moments: list[float] = []

    def curve(config: dict[str, float], step: int) -> float:
        if step == R:
            moments.append(executor.clock.monotonic())
        return config["loss"]

    executor = tune.SimulatedExecutor(
        N_WORKERS, curve, max_steps=R, report_every=RUNGS, straggle=sd, drop_rate=drop, checkpoints=False, seed=seed
    )
    pruner = ASHA(R, reduction_factor=ETA, promote=True) if method == "ASHA" else SynchronousHalving()
    study = tune.create_study({"loss": tune.uniform(0, 1)}, sampler="random", pruner=pruner, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TuneflowWarning)  # jobs train from scratch: it is meant
        Loop(study, executor, None, Rules(timeout_s=UNITS, max_failures=1_000_000)).run()
    return Outcome(len(moments), min(moments, default=UNITS))


def cell(sd: float, drop: float, repeats: int) -> dict[str, tuple[float, float]]:
    """Mean number of fully trained trials and mean moment of the first, per method."""
    means = {}
    for method in ("ASHA", "synchronous"):
        outcomes = [run(method, sd, drop, seed) for seed in range(repeats)]
        means[method] = (
            statistics.fmean(outcome.n_full for outcome in outcomes),
            statistics.fmean(outcome.first for outcome in outcomes),
        )
    return means


def is_ahead(means: Mapping[str, tuple[float, float]]) -> bool:
    """ASHA trains more trials to R, and the first one sooner."""
    (ours, ours_first), (theirs, theirs_first) = means["ASHA"], means["synchronous"]
    return ours > theirs and ours_first < theirs_first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25, help="runs per cell and method")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args()
    cells = [(sd, drop) for sd in SDS for drop in DROPS]
    print("trials trained to R in 2000 units, and the moment of the first; paper: ASHA ahead everywhere")
    print(f"{'sd':>5}{'p':>8}{'ASHA':>9}{'SHA':>8}{'ASHA':>10}{'SHA':>9}  verdict")
    verdicts = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for (sd, drop), means in zip(
            cells, pool.map(cell, *zip(*cells, strict=True), [given.repeats] * len(cells)), strict=True
        ):
            verdicts.append("holds" if is_ahead(means) else "missed")
            (ours, ours_first), (theirs, theirs_first) = means["ASHA"], means["synchronous"]
            print(
                f"{sd:5.2f}{drop:8.4f}{ours:9.1f}{theirs:8.1f}{ours_first:10.0f}{theirs_first:9.0f}  {verdicts[-1]}",
                flush=True,
            )
    return 1 if "missed" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
