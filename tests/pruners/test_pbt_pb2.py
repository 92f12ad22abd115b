from __future__ import annotations

import importlib.util
import json
import math
import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from tuneflow.errors import InvalidArgument, InvalidArgumentType, MissingLibrary
from tuneflow.pruners import PB2, Exploit
from tuneflow.pruners.bandit import suggest
from tuneflow.pruners.base import PAUSE
from tuneflow.space import Space, choice, lograndint, loguniform, qrandint, quniform, randint, randn, uniform
from tuneflow.testing import Driver, replay

NOTHING = np.empty((0, 2))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def observations(n: int, peak: float, first: int = 0) -> tuple[Any, Any]:
    points = rng(1).random((n, 1))
    times = np.arange(first, first + n)[:, None] / 4.0
    return np.hstack([times, points]), -((points[:, 0] - peak) ** 2)


def test_the_bandit_goes_where_improvement_was_fastest() -> None:
    observed, improvements = observations(30, 0.7)
    found = [float(suggest(observed, improvements, NOTHING, 8.0, 1, rng(seed))[0]) for seed in range(3)]
    assert all(abs(value - 0.7) < 0.15 for value in found)


def test_the_bandit_forgets() -> None:
    old, old_values = observations(30, 0.2)
    new, new_values = observations(30, 0.8, first=200)
    points, values = np.vstack([old, new]), np.concatenate([old_values, new_values])
    late = float(suggest(points, values, NOTHING, 58.0, 1, rng())[0])
    assert abs(late - 0.8) < 0.2


def test_points_under_way_are_avoided() -> None:
    observed = np.array([[0.0, 0.0], [0.0, 0.1], [0.0, 0.9], [0.0, 1.0], [0.0, 0.95]])
    improvements = np.array([0.0, 0.1, 0.1, 0.0, 0.05])
    alone = suggest(observed, improvements, NOTHING, 0.0, 1, rng())
    with_others = suggest(observed, improvements, np.array([[0.0, float(alone[0])]] * 3), 0.0, 1, rng())
    assert abs(float(with_others[0]) - float(alone[0])) > 0.05


@pytest.mark.parametrize("values", [[], [1.0, 2.0, 3.0], [1.0] * 6])
def test_too_little_data_gives_a_random_point(values: list[float]) -> None:
    observed = np.hstack([np.zeros((len(values), 1)), rng().random((len(values), 1))])
    found = {float(suggest(observed, np.array(values), NOTHING, 0.0, 1, rng(seed))[0]) for seed in range(5)}
    assert len(found) == 5
    assert all(0 <= value <= 1 for value in found)


def explored(pb2: PB2, configs: list[dict[str, Any]], space: Space | None = None, n_rounds: int = 6) -> list[Any]:
    """Members that report at random; every configuration that comes out of an exploit."""
    pb2.bind(space, rng(5))
    source, found = random.Random(0), []
    for trial, config in enumerate(configs):
        pb2.on_start(trial, config)
    for step in range(5, 5 * n_rounds + 5, 5):
        for trial in range(len(configs)):
            decision = pb2.on_report(trial, step, source.random(), True)
            if isinstance(decision, Exploit):
                found.append(decision.config)
    return found


def test_values_are_plain_and_within_bounds_and_grids() -> None:
    domains = {
        "a": uniform(-1, 1),
        "b": {"lr": loguniform(1e-4, 1e-1), "units": qrandint(8, 64, 8)},
        "c": lograndint(1, 100),
        "d": quniform(0, 1, 0.25),
        "e": randint(1, 4),
    }
    space = Space({**domains, "fixed": "text", "f": uniform(0, 1), "g": randint(1, 9)})
    configs = [space.sample(rng(seed)) for seed in range(6)]
    before = json.dumps(configs)
    found = explored(PB2(domains, bounds={"f": (0.0, 0.5), "g": (1, 8)}, quantile_fraction=0.5), configs, space)
    assert len(found) > 8
    assert json.dumps(configs) == before
    for config in found:
        flat = space.flatten(config)
        for name, domain in space.domains.items():
            assert domain.contains(flat[name]), (name, flat[name])
            assert type(flat[name]) is type(domain.sample(rng()))
        assert config["fixed"] == "text"
        assert config["f"] <= 0.5
    assert len({config["b"]["units"] for config in found}) > 1


def test_bounds_follow_the_scale_of_the_space() -> None:
    def small(space: Space | None) -> int:
        found = explored(PB2(bounds={"lr": (1e-6, 1.0)}, quantile_fraction=0.5), [{"lr": 0.5}] * 4, space, n_rounds=4)
        return sum(config["lr"] < 1e-2 for config in found)

    assert small(Space({"lr": loguniform(1e-6, 1.0)})) > small(Space({"lr": uniform(0, 1)}))


def test_whole_bounds_give_whole_numbers_unless_the_value_is_none() -> None:
    assert {type(config["n"]) for config in explored(PB2(bounds={"n": (1, 9)}), [{"n": 3}] * 4)} == {int}
    assert {type(config["n"]) for config in explored(PB2(bounds={"n": (1, 9)}), [{"n": 3.0}] * 4)} == {float}


def test_custom_explore_comes_last() -> None:
    pb2 = PB2(bounds={"lr": (0.0, 1.0)}, custom_explore=lambda config, rng: {**config, "seen": config["lr"]})
    found = explored(pb2, [{"lr": 0.5}] * 4)
    assert found
    assert all(config["seen"] == config["lr"] for config in found)


