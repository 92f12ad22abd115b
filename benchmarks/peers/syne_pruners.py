"""Microseconds per decision of Syne Tune's schedulers (0.14 and newer), by number of trials known.

Called as Syne Tune's tuner calls them, with a searcher that costs next to nothing. See ``pruner_decisions.py``.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import logging
import random

import harness
import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.baselines import RandomSearch
from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving
from syne_tune.optimizer.schedulers.median_stopping_rule import MedianStoppingRule
from syne_tune.optimizer.schedulers.pbt import PopulationBasedTraining

TIME, METRIC = "epoch", "loss"
SPACE = {"lr": config_space.uniform(0.0, 1.0)}
BEGINNING = dt.datetime(2020, 1, 1)


def new_trial(number: int) -> Trial:
    return Trial(trial_id=number, config={"lr": 0.1}, creation_time=BEGINNING)


def asha_us(size: int, budget_s: float) -> float:
    rng = random.Random(0)
    scheduler = AsynchronousSuccessiveHalving(
        SPACE, metric=METRIC, time_attr=TIME, max_t=256, reduction_factor=4, random_seed=0
    )
    _, recorded = scheduler.brackets[0].rungs[-1]
    recorded.update({number: {METRIC: rng.random()} for number in range(size)})

    def prepare(number: int) -> tuple[Trial, dict[str, float]]:
        trial = new_trial(size + number)
        scheduler.on_trial_add(trial)
        return trial, {TIME: 1, METRIC: rng.random()}

    return harness.microseconds_each(prepare, lambda given: scheduler.on_trial_result(*given), budget_s=budget_s)


def median_us(size: int, budget_s: float) -> float:
    rng = random.Random(0)
    scheduler = MedianStoppingRule(
        RandomSearch(SPACE, metrics=[METRIC], random_seed=0), time_attr=TIME, metric=METRIC, grace_population=3
    )
    values = [rng.random() for _ in range(size)]
    scheduler.sorted_results[1] = np.sort(values)
    for number, value in enumerate(values):
        scheduler.trial_to_results[number].append(value)

    def prepare(number: int) -> tuple[Trial, dict[str, float]]:
        return new_trial(size + number), {TIME: 1, METRIC: rng.random()}

    return harness.microseconds_each(prepare, lambda given: scheduler.on_trial_result(*given), budget_s=budget_s)


def pbt_us(size: int, budget_s: float) -> float:
    rng = random.Random(0)
    scheduler = PopulationBasedTraining(
        SPACE, metric=METRIC, time_attr=TIME, max_t=10**9, population_size=size, perturbation_interval=5, random_seed=0
    )
    members = [new_trial(number) for number in range(size)]
    for member in members:
        scheduler.on_trial_add(member)
        state = scheduler.trial_state[member.trial_id]
        state.last_score, state.last_perturbation_time = -rng.random(), 5

    def prepare(number: int) -> tuple[Trial, dict[str, float]]:
        # A member that was replaced is stopped for good here: take the next one that lives.
        member = next(
            m for m in (members[i % size] for i in range(number, number + size))
            if not scheduler.trial_state[m.trial_id].stopped
        )  # fmt: skip
        at = scheduler.trial_state[member.trial_id].last_perturbation_time + 5
        return member, {TIME: at, METRIC: rng.random()}

    # Every stop takes one out of the population: stay well below its size.
    return harness.microseconds_each(
        prepare, lambda given: scheduler.on_trial_result(*given), budget_s=budget_s, at_most=min(2000, size // 2)
    )


def main() -> None:
    logging.disable(logging.WARNING)
    measures = {"ASHA": asha_us, "median": median_us, "PBT": pbt_us}
    harness.reply_curves(importlib.metadata.version("syne-tune"), measures)


if __name__ == "__main__":
    main()
