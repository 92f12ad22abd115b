"""deterministic=True: the same seed and number of slots give the same run, whatever the timing."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.pruners import ASHA, HyperBand, MedianStopping
from tuneflow.runner.ordering import LogicalOrder
from tuneflow.trainable.messages import Finished, Reported, Suggested


def reported(trial: int) -> Reported:
    return Reported(trial, 1, {}, None, 0, None, 0.0, 0.0, 0.0, 0)


def finished(trial: int) -> Finished:
    return Finished(trial, 1, None, False, "config")


def handled(order: LogicalOrder) -> list[int]:
    out = []
    while (event := order.next()) is not None:
        out.append(event.trial)
    return out


def test_only_the_earliest_possible_event_is_waited_for() -> None:
    order = LogicalOrder(may_suggest=False)
    for trial in (0, 1, 2):
        order.enter(trial)
    order.add(reported(2))
    assert handled(order) == [], "0 and 1 may still report at time 1, and go first"
    order.add(reported(0))
    assert handled(order) == [0]
    order.add(reported(0))
    assert handled(order) == [], "0 is at time 2 now; 1 may still be at 1"
    order.add(reported(1))
    assert handled(order) == [1, 2, 0]


def test_a_trial_that_enters_late_starts_at_the_time_its_slot_was_freed() -> None:
    order = LogicalOrder(may_suggest=False)
    order.enter(0)
    order.add(reported(0))
    order.add(finished(0))
    assert handled(order) == [0, 0]
    order.leave(0)
    order.enter(1)
    assert order.now == 2
    order.enter(2)
    order.add(reported(2))
    assert handled(order) == []
    order.leave(1)
    assert handled(order) == [2]


def test_suggests_belong_to_the_step_before() -> None:
    order = LogicalOrder(may_suggest=True)
    order.enter(0)
    order.enter(1)
    order.add(Suggested(1, 1, "suggest_float", (), {}))
    assert handled(order) == [], "0 may suggest at time 0 too, and goes first"
    order.add(reported(0))
    assert handled(order) == [1]
    order.add(reported(1))
    assert handled(order) == [0, 1]


def sleepy(config: dict[str, Any]) -> None:
    rng = random.Random()
    checkpoint = tune.get_checkpoint()
    start = 0 if checkpoint is None else int((checkpoint.path / "n").read_text())
    for step in range(start + 1, 10):
        time.sleep(rng.random() * 0.004)

        def save(folder: Path, step: int = step) -> None:
            (folder / "n").write_text(str(step))

        tune.report({"loss": config["x"] + 1 / step}, checkpoint=save)


def suggesting(trial: Any) -> float:
    rng = random.Random()
    time.sleep(rng.random() * 0.004)
    x = float(trial.suggest_float("x", 0, 1))
    for step in range(1, 10):
        time.sleep(rng.random() * 0.004)
        trial.report({"loss": x + 1 / step}, step)
        if trial.should_prune():
            return x
    return x


def log_of(name: str, trainable: Any, scheduler: Any, sampler: str) -> list[Any]:
    analysis = tune.run(
        trainable,
        {"y": tune.uniform(0, 1)} if trainable is suggesting else {"x": tune.uniform(0, 1)},
        metric="loss",
        mode="min",
        num_samples=16,
        name=name,
        storage_path="results",
        scheduler=scheduler(),
        search_alg=sampler,
        seed=3,
        deterministic=True,
        verbose=0,
        resources_per_trial={"cpu": 0.5},
    )
    study = tune.load_study(study_name=None, storage=analysis.folder / "study.log")
    return [
        (
            trial.number,
            trial.params,
            trial.intermediate_values,
            trial.state.name,
            {key: value for key, value in trial.user_attrs.items() if key.startswith("tuneflow:")},
        )
        for trial in study.trials
    ]


@pytest.mark.parametrize(
    ("trainable", "scheduler", "sampler"),
    [
        (sleepy, lambda: ASHA(9, reduction_factor=3), "tpe"),
        (sleepy, lambda: ASHA(9, reduction_factor=3, promote=True), "tpe"),
        (sleepy, lambda: HyperBand(9), "random"),
        (suggesting, MedianStopping, "tpe"),
    ],
)
def test_two_runs_with_random_sleeps_are_the_same(trainable: Any, scheduler: Any, sampler: str) -> None:
    first = log_of("a", trainable, scheduler, sampler)
    assert first == log_of("b", trainable, scheduler, sampler)
    assert len(first) == 16
