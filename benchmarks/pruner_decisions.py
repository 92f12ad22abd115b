"""What one pruning decision costs, by the number of trials that came before: ours, Optuna's, Ray Tune's, Syne Tune's.

A decision is one report of a running trial, answered:

* ASHA: a new trial's first report at the bottom rung, where every earlier trial has been recorded.
* median: a new trial's report at step 1, where every earlier trial has reported.
* HyperBand: a report at a milestone, and the question who takes the free slot, one slot being driven.
* PBT: a member's report at its interval; the population holds all trials.

Every system is called at the point where its own driver calls it. Ours and Syne Tune 0.13 are filled by their own
interface; where a peer needs quadratic time for that, its records are filled in as its own method would have left them.
What trials and drivers cost themselves is left out everywhere.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import harness

SIZES = (100, 1_000, 10_000, 100_000)
QUICK_SIZES = (100, 1_000, 10_000)
PEERS = {
    # script, what it needs, environment
    "Optuna": ("optuna_pruners", "optuna", "bench"),
    "Ray Tune": ("ray_pruners", "ray", "bench"),
    "Syne Tune": ("syne_pruners", "syne_tune", "bench"),
    "Syne Tune 0.13": ("syne013_pruners", "syne_tune", "syne013"),
}
LIMITS_US = {"ASHA": 5.0, "ASHA promotion": 5.0, "median": 10.0, "HyperBand": 5.0, "PBT": 20.0}
FLAT = 0.2
"""Growth exponent still called flat: log n alone gives 0.13 between 100 and 100,000."""


def asha_us(size: int, budget_s: float) -> float:
    from tuneflow.pruners import ASHA

    return _at_step_one_us(ASHA(max_resource=256, min_resource=1, reduction_factor=4), size, budget_s)


def median_us(size: int, budget_s: float) -> float:
    from tuneflow.pruners import MedianStopping

    return _at_step_one_us(MedianStopping(grace_period=1, min_samples_required=3), size, budget_s)


def _at_step_one_us(pruner, size: int, budget_s: float) -> float:
    import numpy as np
    from optuna.trial import TrialState

    rng = random.Random(0)
    pruner.bind(None, np.random.default_rng(0))
    for trial in range(size):
        pruner.on_start(trial, {})
        decision = pruner.on_report(trial, 1, rng.random(), False)
        pruner.on_end(trial, TrialState.PRUNED if decision.should_stop else TrialState.COMPLETE)

    def prepare(number: int) -> tuple[int, float]:
        pruner.on_start(size + number, {})
        return size + number, rng.random()

    return harness.microseconds_each(
        prepare, lambda given: pruner.on_report(given[0], 1, given[1], False), budget_s=budget_s
    )


def asha_promotion_us(size: int, budget_s: float) -> float:
    """The promotion form: a report at a rung, and the question whom to resume. One slot, trials resumed as told."""
    import numpy as np

    from tuneflow.pruners import ASHA

    rng = random.Random(0)
    pruner = ASHA(max_resource=256, min_resource=1, reduction_factor=4, promote=True)
    pruner.bind(None, np.random.default_rng(0))
    return _one_slot_us(pruner, lambda _: 1, 4, rng, size, budget_s)


def hyperband_us(size: int, budget_s: float) -> float:
    import numpy as np

    from tuneflow.pruners import HyperBand

    rng = random.Random(0)
    pruner = HyperBand(max_resource=81, reduction_factor=3)
    pruner.bind(None, np.random.default_rng(0))
    # Brackets of R=81 as they are filled: how many trials, and where each has its first milestone.
    first_milestones = [m for n, m in ((81, 1), (34, 3), (15, 9), (8, 27), (5, 81)) for _ in range(n)]
    return _one_slot_us(pruner, lambda trial: first_milestones[trial % 143], 3, rng, size, budget_s)


def _one_slot_us(pruner, first_milestone: Callable[[int], int], factor: int, rng, size: int, budget_s: float) -> float:
    """Drives ``pruner`` with one slot, a report at every milestone, and times it once ``size`` trials were started."""
    from optuna.trial import TrialState

    at: dict[int, int] = {}
    current: int | None = None

    def prepare(_: int) -> tuple[int, int, float]:
        nonlocal current
        if current is None:
            current = len(at)
            pruner.on_start(current, {})
        at[current] = at[current] * factor if current in at else first_milestone(current)
        return current, at[current], rng.random()

    def decide(given: tuple[int, int, float]) -> None:
        nonlocal current
        trial, step, value = given
        decision = pruner.on_report(trial, step, value, True)
        if not decision.should_stop:
            return
        if hasattr(decision, "complete"):
            pruner.on_end(trial, TrialState.COMPLETE if decision.complete else TrialState.PRUNED)
        current = pruner.next_resume()
        for dropped in pruner.take_dropped():
            pruner.on_end(dropped, TrialState.PRUNED)
        if current is not None:
            pruner.on_resume(current)

    while len(at) < size:
        decide(prepare(0))
    return harness.microseconds_each(prepare, decide, budget_s=budget_s)


def pbt_us(size: int, budget_s: float) -> float:
    import numpy as np

    import tuneflow
    from tuneflow.pruners import PBT

    rng = random.Random(0)
    pruner = PBT({"lr": tuneflow.uniform(0.0, 1.0)}, perturbation_interval=5)
    pruner.bind(None, np.random.default_rng(0))
    at = [5] * size
    for trial in range(size):
        pruner.on_start(trial, {"lr": 0.1})
        pruner.on_report(trial, 5, rng.random(), True)

    def prepare(number: int) -> tuple[int, int, float]:
        at[number % size] += 5
        return number % size, at[number % size], rng.random()

    return harness.microseconds_each(
        prepare, lambda given: pruner.on_report(given[0], given[1], given[2], True), budget_s=budget_s
    )


OURS = {
    "ASHA": asha_us,
    "ASHA promotion": asha_promotion_us,
    "median": median_us,
    "HyperBand": hyperband_us,
    "PBT": pbt_us,
}


def measure(report: harness.Report, quick: bool) -> None:
    sizes = QUICK_SIZES if quick else SIZES
    budget_s = 0.2 if quick else 1.0
    peers = {}
    for name, (script, needs, environment) in PEERS.items():
        options = [*map(str, sizes), "--budget", str(budget_s)]
        answer = harness.peer(script, *options, needs=needs, environment=environment)
        peers[name] = answer["curves"] if answer else None
        report.remark(f"{name}: version {answer['version']}" if answer else f"{name}: not installed")
    for method, measure_us in OURS.items():
        ours = [measure_us(size, budget_s) for size in sizes]
        curves = {"tuneflow": ours}
        claim = f"{method}: a decision at {sizes[-1]:,} trials"
        report.add(
            harness.at_most(claim, ours[-1], LIMITS_US[method], "µs"),
            harness.at_most(
                f"{method}: growth from {sizes[0]:,} to {sizes[-1]:,} trials (0 flat, 1 linear)",
                harness.growth_exponent(sizes, ours), FLAT, "",
            ),
        )  # fmt: skip
        for name, theirs in peers.items():
            if theirs is not None and method not in theirs:
                continue  # that peer has no such method
            curve = theirs[method] if theirs else None
            if curve:
                curves[name] = curve
            elif method not in ("ASHA", "median"):
                continue
            at_largest = curve[-1] if curve else None
            report.add(harness.against(claim, ours[-1], name, at_largest, 1.0, "µs"))
        report.curve(f"{method}, µs per decision", sizes, curves)


if __name__ == "__main__":
    sys.exit(harness.main(measure))
