"""Microseconds per decision of Ray Tune's schedulers, by number of trials known.

The schedulers are called as Tune's own controller calls them, without a cluster. Trials and controller are stand-ins
with the fields that the schedulers read: what they cost in Tune is left out, in Ray's favour. See
``benchmarks/pruner_decisions.py``.
"""

from __future__ import annotations

import itertools
import logging
import random
from typing import Any

import harness
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.schedulers.pbt import _PBTTrialState

TIME, METRIC = "training_iteration", "loss"


class StandIn:
    """What a scheduler reads of a trial."""

    def __init__(self, number: int, status: str = Trial.RUNNING) -> None:
        self.trial_id = f"{number:05d}"
        self.experiment_tag = self.trial_id
        self.status = status
        self.is_saving = False
        self.config = {"lr": 0.1}
        self.at = 0

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)


class Controller:
    """What a scheduler asks of Tune's controller."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.trials: list[StandIn] = []

    def get_trials(self) -> list[StandIn]:
        return self.trials

    def get_live_trials(self) -> list[StandIn]:
        return [trial for trial in self.trials if trial.status != Trial.TERMINATED]

    def stop_trial(self, trial: StandIn) -> None:
        trial.status = Trial.TERMINATED
        self.scheduler.on_trial_remove(self, trial)

    def _schedule_trial_save(self, trial: StandIn, result: Any = None) -> None:
        return None


def asha_us(size: int, budget_s: float) -> float:
    rng = random.Random(0)
    scheduler = AsyncHyperBandScheduler(time_attr=TIME, metric=METRIC, mode="min", max_t=256, reduction_factor=4)
    _, recorded = scheduler._brackets[0]._rungs[-1]
    recorded.update({f"{number:05d}": -rng.random() for number in range(size)})

    def prepare(number: int) -> tuple[StandIn, dict[str, float]]:
        trial = StandIn(size + number)
        scheduler.on_trial_add(None, trial)
        return trial, {TIME: 1, METRIC: rng.random()}

    return harness.microseconds_each(prepare, lambda given: scheduler.on_trial_result(None, *given), budget_s=budget_s)


def median_us(size: int, budget_s: float) -> float:
    rng = random.Random(0)
    scheduler = MedianStoppingRule(time_attr=TIME, metric=METRIC, mode="min", grace_period=1, min_samples_required=3)
    controller = Controller(scheduler)
    for number in range(size):
        scheduler._results[StandIn(number)].append({TIME: 1, METRIC: rng.random()})

    def prepare(number: int) -> tuple[StandIn, dict[str, float]]:
        return StandIn(size + number), {TIME: 1, METRIC: rng.random()}

    return harness.microseconds_each(
        prepare, lambda given: scheduler.on_trial_result(controller, *given), budget_s=budget_s
    )


def hyperband_us(size: int, budget_s: float) -> float:
    """A report at a milestone and the choice of who takes the free slot, with ``size`` trials in brackets long done."""
    rng = random.Random(0)
    scheduler = HyperBandScheduler(time_attr=TIME, metric=METRIC, mode="min", max_t=81, reduction_factor=3)
    controller = Controller(scheduler)
    numbers = itertools.count()

    def add() -> None:
        trial = StandIn(next(numbers), Trial.PENDING)
        scheduler.on_trial_add(controller, trial)
        controller.trials.append(trial)

    n_per_band = sum(scheduler._get_n0(s) for s in range(scheduler._s_max_1))
    for _ in range(-(-size // n_per_band) * n_per_band):
        add()
    for bracket in itertools.chain.from_iterable(scheduler._hyperbands):
        bracket._halves = 0
        bracket._completed_progress = bracket._total_work
        for trial in bracket.current_trials():
            trial.status = Trial.TERMINATED
            bracket.cleanup_trial(trial)
    for _ in range(4 * n_per_band):
        add()
    chosen = scheduler.choose_trial_to_run(controller)

    def prepare(_: int) -> tuple[StandIn, dict[str, float]]:
        bracket, _ = scheduler._trial_info[chosen]
        chosen.status = Trial.RUNNING
        return chosen, {TIME: bracket._cumul_r, METRIC: rng.random()}

    def decide(given: tuple[StandIn, dict[str, float]]) -> None:
        nonlocal chosen
        trial, result = given
        action = scheduler.on_trial_result(controller, trial, result)
        if action == TrialScheduler.CONTINUE:
            return
        trial.status = Trial.PAUSED if action == TrialScheduler.PAUSE else Trial.TERMINATED
        if action == TrialScheduler.STOP:
            scheduler.on_trial_complete(controller, trial, result)
        chosen = scheduler.choose_trial_to_run(controller)

    return harness.microseconds_each(prepare, decide, budget_s=budget_s, at_most=300)


def pbt_us(size: int, budget_s: float) -> float:
    """A member's report at its interval, in a population of ``size``. The exploit's file writing is left out."""
    rng = random.Random(0)
    scheduler = PopulationBasedTraining(
        time_attr=TIME, metric=METRIC, mode="min", perturbation_interval=5,
        hyperparam_mutations={"lr": tune.uniform(0.0, 1.0)},
    )  # fmt: skip
    controller = Controller(scheduler)
    for number in range(size):
        trial = StandIn(number)
        controller.trials.append(trial)
        state = scheduler._trial_state[trial] = _PBTTrialState(trial)
        state.last_score, state.last_train_time, state.last_perturbation_time = -rng.random(), 5, 5

    def prepare(number: int) -> tuple[StandIn, dict[str, float]]:
        trial = controller.trials[number % size]
        trial.at = max(trial.at, 5) + 5
        return trial, {TIME: trial.at, METRIC: rng.random()}

    return harness.microseconds_each(
        prepare, lambda given: scheduler.on_trial_result(controller, *given), budget_s=budget_s
    )


def main() -> None:
    logging.disable(logging.WARNING)
    measures = {"ASHA": asha_us, "median": median_us, "HyperBand": hyperband_us, "PBT": pbt_us}
    harness.reply_curves(ray.__version__, measures)


if __name__ == "__main__":
    main()
