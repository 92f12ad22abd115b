"""KerasTuner's space, summaries and seconds per trial. See ``benchmarks/hypermodel.py``."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import argparse
import contextlib
import io
import tempfile
import time

import harness
import hypermodels
import keras_tuner


def summaries(folder: str) -> dict[str, str]:
    tuner = keras_tuner.RandomSearch(
        hypermodels.scoped(keras_tuner.HyperModel), "val_loss", max_trials=8, seed=0, directory=folder, project_name="s"
    )
    before, after, results = io.StringIO(), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(before):
        tuner.search_space_summary()
    tuner.search(verbose=0)
    with contextlib.redirect_stdout(after):
        tuner.search_space_summary()
    with contextlib.redirect_stdout(results):
        tuner.results_summary(8)
    return {"before": before.getvalue(), "after": after.getvalue(), "results": results.getvalue()}


class Stamps(keras_tuner.RandomSearch):
    """Notes when each trial has ended."""

    def on_trial_end(self, trial: object) -> None:
        super().on_trial_end(trial)
        self.stamps.append(time.perf_counter())


def stamps(folder: str, n_trials: int) -> list[float]:
    tuner = Stamps(
        hypermodels.trivial(keras_tuner.HyperModel), max_trials=n_trials, seed=0, directory=folder, project_name="t"
    )
    start = time.perf_counter()
    tuner.stamps = []
    tuner.search(verbose=0)
    return [stamp - start for stamp in tuner.stamps]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=2000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        harness.reply({"summaries": summaries(folder), "stamps": stamps(folder, given.trials)})


if __name__ == "__main__":
    main()
