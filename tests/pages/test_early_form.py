"""Page 002, the quick start of an early version: ``train_func(config, reporter)``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tuneflow as tune

START, TRAIN, RUN = range(3)
Opened = Callable[[str], Any]


class Model:
    """What the page leaves out as ``( ... )``: its accuracy grows by one per batch."""

    def __init__(self) -> None:
        self.accuracy = 95

    def parameters(self) -> Iterator[float]:
        return iter(())

    def fit(self, data: int, target: int) -> int:
        self.accuracy += 1
        return self.accuracy


class SGD:
    def __init__(self, parameters: Any, momentum: float) -> None:
        self.momentum = momentum


def test_nothing_has_to_be_started(page: Opened) -> None:
    # A fault here: there is no Ray to start.
    assert page("002").run(START, faults={"ray.init()": ""})["tune"] is tune


def quick_start(page: Any) -> None:
    page.run(START, faults={"ray.init()": ""})
    page.run(
        TRAIN,
        supplied={"Model": Model, "SGD": SGD},
        faults={"model = ( ... )": "model = Model()", "dataset = ( ... )": "dataset = [(0, 0)] * 10"},
    )


def test_a_function_is_handed_its_reporter(page: Opened) -> None:
    opened = page("002")
    quick_start(opened)
    reported: list[dict[str, int]] = []
    opened.names["train_func"]({"momentum": 0.1}, lambda **metrics: reported.append(metrics))
    assert reported == [{"mean_accuracy": accuracy} for accuracy in range(96, 106)]


def test_a_grid_until_the_accuracy_is_reached(page: Opened) -> None:
    opened = page("002")
    quick_start(opened)
    trials = opened.run(RUN)["all_trials"].trials
    assert [trial.config for trial in trials] == [{"momentum": 0.1}, {"momentum": 0.2}]
    for trial in trials:
        assert [result["mean_accuracy"] for result in trial.results] == [96, 97, 98, 99]
        assert trial.last_result["done"] is True
        params = Path("tuneflow_results/quick-start", trial.trial_id, "params.json")
        assert json.loads(params.read_text()) == trial.config
