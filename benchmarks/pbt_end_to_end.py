"""A PBT run from end to end: 8 members x 50 steps of 1 ms, a decision every 5 steps, two slots.

The trainable is a class with checkpoints that takes another configuration over without being built anew. Workers are
warm on our side; on Ray's, ``ray.init`` and a first run are left out and actors are reused. Either side writes its
usual files. The best of the repeats counts, on either side: other work on the machine only ever adds time.
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
from tuneflow.pruners import PBT

N_MEMBERS, N_STEPS, INTERVAL = 8, 50, 5
MAX_S = 2.0


class Walk(workloads.Walk, tune.Trainable):
    pass


class Counter(tune.callbacks.Callback):
    """Counts exploits."""

    def __init__(self) -> None:
        self.n = 0

    def on_trial_exploit(self, trial: object, decision: object) -> None:
        self.n += 1


def seconds(folder: Path, name: str, n_members: int, n_steps: int) -> tuple[float, int]:
    """Seconds of one run, and how many exploits there were.

    Raises:
        RuntimeError: a member has not run each of its steps once.
    """
    counter = Counter()
    start = time.perf_counter()
    analysis = tune.run(
        Walk,
        {"lr": tune.uniform(0.0, 0.2)},
        metric="loss",
        mode="min",
        num_samples=n_members,
        scheduler=PBT({"lr": tune.uniform(0.0, 0.2)}, n_members, INTERVAL),
        search_alg="random",
        stop={"training_iteration": n_steps},
        max_concurrent_trials=2,
        callbacks=[counter],
        name=name,
        storage_path=folder,
        verbose=0,
        seed=0,
    )
    taken = time.perf_counter() - start
    for trial in analysis.trials:
        lines = Path(trial.logdir, "result.json").read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line)["training_iteration"] for line in lines]
        if steps != list(range(1, n_steps + 1)):
            raise RuntimeError(f"trial {trial.trial_id} has run steps {steps}, not 1 to {n_steps}")
    return taken, counter.n


def measure(report: harness.Report, quick: bool) -> None:
    warnings.simplefilter("ignore")
    repeats = 1 if quick else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds(folder, "warm", 2, INTERVAL)
        runs = [seconds(folder, f"run{i}", N_MEMBERS, N_STEPS) for i in range(repeats)]
    tune.shutdown_workers()
    taken = min(run for run, _ in runs)
    peer = harness.peer("ray_pbt", "--repeats", str(repeats), needs="ray")
    claim = f"PBT, {N_MEMBERS} members x {N_STEPS} steps of 1 ms, every {INTERVAL} steps, two slots"
    report.add(harness.at_most(claim, taken, MAX_S, "s"))
    theirs = None if peer is None else min(peer["seconds"])
    report.add(harness.against(claim, taken, "Ray Tune, reuse_actors=True", theirs, 1.0, "s"))
    report.remark(f"seconds of each run: ours {', '.join(f'{run:.2f}' for run, _ in runs)}")
    report.remark(f"exploits in each run: ours {', '.join(str(count) for _, count in runs)}")
    if peer is not None:
        report.remark(f"seconds of each run: Ray {', '.join(f'{run:.2f}' for run in peer['seconds'])}")
        report.remark(f"exploits in each run: Ray {', '.join(map(str, peer['exploits']))}")


if __name__ == "__main__":
    sys.exit(harness.main(measure))
