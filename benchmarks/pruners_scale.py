"""What our pruners' decisions cost at and between rungs, and whether that grows with the number of trials known.

Each figure is the median time of one ``on_report`` in microseconds, with that many trials known before. What others
take for the same, and what PBT takes at its interval, stands in ``pruner_decisions.py``.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import harness

from tuneflow.pruners import ASHA, PB2, PBT, HyperBand, MedianStopping, NoPruner, Pause, Pruner

SIZES = (100, 1_000, 10_000, 100_000)
FLAT = 0.2
"""Growth exponent still called flat: log n alone gives 0.13 between 100 and 100,000."""


def known(pruner: Pruner, n: int, steps: list[int], random_: random.Random) -> None:
    """Lets ``n`` trials report at ``steps`` until they are stopped, and end.

    A paused one is left paused, and the members of a population live on.
    """
    from optuna.trial import TrialState

    for trial in range(n):
        pruner.on_start(trial, {})
        for step in steps:
            decision = pruner.on_report(trial, step, random_.random(), False)
            if decision.should_stop:
                break
        if not (isinstance(decision, Pause) or pruner.needs_checkpoints):
            pruner.on_end(trial, TrialState.PRUNED)
    for trial in pruner.take_dropped():
        pruner.on_end(trial, TrialState.PRUNED)


def timed(pruner: Pruner, n: int, before: list[int], step: int, random_: random.Random) -> float:
    """Median µs of the report at ``step`` of fresh trials, each of which has reported at ``before``."""
    samples = []
    for trial in range(n, n + max(100, min(2_000, n))):
        pruner.on_start(trial, {})
        for early in before:
            pruner.on_report(trial, early, random_.random(), False)
        value = random_.random()
        start = time.perf_counter_ns()
        pruner.on_report(trial, step, value, False)
        samples.append(time.perf_counter_ns() - start)
    return statistics.median(samples) / 1_000


class Case(NamedTuple):
    """A report that is timed, and the microseconds that it may take.

    Attributes:
        make: the pruner.
        known: steps at which the trials known have reported.
        before: steps at which the trial itself has.
        step: the step of the timed report.
        limit_us: what has to hold with the most trials known.
    """

    make: Callable[[], Pruner]
    known: list[int]
    before: list[int]
    step: int
    limit_us: float


CASES = {
    "NoPruner": Case(NoPruner, [1], [], 1, 1.0),
    "ASHA stopping, between rungs": Case(lambda: ASHA(256, min_resource=2), [2], [], 1, 1.0),
    "ASHA stopping, at a rung": Case(lambda: ASHA(256, min_resource=2), [2], [1], 2, 5.0),
    "ASHA promotion, between rungs": Case(lambda: ASHA(256, min_resource=2, promote=True), [2], [], 1, 1.0),
    "ASHA promotion, at a rung": Case(lambda: ASHA(256, min_resource=2, promote=True), [2], [1], 2, 5.0),
    "HyperBand, between rungs": Case(lambda: HyperBand(3**10), [1], [], 0, 5.0),
    "HyperBand, at a rung": Case(lambda: HyperBand(3**10), [1], [], 1, 5.0),
    "HyperBand, at a rung, narrow brackets": Case(lambda: HyperBand(9), [1], [], 3, 5.0),
    "MedianStopping": Case(lambda: MedianStopping(min_samples_required=3), [1, 2, 3], [], 1, 10.0),
    "MedianStopping, within grace": Case(lambda: MedianStopping(grace_period=2), [1, 2, 3], [], 1, 10.0),
    "PBT, between intervals": Case(lambda: PBT({"lr": [0.1, 0.2]}), [1], [1], 2, 20.0),
    "PB2, between intervals": Case(lambda: PB2({"lr": (0.1, 0.2)}), [1], [1], 2, 20.0),
}


def measure(report: harness.Report, quick: bool) -> None:
    sizes = SIZES[:-1] if quick else SIZES
    curves: dict[str, list[float]] = {}
    for name, case in CASES.items():
        curves[name] = []
        for n in sizes:
            random_ = random.Random(0)
            pruner = case.make()
            known(pruner, n, case.known, random_)
            curves[name].append(timed(pruner, n, case.before, case.step, random_))
        growth = harness.growth_exponent(sizes, curves[name])
        report.add(
            harness.at_most(f"{name}: on_report at {sizes[-1]:,} trials", curves[name][-1], case.limit_us, "µs"),
            harness.at_most(f"{name}: growth from {sizes[0]:,} to {sizes[-1]:,} trials", growth, FLAT, ""),
        )
    report.curve("µs per on_report", sizes, curves)


if __name__ == "__main__":
    sys.exit(harness.main(measure))
