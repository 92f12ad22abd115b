"""Microseconds per decision of Syne Tune 0.13, the last with sorted rungs, by number of trials known.

Filled through its own interface, since its rungs are lists that it keeps sorted. See ``pruner_decisions.py``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import io
import logging
import random

import harness

with contextlib.redirect_stdout(io.StringIO()):  # it lists the extras that are not installed
    from syne_tune import config_space
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.schedulers import HyperbandScheduler

TIME, METRIC = "epoch", "loss"
BEGINNING = dt.datetime(2020, 1, 1)


def asha_us(size: int, budget_s: float) -> float:
    rng = random.Random(0)
    scheduler = HyperbandScheduler(
        {"lr": config_space.uniform(0.0, 1.0)}, searcher="random", metric=METRIC, mode="min", resource_attr=TIME,
        max_t=256, grace_period=1, reduction_factor=4, type="stopping", random_seed=0,
        search_options={"debug_log": False},
    )  # fmt: skip

    def start(number: int) -> tuple[Trial, dict[str, float]]:
        suggestion = scheduler.suggest(number)
        trial = Trial(trial_id=number, config=suggestion.config, creation_time=BEGINNING)
        scheduler.on_trial_add(trial)
        return trial, {TIME: 1, METRIC: rng.random()}

    for number in range(size):
        scheduler.on_trial_result(*start(number))
    return harness.microseconds_each(
        lambda number: start(size + number), lambda given: scheduler.on_trial_result(*given), budget_s=budget_s
    )


def main() -> None:
    logging.disable(logging.WARNING)
    harness.reply_curves(importlib.metadata.version("syne-tune"), {"ASHA": asha_us})


if __name__ == "__main__":
    main()
