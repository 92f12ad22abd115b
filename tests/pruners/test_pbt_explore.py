from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners.configs import copy_config, from_json, get_entry, set_entry, to_json
from tuneflow.pruners.explore import Explorer
from tuneflow.pruners.pbt import PBT
from tuneflow.space import (
    Domain,
    Space,
    choice,
    grid_search,
    lograndint,
    loguniform,
    qrandint,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def results(explorer: Explorer, config: dict[str, Any], name: str, n: int = 60) -> set[Any]:
    return {explorer(config, rng(seed))[name] for seed in range(n)}


def perturb(given: Any, **arguments: Any) -> Explorer:
    return Explorer({"x": given}, resample_probability=0.0, **arguments)


def test_numbers_are_multiplied_by_one_of_the_factors() -> None:
    assert results(perturb(uniform(0, 10)), {"x": 5.0}, "x") == {6.0, 4.0}
    assert results(perturb(uniform(0, 10), factors=(0.5,)), {"x": 5.0}, "x") == {2.5}


@pytest.mark.parametrize(
    ("domain", "value", "expected"),
    [
        (randint(1, 101), 10, {12, 8}),
        (randint(1, 11), 10, {8, 10}),  # the bound is excluded and 10 the last
        (lograndint(1, 1000), 100, {120, 80}),
        (qrandint(0, 100, 10), 50, {60, 40}),
        (qrandint(0, 100, 10), 100, {100, 80}),
        (quniform(0.0, 1.0, 0.25), 0.75, {1.0, 0.5}),
        (loguniform(1e-4, 1e-1), 1e-4, {1.2e-4, 1e-4}),
        (randn(), -1.0, {-1.2, -0.8}),
    ],
)
def test_domains_keep_their_type_grid_and_bounds(domain: Domain, value: Any, expected: set[Any]) -> None:
    found = results(perturb(domain), {"x": value}, "x")
    assert sorted(found) == pytest.approx(sorted(expected))
    assert {type(item) for item in found} == {type(item) for item in expected}


domains = st.sampled_from(
    [uniform(-1, 2), loguniform(1e-3, 1), quniform(0, 1, 0.1), randint(-3, 9), qrandint(0, 32, 4), choice([1, 2, 4])]
)


@given(domains, st.integers(0, 999), st.floats(0, 1), st.floats(0.1, 10))
def test_whatever_comes_is_in_the_domain_and_plain(domain: Domain, seed: int, again: float, factor: float) -> None:
    explorer = Explorer({"x": domain}, resample_probability=again, factors=(factor,))
    config = {"x": domain.sample(rng(seed))}
    for turn in range(5):
        config = explorer(config, rng(seed + turn))
        assert domain.contains(config["x"])
        assert domain.clip(config["x"]) == config["x"]
        assert type(config["x"]) is type(domain.sample(rng()))


@pytest.mark.parametrize("make", [list, tuple, choice], ids=["list", "tuple", "choice"])
def test_lists_and_choices_move_to_a_neighbour(make: Callable[[Any], Any]) -> None:
    explorer = perturb(make(["a", "b", "c", "d"]))
    assert results(explorer, {"x": "b"}, "x") == {"a", "c"}
    assert results(explorer, {"x": "a"}, "x") == {"b"}
    assert results(explorer, {"x": "d"}, "x") == {"c"}
    assert results(explorer, {"x": "other"}, "x") == {"a", "b", "c", "d"}
    assert results(perturb(make(["a"])), {"x": "a"}, "x") == {"a"}


def test_numbers_in_a_list_are_not_multiplied() -> None:
    assert results(perturb([16, 32, 64]), {"x": 32}, "x") == {16, 64}
    assert results(perturb(choice([16, 32, 64])), {"x": 32}, "x") == {16, 64}
    assert results(perturb(choice([16])), {"x": 16}, "x") == {16}


def test_equal_values_of_different_type_are_told_apart() -> None:
    assert results(perturb([True, "between", 1, "after"]), {"x": 1}, "x") == {"between", "after"}


def test_values_that_cannot_be_compared_are_found() -> None:
    array = np.zeros(2)
    assert results(perturb([array, "b"]), {"x": array}, "x") == {"b"}


def test_resampling_draws_from_the_whole_domain() -> None:
    always = Explorer({"x": [1, 2, 3, 4, 5], "y": randint(0, 5)}, resample_probability=1.0)
    assert results(always, {"x": 1, "y": 0}, "x") == {1, 2, 3, 4, 5}
    assert results(always, {"x": 1, "y": 0}, "y") == {0, 1, 2, 3, 4}


def test_resampling_is_as_frequent_as_asked() -> None:
    explorer = Explorer({"x": uniform(0, 1)}, resample_probability=0.25)
    moved = [explorer({"x": 0.5}, rng(seed))["x"] for seed in range(2000)]
    assert 0.2 < sum(value not in (0.6, 0.4) for value in moved) / 2000 < 0.3


def test_functions_draw_and_their_numbers_are_multiplied() -> None:
    assert results(Explorer({"x": lambda: 7}, resample_probability=1.0), {"x": 1}, "x") == {7}
    assert len(results(Explorer({"x": lambda rng: rng.integers(5)}, resample_probability=1.0), {"x": 1}, "x")) == 5
    assert results(perturb(lambda: 7.0), {"x": 5.0}, "x") == {6.0, 4.0}
    assert results(perturb(lambda: 7), {"x": 5}, "x") == {6, 4}
    assert results(perturb(lambda: "new"), {"x": "old"}, "x") == {"new"}
    assert results(perturb(lambda: True), {"x": True}, "x") == {True}
    assert results(perturb(lambda rng=None: 1 if rng is None else 2), {"x": "old"}, "x") == {2}


def test_functions_stay_within_the_domain_of_the_space() -> None:
    bound = perturb(lambda: 1).bound_to(Space({"x": randint(1, 11)}))
    assert results(bound, {"x": 10}, "x") == {8, 10}
    assert results(perturb(lambda: 4).bound_to(Space({"x": choice([1, 2, 4])})), {"x": 2}, "x") == {4}


def test_numpy_becomes_plain() -> None:
    explorer = Explorer(
        {"x": lambda: np.float64(0.5), "y": [np.int64(3)]},
        resample_probability=1.0,
        custom_explore=lambda config, rng: {**config, "z": np.float32(0.5), "deep": [np.bool_(True)]},
    )
    explored = explorer({"x": 1.0, "y": 1}, rng())
    assert [type(value) for value in explored.values()] == [float, int, float, list]
    assert type(explored["deep"][0]) is bool


def test_nested_and_flat_names_reach_the_same_entry() -> None:
    config = {"optimizer": {"lr": 1.0, "name": "sgd"}, "layers": [{"units": 8}, {"units": 16}], "pair": (1, 2)}
    before = copy.deepcopy(config)
    nested = perturb(uniform(0, 1)).names
    assert nested == ["x"]
    for mutations in ({"optimizer": {"lr": [1.0, 3.0]}}, {"optimizer/lr": [1.0, 3.0]}):
        explored = Explorer(mutations, resample_probability=0.0)(config, rng())
        assert explored == {**before, "optimizer": {"lr": 3.0, "name": "sgd"}}
    explored = Explorer({"layers/1/units": [16, 32], "pair/0": [1, 5]}, resample_probability=0.0)(config, rng())
    assert explored["layers"] == [{"units": 8}, {"units": 32}]
    assert explored["pair"] == (5, 2)
    assert config == before


def test_a_key_that_holds_a_slash() -> None:
    assert Explorer({"a/b": [1, 2]}, resample_probability=0.0)({"a/b": 1}, rng()) == {"a/b": 2}
    assert Explorer({"a/b/c": [1, 2]}, resample_probability=0.0)({"a/b": {"c": 1}}, rng()) == {"a/b": {"c": 2}}


def test_an_entry_that_the_configuration_lacks_is_drawn() -> None:
    assert Explorer({"a": {"b": [4]}}, resample_probability=0.0)({}, rng()) == {"a": {"b": 4}}


def test_custom_explore_comes_last_with_a_copy() -> None:
    seen: list[dict[str, Any]] = []

    def custom(config: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        seen.append(copy.deepcopy(config))
        config["layers"].append(9)
        return config

    given = {"x": 1, "layers": [1]}
    explored = Explorer({"x": [1, 2]}, resample_probability=0.0, custom_explore=custom)(given, rng())
    assert seen == [{"x": 2, "layers": [1]}]
    assert explored == {"x": 2, "layers": [1, 9]}
    assert given == {"x": 1, "layers": [1]}
    with pytest.raises(InvalidArgumentType, match="NoneType"):
        Explorer({}, custom_explore=lambda config, rng: None)({}, rng())  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "wrong",
    [3.0, "lr", None, lambda one, two: 0, sample_from(lambda spec: 1), grid_search([1, 2]), {1, 2}],
    ids=["number", "text", "none", "function of two", "computed", "grid", "set"],
)
def test_other_mutations_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentType, match="'lr'"):
        Explorer({"lr": wrong})


