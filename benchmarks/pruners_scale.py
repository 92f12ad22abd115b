"""What our pruners' decisions cost at and between rungs, and whether that grows with the number of trials known.

Each figure is the median time of one ``on_report`` in microseconds, with that many trials known before. What others
take for the same stands in ``pruner_decisions.py``.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

import harness

from tuneflow.pruners import ASHA, HyperBand, MedianStopping, NoPruner, Pause, Pruner

SIZES = (100, 1_000, 10_000, 100_000)
FLAT = 0.2
"""Growth exponent still called flat: log n alone gives 0.13 between 100 and 100,000."""


def known(pruner: Pruner, n: int, steps: list[int], random_: random.Random) -> None:
    """Lets ``n`` trials report at ``steps`` until they are stopped, and end; a paused one is left paused."""
    from optuna.trial import TrialState

    for trial in range(n):
        pruner.on_start(trial, {})
        for step in steps:
            decision = pruner.on_report(trial, step, random_.random(), False)
            if decision.should_stop:
                break
        if not isinstance(decision, Pause):
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


CASES: dict[str, tuple[Callable[[], Pruner], list[int], list[int], int]] = {
    # name: (pruner, steps of the trials known, steps before the timed one, the timed step)
    "NoPruner": (NoPruner, [1], [], 1),
    "ASHA stopping, between rungs": (lambda: ASHA(256, min_resource=2), [2], [], 1),
    "ASHA stopping, at a rung": (lambda: ASHA(256, min_resource=2), [2], [1], 2),
    "ASHA promotion, between rungs": (lambda: ASHA(256, min_resource=2, promote=True), [2], [], 1),
    "ASHA promotion, at a rung": (lambda: ASHA(256, min_resource=2, promote=True), [2], [1], 2),
    "HyperBand, between rungs": (lambda: HyperBand(3**10), [1], [], 0),
    "HyperBand, at a rung": (lambda: HyperBand(3**10), [1], [], 1),
    "HyperBand, at a rung, narrow brackets": (lambda: HyperBand(9), [1], [], 3),
    "MedianStopping": (lambda: MedianStopping(min_samples_required=3), [1, 2, 3], [], 1),
    "MedianStopping, within grace": (lambda: MedianStopping(grace_period=2), [1, 2, 3], [], 1),
}


def measure(report: harness.Report, quick: bool) -> None:
    sizes = SIZES[:-1] if quick else SIZES
    curves: dict[str, list[float]] = {}
    for name, (make, steps, before, step) in CASES.items():
        curves[name] = []
        for n in sizes:
            random_ = random.Random(0)
            pruner = make()
            known(pruner, n, steps, random_)
            curves[name].append(timed(pruner, n, before, step, random_))
        claim = f"{name}: growth from {sizes[0]:,} to {sizes[-1]:,} trials (0 flat, 1 linear)"
        report.add(harness.at_most(claim, harness.growth_exponent(sizes, curves[name]), FLAT, ""))
    report.curve("µs per on_report", sizes, curves)


if __name__ == "__main__":
    sys.exit(harness.main(measure))
