"""What ``tune.run`` adds to trials that do nothing: 100 trials x 10 reports on two slots, against Ray Tune.

A class that takes another configuration over, random search, the files that either side writes by default. Our workers
are warm; on Ray's side ``ray.init`` and a first run are left out and actors are reused. The best of the repeats counts,
on either side: other work on the machine only ever adds time.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import harness
import workloads

import tuneflow as tune

N_REPORTS = 10
MIN_SPEEDUP = 15.0


class Trivial(workloads.Trivial, tune.Trainable):
    pass


def seconds(folder: Path, name: str, n_trials: int) -> float:
    """Seconds of one run.

    Raises:
        RuntimeError: a trial has not made each of its reports once.
    """
    start = time.perf_counter()
    analysis = tune.run(
        Trivial,
        {"x": tune.uniform(0.0, 1.0)},
        metric="loss",
        mode="min",
        num_samples=n_trials,
        search_alg="random",
        stop={"training_iteration": N_REPORTS},
        max_concurrent_trials=2,
        name=name,
        storage_path=folder,
        verbose=0,
    )
    taken = time.perf_counter() - start
    for trial in analysis.trials:
        lines = Path(trial.logdir, "result.json").read_text(encoding="utf-8").splitlines()
        reports = [json.loads(line)["training_iteration"] for line in lines]
        if reports != list(range(1, N_REPORTS + 1)):
            raise RuntimeError(f"trial {trial.trial_id} has made reports {reports}, not 1 to {N_REPORTS}")
    return taken


def measure(report: harness.Report, quick: bool) -> None:
    warnings.simplefilter("ignore")
    n_trials, repeats = (20, 1) if quick else (100, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds(folder, "warm", 4)
        runs = [seconds(folder, f"run{i}", n_trials) for i in range(repeats)]
    tune.shutdown_workers()
    taken = min(runs)
    peer = harness.peer("ray_overhead", "--trials", str(n_trials), "--repeats", str(repeats), needs="ray")
    theirs = None if peer is None else min(peer["seconds"])
    claim = f"tune.run, {n_trials} trivial trials x {N_REPORTS} reports, two slots"
    report.add(harness.against(claim, taken, "Ray Tune, reuse_actors=True", theirs, 1 / MIN_SPEEDUP, "s"))
    report.remark(f"seconds of each run: ours {', '.join(f'{run:.2f}' for run in runs)}")
    if peer is not None:
        report.remark(f"seconds of each run: Ray {', '.join(f'{run:.2f}' for run in peer['seconds'])}")


if __name__ == "__main__":
    sys.exit(harness.main(measure))
