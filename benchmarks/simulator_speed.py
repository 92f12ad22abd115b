"""How fast simulated experiments run through tuneflow's own Loop, Study and in-memory storage, and what they take.

ASHA, eta = 4, r = 1, R = 256, random search over two parameters, in its stopping and in its promotion form. This is the
hardest setting: four reports per trial on average, so that a report carries a quarter of what starting and ending a
trial costs. Each measurement is a process of its own; processor time counts, not the wall clock.

Syne Tune's simulator runs the same curves, as many workers and trials as it finishes in about a minute; ours runs the
same numbers beside it. It scans its queue at every stop, and with 500 workers takes minutes for a thousand trials.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import harness

N_WORKERS, N_TRIALS = 500, 100_000
FLOOR = 30_000.0

FORMS = ("stopping", "promotion")
PEERS = (
    # name, environment, form of ASHA
    ("Syne Tune", "bench", "stopping"),
    ("Syne Tune 0.13", "syne013", "stopping"),
    ("Syne Tune 0.13", "syne013", "promotion"),
)
PEER_SIZES = {
    # workers: trials
    20: (500, 2_000, 5_000),
    100: (1_000,),
}


class Speed(NamedTuple):
    """Reports and trials of one run, its seconds of processor time, and by how much it let the process grow."""

    n_reports: int
    n_trials: int
    seconds: float
    growth_bytes: int

    @property
    def per_second(self) -> float:
        return self.n_reports / self.seconds

    @property
    def us_per_report(self) -> float:
        return 1e6 / self.per_second


def curve(config: Mapping[str, float], step: int) -> float:
    return config["x"] + (1 + config["y"]) / step


def simulate(form: str, n_workers: int, n_trials: int) -> Speed:
    """One experiment with one of the FORMS."""
    import optuna

    import tuneflow as tune
    from tuneflow.pruners import ASHA

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    study = tune.create_study(space, sampler="random", pruner=ASHA(256, promote=form == "promotion"), seed=0)
    executor = tune.SimulatedExecutor(n_workers, curve, max_steps=256)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    study.optimize(None, n_trials=n_trials, executor=executor, show_progress_bar=False)
    seconds = time.process_time() - start
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    trials = study.optuna.get_trials(deepcopy=False)
    unit = 1 if sys.platform == "darwin" else 1024
    return Speed(sum(len(trial.intermediate_values) for trial in trials), len(trials), seconds, growth * unit)


def apart(form: str, n_workers: int, n_trials: int) -> Speed:
    """The same in a fresh process, so that memory is that of this run alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(simulate, form, n_workers, n_trials).result()


def measure(report: harness.Report, quick: bool) -> None:
    n_trials = N_TRIALS // 10 if quick else N_TRIALS
    for form in FORMS:
        speed = apart(form, N_WORKERS, n_trials)
        what = f"ASHA, {form}, {N_WORKERS} workers, {n_trials:,} trials"
        report.add(
            harness.at_least(f"reports per second: {what}", speed.per_second, FLOOR, "/s"),
            harness.note(f"memory per trial: {what}", speed.growth_bytes / n_trials, "bytes"),
        )
    for form in FORMS:
        workers = [20, 500, 5000]
        by_workers = [apart(form, n, 20_000).us_per_report for n in workers]
        report.curve(f"µs per report by workers, {form}", workers, {"tuneflow": by_workers})
        trials = [10_000, 20_000] if quick else [10_000, 30_000, 100_000]
        by_trials = [apart(form, N_WORKERS, n).us_per_report for n in trials]
        report.curve(f"µs per report by trials, {form}", trials, {"tuneflow": by_trials})
        report.add(
            harness.at_most(
                f"growth with workers, {form}: exponent", harness.growth_exponent(workers, by_workers), 0.1, ""
            ),
            harness.at_most(
                f"growth with trials, {form}: exponent", harness.growth_exponent(trials, by_trials), 0.1, ""
            ),
        )
    for n_workers, sizes in PEER_SIZES.items():
        compare(report, n_workers, sizes[:1] if quick else sizes)


def compare(report: harness.Report, n_workers: int, sizes: Sequence[int]) -> None:
    """Ours and Syne Tune's, side by side."""
    ours = {form: [apart(form, n_workers, n) for n in sizes] for form in FORMS}
    curves: dict[str, list[float | None]] = {
        f"tuneflow, {form}": [speed.per_second for speed in speeds] for form, speeds in ours.items()
    }
    for name, environment, form in PEERS:
        options = [form, str(n_workers), *map(str, sizes)]
        answer = harness.peer("syne_simulator", *options, needs="syne_tune", environment=environment)
        theirs = None if answer is None else [run["reports"] / run["seconds"] for run in answer["runs"]]
        curves[f"{name}, {form}"] = [None] * len(sizes) if theirs is None else theirs
        claim = f"a simulated report: ASHA, {form}, {n_workers} workers, {sizes[-1]:,} trials"
        their_us = None if theirs is None else 1e6 / theirs[-1]
        report.add(harness.against(claim, ours[form][-1].us_per_report, name, their_us, 1.0, "µs"))
        if theirs is not None:
            ratios = [mine.per_second / other for mine, other in zip(ours[form], theirs, strict=True)]
            report.remark(
                f"{n_workers} workers, {form}, {', '.join(f'{n:,}' for n in sizes)} trials: ours makes "
                f"{', '.join(f'{ratio:.0f}' for ratio in ratios)} times as many reports per second as {name}"
            )
    report.curve(f"reports per second by trials, {n_workers} workers", sizes, curves)


if __name__ == "__main__":
    sys.exit(harness.main(measure))