def test_improvements_count_from_the_donor_after_an_exploit() -> None:
    pb2 = PB2(bounds={"lr": (0.0, 1.0)})
    pb2.bind(None, rng())
    for trial, lr in enumerate([0.2, 0.8]):
        pb2.on_start(trial, {"lr": lr})
    pb2.on_report(0, 5, 10.0, True)
    decision = pb2.on_report(1, 5, 90.0, True)
    assert isinstance(decision, Exploit)
    pb2.on_report(0, 10, 8.0, True)
    pb2.on_report(1, 10, 5.0, True)
    observed, improvements = pb2._improvements()
    assert improvements == [pytest.approx((10 - 8) / 5), pytest.approx((10 - 5) / 5)]
    assert observed == [(1.0, pytest.approx(0.2)), (1.0, pytest.approx(decision.config["lr"]))]


def test_infinite_values_are_no_observations() -> None:
    pb2 = PB2(bounds={"lr": (0.0, 1.0)})
    pb2.bind(None, rng())
    pb2.on_start(0, {"lr": 0.2})
    for step, value in [(5, 1.0), (10, math.inf), (15, 0.5), (20, 0.25)]:
        pb2.on_report(0, step, value, True)
    assert pb2._improvements()[1] == [pytest.approx(0.05)]


def test_the_window_is_bounded_and_does_not_depend_on_the_order() -> None:
    calls = [(trial, step) for trial in range(5) for step in range(5, 100, 5)]
    windows = []
    for order in (calls, sorted(calls, key=lambda call: call[1])):
        pb2 = PB2(bounds={"lr": (0.0, 1.0)}, quantile_fraction=0, window=20)
        pb2.bind(None, rng())
        for trial in range(5):
            pb2.on_start(trial, {"lr": trial / 5})
        for trial, step in order:
            pb2.on_report(trial, step, trial / step, True)
        windows.append(pb2._rows)
    assert windows[0] == windows[1]
    assert len(windows[0]) == 20
    assert min(row[0] for row in windows[0]) == 80


def test_it_learns_faster_than_it_would_by_chance() -> None:
    """A member improves by 1 - (x - 0.3)^2 per step: what is explored should come to lie around 0.3."""
    n = 6
    pb2 = PB2(bounds={"x": (0.0, 1.0)}, population_size=n, perturbation_interval=2, synchronous=True)
    pb2.bind(None, rng(3))
    configs, values, found = [{"x": trial / (n - 1)} for trial in range(n)], [0.0] * n, []
    for trial, config in enumerate(configs):
        pb2.on_start(trial, config)
    for step in range(2, 25, 2):
        for trial in range(n):
            values[trial] -= 2 - 2 * (configs[trial]["x"] - 0.3) ** 2
            assert pb2.on_report(trial, step, values[trial], True) == PAUSE
        while (trial_or_none := pb2.next_resume()) is not None:
            decision = pb2.on_resume(trial_or_none)
            if isinstance(decision, Exploit):
                configs[trial_or_none], values[trial_or_none] = decision.config, values[decision.donor]
                found.append(abs(decision.config["x"] - 0.3))
    assert len(found) == 2 * 12
    late = sorted(found[12:])
    assert late[6] < 0.15  # by chance the median is 0.29


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("size", [None, 4])
def test_it_goes_on_where_it_was(rebuild: bool, size: int | None) -> None:
    def made() -> PB2:
        pb2 = PB2(bounds={"x": (0.0, 1.0)}, population_size=size, perturbation_interval=2, window=12)
        pb2.bind(None, rng(2))
        return pb2

    def value(trial: int, step: int) -> float:
        return random.Random(f"{trial} {step}").random() - step

    driver = Driver(made(), value, n_trials=6, n_slots=2, n_steps=14, config=lambda trial: {"x": trial / 6})
    choices = random.Random(1)
    for _ in range(45):
        driver.turn(choices)
    driver.fill()
    while fresh := [trial for trial in driver.running if driver.records[trial].is_fresh]:
        driver.report(fresh[0])
    other = made()
    if rebuild:
        replay(other, driver.records)
    else:
        other.load_state_dict(json.loads(json.dumps(driver.pruner.state_dict(), allow_nan=False)))
        assert other.state_dict() == driver.pruner.state_dict()
    forked, before, again = driver.fork(other), len(driver.events), random.Random()
    again.setstate(choices.getstate())
    driver.run(choices)
    forked.run(again)
    assert forked.events == driver.events[before:]
    assert sum(isinstance(event[-1], Exploit) for event in forked.events) >= 2


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({}, InvalidArgument, "bounds"),
        ({"bounds": {"x": (1.0, 1.0)}}, InvalidArgument, "x"),
        ({"bounds": {"x": (0.0, math.inf)}}, InvalidArgument, "x"),
        ({"bounds": {"x": (0.0,)}}, InvalidArgumentType, "x"),
        ({"bounds": {"x": ("a", "b")}}, InvalidArgumentType, "x"),
        ({"mutations": {"x": choice([1, 2])}}, InvalidArgumentType, "x"),
        ({"mutations": {"x": randn()}}, InvalidArgumentType, "x"),
        ({"mutations": {"x": lambda: 1}}, InvalidArgumentType, "x"),
        ({"mutations": {"x": uniform(0, 1)}, "bounds": {"x": (0, 1)}}, InvalidArgument, "once"),
        ({"bounds": {"x": (0, 1)}, "window": 3}, InvalidArgument, "window"),
        ({"bounds": {"x": (0, 1)}, "synchronous": True}, InvalidArgument, "population_size"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        PB2(**arguments)


def test_names_that_the_space_lacks_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"'lr'.*optimizer/lr"):
        PB2(bounds={"lr": (0.0, 1.0)}).bind(Space({"optimizer": {"lr": uniform(0, 1)}}), rng())


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match=r"tuneflow\[pb2\]"):
        PB2(bounds={"x": (0.0, 1.0)})
