"""ASHA against synchronous halving where jobs are slow or dropped (Li et al. 2020, arXiv 1810.05934, appendix A.1).

    python benchmarks/papers/asha_stragglers.py [--repeats 25] [--jobs 1]

Simulated: eta = 4, r = 1, R = 256, n = 256, 25 workers. A job trains one trial up to one rung, from scratch. It takes
its resource times 1 + |z|, z ~ N(0, sd), and is dropped with probability p per unit of time. Over 2000 units: how many
trials are trained to R, and when the first one is, in the mean over the repeats.

What becomes of a dropped job can be read in two ways, and both are run:

* It runs again. This is the paper's setting: section 3.1 calls synchronous halving sensitive to dropped jobs because
  every configuration of a rung has to complete before the next rung begins. The verdict counts this table, in which
  ASHA has to be ahead in both figures in every cell.
* Its trial is lost: a synchronous rung goes on without it, as if it had come last. Dropped jobs then hold nobody up,
  and what the paper shows of them is not at stake. No verdict hangs on this table, in which ASHA is ahead only where
  few jobs are dropped: a synchronous rung still sends a quarter of all that entered it on, ASHA a quarter of those
  that came back.
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
    """``n_rung`` trials entered its current rung; some still run, some have arrived, some are lost."""

    def __init__(self) -> None:
        self.n_started = 0
        self.n_rung = N
        self.running: set[int] = set()
        self.arrived: list[tuple[float, int]] = []


class SynchronousHalving(Pruner):
    """Brackets of n trials; at a rung all wait for each other, then the best 1/eta go on. A reference, by the book.

    A new bracket opens whenever the ones before it have no job to give, as in the paper: no worker is idle. A trial
    that fails for good counts as arrived, and as the worst.
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
        bracket.running.add(trial)

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        if step >= R:
            return Stop(complete=True)
        bracket = self._bracket_of[trial]
        bracket.arrived.append((value, trial))
        self._leave(bracket, trial)
        return Pause()

    def on_end(self, trial: int, state: TrialState) -> None:
        bracket = self._bracket_of.pop(trial)
        if trial in bracket.running:
            self._leave(bracket, trial)

    def _leave(self, bracket: _Bracket, trial: int) -> None:
        bracket.running.remove(trial)
        if bracket.running or bracket.n_started < N:
            return
        ranked, bracket.arrived = sorted(bracket.arrived), []
        bracket.n_rung //= ETA
        best, others = ranked[: bracket.n_rung], ranked[bracket.n_rung :]
        bracket.running.update(trial for _, trial in best)
        self._ready.extend(trial for _, trial in best)
        self._dropped.extend(trial for _, trial in others)

    def next_resume(self, more: bool = True) -> int | None:
        return self._ready.popleft() if self._ready else None

    def take_dropped(self) -> list[int]:
        dropped, self._dropped = self._dropped, []
        return dropped


class Outcome(NamedTuple):
    """What one run did: trials trained to R, and the moment of the first (the end of the run where there is none)."""

    n_full: int
    first: float


def run(method: str, sd: float, drop: float, seed: int, *, is_lost: bool = False) -> Outcome:
    """One run of 2000 units. ``is_lost``: the trial of a dropped job is lost, where it would otherwise run again."""
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
        Loop(study, executor, None, Rules(timeout_s=UNITS, max_failures=0 if is_lost else 1_000_000)).run()
    return Outcome(len(moments), min(moments, default=UNITS))


def cell(sd: float, drop: float, repeats: int, is_lost: bool = False) -> dict[str, tuple[float, float]]:
    """Mean number of fully trained trials and mean moment of the first, per method."""
    means = {}
    for method in ("ASHA", "synchronous"):
        outcomes = [run(method, sd, drop, seed, is_lost=is_lost) for seed in range(repeats)]
        means[method] = (
            statistics.fmean(outcome.n_full for outcome in outcomes),
            statistics.fmean(outcome.first for outcome in outcomes),
        )
    return means


def leads(means: Mapping[str, tuple[float, float]]) -> tuple[bool, bool]:
    """Whether ASHA trains more trials to R, and whether it has the first one sooner."""
    (ours, ours_first), (theirs, theirs_first) = means["ASHA"], means["synchronous"]
    return ours > theirs, ours_first < theirs_first


def is_ahead(means: Mapping[str, tuple[float, float]]) -> bool:
    """ASHA trains more trials to R, and the first one sooner."""
    return all(leads(means))


def print_table(pool: ProcessPoolExecutor, repeats: int, *, is_lost: bool) -> bool:
    """Runs all cells, prints a line for each as it comes, and returns whether ASHA is ahead in all of them."""
    print(f"{'sd':>5}{'p':>8}{'ASHA':>9}{'SHA':>8}{'ASHA':>10}{'SHA':>9}  ASHA ahead in")
    cells = [(sd, drop, repeats, is_lost) for sd in SDS for drop in DROPS]
    n_more = n_sooner = n_both = 0
    for (sd, drop, *_), means in zip(cells, pool.map(cell, *zip(*cells, strict=True)), strict=True):
        more, sooner = leads(means)
        n_more, n_sooner, n_both = n_more + more, n_sooner + sooner, n_both + (more and sooner)
        where = {(True, True): "both", (True, False): "number", (False, True): "time"}.get((more, sooner), "neither")
        (ours, ours_first), (theirs, theirs_first) = means["ASHA"], means["synchronous"]
        print(f"{sd:5.2f}{drop:8.4f}{ours:9.1f}{theirs:8.1f}{ours_first:10.0f}{theirs_first:9.0f}  {where}", flush=True)
    print(f"of {len(cells)} cells ASHA is ahead in number in {n_more}, in time in {n_sooner}, in both in {n_both}")
    return n_both == len(cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25, help="runs per cell, method and reading")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args()
    print("trials trained to R in 2000 units, and the moment of the first; paper: ASHA ahead everywhere\n")
    with ProcessPoolExecutor(given.jobs) as pool:
        print("a dropped job runs again (the paper's setting)")
        holds = print_table(pool, given.repeats, is_lost=False)
        print(f"verdict: {'holds' if holds else 'missed'}\n")
        print("the trial of a dropped job is lost (for information)")
        print_table(pool, given.repeats, is_lost=True)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
