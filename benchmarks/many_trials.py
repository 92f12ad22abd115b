"""Ten thousand short trials in one experiment: what the driver's memory grows by, and whether it slows down."""

from __future__ import annotations

import itertools
import resource
import sys
import tempfile
import time
from pathlib import Path

import harness

N_TRIALS = 10_000
N_REPORTS = 3


def train(config: dict[str, float]) -> None:
    import tuneflow as tune

    for step in range(1, N_REPORTS + 1):
        tune.report(loss=config["x"] / step)


def resident_bytes() -> float:
    """Of this process, now; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak * (1 if sys.platform == "darwin" else 1024))
    return float(pages * resource.getpagesize())


def measure(report: harness.Report, quick: bool) -> None:
    import tuneflow as tune

    n_trials = N_TRIALS // 5 if quick else N_TRIALS
    moments: list[tuple[int, float, float]] = []

    class Watch(tune.callbacks.Callback):
        n_ended = 0

        def on_trial_end(self, trial: object) -> None:
            self.n_ended += 1
            if self.n_ended % (n_trials // 20) == 0:
                moments.append((self.n_ended, time.perf_counter(), resident_bytes()))

    with tempfile.TemporaryDirectory() as scratch:
        tune.run(
            train, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=n_trials, name="many",
            storage_path=scratch, search_alg="random", scheduler=tune.pruners.ASHA(N_REPORTS + 1), verbose=0, seed=0,
            callbacks=[Watch()],
        )  # fmt: skip
    tune.shutdown_workers()
    n_first, _, memory_first = moments[1]  # what is allocated once is there by then
    n_last, _, memory_last = moments[-1]
    speeds = [(n2 - n1) / (t2 - t1) for (n1, t1, _), (n2, t2, _) in itertools.pairwise(moments)]
    first, last = (sorted(part)[len(part) // 2] for part in (speeds[:5], speeds[-5:]))
    what = f"{n_trials:,} trials x {N_REPORTS} reports"
    report.add(
        harness.at_most(f"memory of the driver per trial, {what}", (memory_last - memory_first) / (n_last - n_first),
                        5_000, "bytes"),
        harness.at_least(f"trials per second at the end, of those at the start, {what}", last / first, 0.8, ""),
        harness.note(f"trials per second at the start, {what}", first, "/s"),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(harness.main(measure))