def test_names_that_the_space_lacks_are_refused() -> None:
    space = Space({"optimizer": {"lr": loguniform(1e-4, 1e-1)}, "epochs": 3})
    with pytest.raises(InvalidArgument, match=r"'lr'.*optimizer/lr, epochs"):
        PBT({"lr": uniform(0, 1)}).bind(space, rng())
    PBT({"optimizer": {"lr": uniform(0, 1)}, "epochs": [3, 4]}).bind(space, rng())


def test_computed_entries_follow() -> None:
    space = Space({"batch": choice([16, 32]), "lr": sample_from(lambda config: config["batch"] / 1000), "n": (1, 2)})
    explorer = Explorer({"batch": [16, 32]}, resample_probability=0.0).bound_to(space)
    assert explorer({"batch": 16, "lr": 0.016, "n": (1, 2)}, rng()) == {"batch": 32, "lr": 0.032, "n": (1, 2)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=3) | st.integers() | st.sampled_from(["__tuple__", "__float__"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_json_gives_an_equal_value_back(value: Any) -> None:
    back = from_json(json.loads(json.dumps(to_json(value), allow_nan=False)))
    assert back == value
    assert repr(back) == repr(value)


def test_what_json_cannot_hold_is_named() -> None:
    with pytest.raises(InvalidArgumentType, match=r"config/layers/0.*complex"):
        to_json({"layers": [1j]})


def test_entries() -> None:
    assert get_entry({"a": [1]}, "a/1") == (False, None)
    assert get_entry({"a": [None]}, "a/0") == (True, None)
    assert get_entry({"a": "text"}, "a/0") == (False, None)
    config: dict[str, Any] = {"a": 1}
    set_entry(config, "a/b", 2)
    assert config == {"a": {"b": 2}}
    shared = {"deep": {"list": [1, {"x": (math.inf,)}]}}
    assert copy_config(shared) == shared
    assert copy_config(shared)["deep"]["list"][1] is not shared["deep"]["list"][1]
