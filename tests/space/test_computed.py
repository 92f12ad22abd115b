"""Computed entries."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tuneflow.errors import InvalidArgument, InvalidArgumentType, RecursiveDependencyError
from tuneflow.space import Space, choice, grid_search, randint, sample_from, uniform


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "function",
    [
        lambda spec: spec.config.a.b[1].c * 2,
        lambda spec: spec.config["a"]["b"][1]["c"] * 2,
        lambda config: config["a"]["b"][1]["c"] * 2,
        lambda config: config.a.b[-1].c * 2,
        lambda s: s.config.a.b[1].c * 2,
        lambda spec: spec["config"]["a"]["b"][1]["c"] * 2,
        lambda s: s["config"]["a"]["b"][1]["c"] * 2,
        lambda spec, factor=2: spec.config.a.get("b")[1:][0].c * factor,
        lambda *args: args[0]["a"]["b"][1]["c"] * 2,
    ],
)
def test_functions_read_the_configuration_in_either_style(function: Any) -> None:
    config = Space({"x": sample_from(function), "a": {"b": [0, {"c": uniform(0, 1)}]}}).sample(rng())
    assert config["x"] == config["a"]["b"][1]["c"] * 2


def test_functions_that_need_nothing() -> None:
    config = Space(
        {"a": sample_from(lambda: 3), "b": sample_from(lambda _: 4), "c": sample_from(random.Random(1).random)}
    ).sample(rng())
    assert (config["a"], config["b"]) == (3, 4)
    assert 0 <= config["c"] < 1


def test_order_follows_the_dependencies_not_the_dict() -> None:
    space = Space(
        {
            "d": sample_from(lambda spec: spec.config.deep.c + spec.config.g),
            "deep": {"c": sample_from(lambda config: config["b"] + config["k"])},
            "b": sample_from(lambda spec: spec.config.a * 10),
            "a": randint(1, 2),
            "k": 5,
            "g": grid_search([100, 200]),
        }
    )
    assert space.to_config({"a": 1}, grid={"g": 200}) == {
        "d": 215,
        "deep": {"c": 15},
        "b": 10,
        "a": 1,
        "k": 5,
        "g": 200,
    }
    assert space.has_computed


def test_each_is_computed_once() -> None:
    calls: list[int] = []
    space = Space(
        {
            "x": sample_from(lambda c: c.b + c.b + c.a),
            "a": sample_from(lambda c: c.b),
            "b": sample_from(lambda: calls.append(1) or 7),
        }
    )  # type: ignore[func-returns-value]
    assert space.to_config({}) == {"x": 21, "a": 7, "b": 7}
    assert len(calls) == 1


def test_a_cycle_is_named() -> None:
    space = Space(
        {
            "start": sample_from(lambda spec: spec.config.a),
            "a": sample_from(lambda spec: spec.config.deep.b),
            "deep": {"b": sample_from(lambda config: config["c"])},
            "c": sample_from(lambda config: config["a"]),
        }
    )
    with pytest.raises(RecursiveDependencyError, match=r"each other's values: a -> deep/b -> c -> a; compute"):
        space.to_config({})
    with pytest.raises(RecursiveDependencyError, match="x -> x"):
        Space({"x": sample_from(lambda spec: spec.config.x)}).sample(rng())
    with pytest.raises(RecursiveDependencyError):
        Space({"x": sample_from(lambda config: dict(config))}).sample(rng())


@pytest.mark.parametrize(
    "function", [lambda spec: spec.config.lr, lambda config: config["lr"], lambda config: config.lr]
)
def test_an_unknown_entry_lists_the_known_ones(function: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"sample_from of 'a/x' failed: .*no entry 'lr'.*there are: a, b"):
        Space({"a": {"x": sample_from(function)}, "b": 1}).sample(rng())


def test_a_failing_function_is_named_and_its_exception_kept() -> None:
    with pytest.raises(
        InvalidArgument, match="sample_from of 'x' failed: ZeroDivisionError: division by zero"
    ) as caught:
        Space({"x": sample_from(lambda: 1 / 0)}).sample(rng())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("result", [uniform(0, 1), {"lr": uniform(0, 1)}, [grid_search([1, 2])]])
def test_a_domain_is_no_result(result: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"sample_from of 'x' failed: .*give the domain an entry of its own"):
        Space({"x": sample_from(lambda: result)}).sample(rng())


def test_functions_must_take_one_argument() -> None:
    with pytest.raises(InvalidArgument, match="must take one argument, spec or config, not a, b"):
        sample_from(lambda a, b: a)
    with pytest.raises(InvalidArgumentType, match="must be callable"):
        sample_from(3)  # type: ignore[arg-type]


def test_the_view_is_a_read_only_mapping() -> None:
    seen: dict[str, Any] = {}

    def look(config: Any) -> int:
        seen.update(
            keys=list(config), n=len(config), has="a" in config, none=config.get("z"), default=getattr(config, "z", 9)
        )
        seen.update(sub=dict(config["a"]), items=list(config.a["items"]), n_items=len(config.a["items"]))
        with pytest.raises(TypeError):
            config["a"] = 3
        return 1

    Space({"x": sample_from(look), "a": {"items": [1, 2]}}).sample(rng())
    assert seen["keys"] == ["x", "a"]
    assert (seen["n"], seen["has"], seen["none"], seen["default"]) == (2, True, None, 9)
    assert list(seen["sub"]["items"]) == [1, 2]


def test_results_are_plain_values() -> None:
    space = Space(
        {
            "whole": sample_from(lambda spec: spec.config.a),
            "parts": sample_from(lambda spec: [spec.config.a.b, (spec.config.opt,), spec.config.t]),
            "lr": sample_from(lambda spec: spec.config.opt.args.lr),
            "a": {"b": [1, {"c": uniform(0, 1)}]},
            "t": (1, 2),
            "opt": choice([{"name": "adam", "args": {"lr": 0.5}}]),
        }
    )
    config = space.sample(rng())
    assert config["whole"] == config["a"]
    assert type(config["whole"]) is dict
    assert type(config["whole"]["b"]) is list
    assert config["parts"] == [config["a"]["b"], (config["opt"],), (1, 2)]
    assert type(config["parts"][1][0]["args"]) is dict
    assert config["lr"] == 0.5
    config["whole"]["b"].append(3)
    assert len(config["a"]["b"]) == 2


def test_replace_computes_anew_what_read_a_changed_entry_and_only_that() -> None:
    calls = iter(range(100))
    space = Space(
        {
            "lr": uniform(0, 1),
            "other": uniform(0, 1),
            "warmup": sample_from(lambda spec: spec.config.lr * 10),
            "deep": {"twice": sample_from(lambda config: config["warmup"] * 2)},
            "random": sample_from(lambda config: (next(calls), config["other"])),
        }
    )
    config = space.to_config({"lr": 0.5, "other": 0.25})
    new = space.replace(config, {"lr": 0.25})
    assert new == {"lr": 0.25, "other": 0.25, "warmup": 2.5, "deep": {"twice": 5.0}, "random": config["random"]}
    pinned = space.replace(config, {"warmup": 7})
    assert (pinned["lr"], pinned["warmup"], pinned["deep"]["twice"]) == (0.5, 7, 14)
    assert space.replace(config, {}) == config
