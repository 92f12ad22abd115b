"""HyperModels against KerasTuner: the same space and summaries, and what a trivial trial costs, early and late.

Both sides get the same HyperModel classes (``peers/hypermodels.py``), a Keras model that is made and not trained,
random search, and write what they write by default. KerasTuner's cost per trial grows with their number and is far
higher: it runs fewer, which is in its favour.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import contextlib
import io
import itertools
import re
import statistics
import sys
import tempfile
import time
import warnings
from typing import Any

import harness

sys.path.insert(0, str(harness.PEERS))

import hypermodels
import psutil

import tuneflow as tune

MIN_SPEEDUP = 3.0
MAX_GROWTH = 1.5
MAX_MEMORY_GROWTH_MB = 20.0


def summaries(folder: str) -> dict[str, str]:
    tuner = tune.RandomSearch(
        hypermodels.scoped(tune.HyperModel),
        "val_loss",
        max_trials=8,
        seed=0,
        directory=folder,
        project_name="s",
        verbose=0,
    )
    before, after, results = io.StringIO(), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(before):
        tuner.search_space_summary()
    tuner.search()
    with contextlib.redirect_stdout(after):
        tuner.search_space_summary()
    with contextlib.redirect_stdout(results):
        tuner.results_summary(8)
    return {"before": before.getvalue(), "after": after.getvalue(), "results": results.getvalue()}


class Stamps(tune.Callback):
    """Notes when each trial has ended, and the memory in use."""

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.memory_mb: list[float] = []
        self._process = psutil.Process()

    def on_trial_end(self, trial: Any) -> None:
        self.stamps.append(time.perf_counter())
        self.memory_mb.append(self._process.memory_info().rss / 1e6)


def stamps(folder: str, n_trials: int) -> tuple[list[float], list[float]]:
    noted = Stamps()
    tuner = tune.RandomSearch(
        hypermodels.trivial(tune.HyperModel),
        max_trials=n_trials,
        seed=0,
        directory=folder,
        project_name="t",
        callbacks=[noted],
        verbose=0,
    )
    start = time.perf_counter()
    tuner.search()
    return [stamp - start for stamp in noted.stamps], noted.memory_mb


def shape(results: str) -> list[str]:
    """A results summary without what differs from run to run: the form of each kind of line."""
    forms = [(r"^Score: .*", "SCORE"), (r"^[\w/]+: .*", "NAME: VALUE"), (r"^Trial \d+ ", "Trial "), (r" in .*", " in ")]
    found = set()
    for line in results.splitlines():
        for pattern, form in forms:
            line = re.sub(pattern, form, line)
        found.add(line)
    return sorted(found)


def per_trial(taken: list[float], first: int, last: int) -> float:
    """Median milliseconds per trial of the trials from ``first`` to ``last``."""
    steps = [1000 * (after - before) for before, after in itertools.pairwise(taken)]
    return statistics.median(steps[first:last])


def measure(report: harness.Report, quick: bool) -> None:
    warnings.simplefilter("ignore")
    n_trials, n_theirs = (200, 50) if quick else (2000, 200)
    with tempfile.TemporaryDirectory() as folder:
        ours = summaries(folder)
        taken, memory_mb = stamps(folder, n_trials)
    peer = harness.peer("kerastuner_search", "--trials", str(n_theirs), needs="keras_tuner")
    theirs = None if peer is None else 1000 * peer["stamps"][-1] / n_theirs
    claim = f"{n_trials:,} trivial trials of a HyperModel, mean cost of one ({n_theirs:,} of KerasTuner's)"
    mean = 1000 * taken[-1] / n_trials
    report.add(harness.against(claim, mean, "KerasTuner", theirs, 1 / MIN_SPEEDUP, "ms"))
    tenth = n_trials // 10
    growth = per_trial(taken, n_trials - tenth, n_trials) / per_trial(taken, tenth, 2 * tenth)
    report.add(harness.at_most("cost per trial, last tenth against the second", growth, MAX_GROWTH, "times"))
    grown_mb = memory_mb[-1] - memory_mb[len(memory_mb) // 2]
    report.add(harness.at_most("memory that the second half of the trials adds", grown_mb, MAX_MEMORY_GROWTH_MB, "MB"))
    if peer is None:
        return
    same = sum(ours[key] == peer["summaries"][key] for key in ("before", "after"))
    same += shape(ours["results"]) == shape(peer["summaries"]["results"])
    report.add(harness.at_least("summaries alike: space before, space after, results", float(same), 3.0, "of 3"))


if __name__ == "__main__":
    sys.exit(harness.main(measure))
