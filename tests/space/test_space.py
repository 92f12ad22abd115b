"""Spaces: nesting, names, conversion both ways, copies, grids."""

from __future__ import annotations

import json
import pickle
import timeit
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuneflow.space as tune
from tuneflow.errors import InvalidArgument, InvalidArgumentType, UnknownName
from tuneflow.space import Space

# The page's example, as it is printed there.
EVERYTHING = {
    "uniform": tune.uniform(-5, -1),  # Uniform float between -5 and -1
    "quniform": tune.quniform(3.2, 5.4, 0.2),  # Round to increments of 0.2
    "loguniform": tune.loguniform(1e-4, 1e-1),  # Uniform float in log space
    "qloguniform": tune.qloguniform(1e-4, 1e-1, 5e-5),  # Round to increments of 0.00005
    "randn": tune.randn(10, 2),  # Normal distribution with mean 10 and sd 2
    "qrandn": tune.qrandn(10, 2, 0.2),  # Round to increments of 0.2
    "randint": tune.randint(-9, 15),  # Random integer between -9 and 15
    "qrandint": tune.qrandint(-21, 12, 3),  # Round to increments of 3 (includes 12)
    "lograndint": tune.lograndint(1, 10),  # Random integer in log space
    "qlograndint": tune.qlograndint(1, 10, 2),  # Round to increments of 2
    "choice": tune.choice(["a", "b", "c"]),  # Choose one of these options uniformly
    "func": tune.sample_from(lambda spec: spec.config.uniform * 0.01),  # Depends on other value
    "grid": tune.grid_search([32, 64, 128]),  # Search over all these values
}
NESTED = {
    "optimizer": {"name": tune.choice(["adam", "sgd"]), "lr": tune.loguniform(1e-4, 1e-1), "betas": (0.9, 0.999)},
    "layers": [{"units": tune.randint(1, 100)}, {"units": tune.randint(1, 100)}],
    "pair": (tune.uniform(0, 1), "fixed"),
    "sizes": tune.choice([[64, 64], [128]]),
    "noise": tune.randn(0, 1),
    "wandb": {"project": "p", "tags": []},
    3: tune.uniform(0, 1),
}


def test_the_page_s_example_works_whole() -> None:
    space = Space(EVERYTHING)
    assert list(space.domains) == list(EVERYTHING)[:11]
    assert list(space.distributions) == list(space.domains)
    assert space.grids == {"grid": (32, 64, 128)}
    assert (space.has_grid, space.has_computed, space.is_exact) == (True, True, False)
    rng = np.random.default_rng(3)
    for _ in range(50):
        config = space.sample(rng)
        assert list(config) == list(EVERYTHING)
        assert config["func"] == config["uniform"] * 0.01
        params, grid = space.split_point(config)
        assert space.kept(config) == {"func": config["func"]}
        assert space.to_config(json.loads(json.dumps(params)), grid=grid) == config
        assert json.loads(json.dumps(config)) == config


@given(seed=st.integers(0, 10_000))
def test_a_nested_config_survives_params_and_json(seed: int) -> None:
    space = Space(NESTED)
    config = space.sample(np.random.default_rng(seed))
    params = json.loads(json.dumps(space.to_params(config)))
    assert list(params) == list(space.domains)
    again = space.to_config(params)
    assert again == config
    assert type(again["pair"]) is tuple
    assert space.to_params(space.flatten(config)) == params
    assert space.to_params(json.loads(json.dumps(config))) == params


def test_names_are_paths_in_the_order_of_the_dict() -> None:
    space = Space(NESTED)
    assert list(space.domains) == [
        "optimizer/name", "optimizer/lr", "layers/0/units", "layers/1/units", "pair/0", "sizes", "noise", "3",
    ]  # fmt: skip
    flat = space.flatten(space.sample(np.random.default_rng(0)))
    assert flat["optimizer/betas/1"] == 0.999
    assert flat["wandb/tags"] == []
    assert isinstance(flat["sizes"], list)
    assert Space({}).domains == {}
    assert Space({}).to_config({"x": 1}) == {}


@pytest.mark.parametrize(
    "config",
    [
        {"a/b": tune.uniform(0, 1), "a": {"b": tune.uniform(0, 1)}},
        {"a/b": 1, "a": {"b": tune.uniform(0, 1)}},
        {"1": tune.uniform(0, 1), 1: 2},
        {"a": [1], "a/0": tune.uniform(0, 1)},
    ],
)
def test_names_that_collide_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"two entries of the space have the name '(a/b|1|a/0)'"):
        Space(config)


def test_a_slash_that_collides_with_nothing_is_fine() -> None:
    space = Space({"a/b": tune.uniform(0, 1), "a": {"c": tune.uniform(0, 1)}, "": {"": tune.uniform(0, 1)}})
    config = space.sample(np.random.default_rng(0))
    assert list(config) == ["a/b", "a", ""]
    assert space.to_config(space.to_params(config)) == config


def test_what_is_no_space_is_refused() -> None:
    with pytest.raises(InvalidArgumentType, match="must be a dict of domains and constants, not list"):
        Space([tune.uniform(0, 1)])  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="inside a set"):
        Space({"a": {tune.uniform(0, 1)}})
    with pytest.raises(InvalidArgument, match="named entries"):
        Space({"grid_search": [1, 2]})


def test_containers_keep_their_kind() -> None:
    pair = namedtuple("pair", "x y")
    ordered = OrderedDict(a=1)
    model = object()
    space = Space({"p": pair(tune.uniform(0, 1), 2), "o": ordered, "s": {1, 2}, "m": [model], "t": (1, [2])})
    first, second = (space.to_config({"p/0": 0.5}) for _ in range(2))
    assert first == {"p": pair(0.5, 2), "o": ordered, "s": {1, 2}, "m": [model], "t": (1, [2])}
    assert type(first["p"]) is pair
    assert first["m"][0] is model
    first["s"].add(3)
    first["m"].append(3)
    first["t"][1].append(3)
    assert second["s"] == {1, 2}
    assert space.to_config({"p/0": 0.5}) == second


def test_configs_share_nothing_with_each_other_nor_with_the_definition() -> None:
    definition: dict[str, Any] = {"a": {"c": [1, 2]}, "x": tune.choice([[1], [2]]), "g": tune.grid_search([[3]])}
    space = Space(definition)
    cell = space.grid_cells()[0]
    config = space.to_config({"x": "[1]"}, grid=cell)
    definition["a"]["c"].append(9)
    for part in (config["a"]["c"], config["x"], config["g"]):
        part.append(9)
    assert space.to_config({"x": "[1]"}, grid=cell) == {"a": {"c": [1, 2]}, "x": [1], "g": [3]}
    assert space.grid_cells() == [{"g": [3]}]


def test_missing_params_are_drawn_or_named() -> None:
    space = Space({"a": tune.uniform(0, 1), "b": tune.randint(0, 9), "g": tune.grid_search([1, 2])})
    with pytest.raises(InvalidArgument, match="no value for b, g"):
        space.to_config({"a": 0.5})
    config = space.to_config({"a": 0.5, "other": 1}, grid={"g": 2}, rng=np.random.default_rng(0))
    assert (config["a"], config["g"]) == (0.5, 2)
    assert config["b"] in range(9)
    flat = Space({"a": tune.uniform(0, 1), "b": tune.randint(0, 9)})
    with pytest.raises(InvalidArgument, match="no value for b"):
        flat.to_config({"a": 0.5})
    assert flat.to_config({"a": 0.5, "other": 1, "b": 3}) == {"a": 0.5, "b": 3}


def test_excluded_bounds_are_kept_only_for_the_user() -> None:
    space = Space(
        {"u": tune.uniform(0, 1), "n": tune.randint(0, 9), "z": tune.randn(0, 1), "c": tune.choice([[1], [2]])}
    )
    point = {"u": 1.0, "n": 9, "z": 40.0, "c": [2]}
    params = space.to_params(point)
    assert all(d._contains(d.to_internal_repr(params[name])) for name, d in space.distributions.items())
    kept = space.kept(point)
    assert kept == {"u": 1.0, "n": 9, "z": 40.0}
    assert space.to_config(params, given=json.loads(json.dumps(kept))) == point
    drawn = space.to_config(params)
    assert drawn["u"] < 1
    assert drawn["n"] == 8
    assert space.to_config(params, given={"u", "n"})["u"] == 1.0
    assert space.kept({"u": 0.25, "n": 3, "z": 1.5, "c": [1]}) == {}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"lr": 0.1}, "unknown entry of the search space 'lr'; known are: optimizer/name, optimizer/lr,"),
        ({"optimizer": {"momentum": 1}}, "unknown entry of the search space 'optimizer/momentum'"),
        ({"optimizer": 3}, "unknown entry of the search space 'optimizer'"),
        ({"layers": [{}, {}, {"units": 3}]}, "unknown entry of the search space 'layers/2'"),
        (
            {"optimizer": {"lr": 5}},
            "optimizer/lr=5: 5 is not in LogUniform(lower=0.0001, upper=0.1, base=10.0): it must",
        ),
        ({"optimizer/name": "lion"}, "must be one of its values"),
        ({"layers": [{"units": 2.5}]}, "layers/0/units=2.5"),
        ({"pair": [0.5, "other"]}, "pair/1='other': the space holds the constant 'fixed'; put a domain there"),
        ({"optimizer": {"lr": 0.01}, "optimizer/lr": 0.02}, "'optimizer/lr' is given twice"),
        ({"wandb": {"project": np.zeros(3)}}, "the space holds the constant"),
    ],
)
def test_points_are_checked(point: dict[str, Any], message: str) -> None:
    space = Space(NESTED)
    for check in (space.to_params, space.split_point, space.kept):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            check(point)
        assert message in str(caught.value)


def test_a_point_must_be_a_dict_and_names_its_mistake_in_fields() -> None:
    with pytest.raises(InvalidArgumentType, match="must be a dict, not list"):
        Space(NESTED).to_params([1])  # type: ignore[arg-type]
    with pytest.raises(UnknownName) as caught:
        Space(NESTED).to_params({"x": 1})
    assert caught.value.name == "x"
    assert "optimizer/lr" in caught.value.known


def test_partial_points_in_any_spelling() -> None:
    space = Space(NESTED)
    expected = {"optimizer/lr": 0.01, "layers/1/units": 7}
    for point in (
        {"optimizer": {"lr": 0.01}, "layers": [{}, {"units": 7}]},
        {"optimizer/lr": 0.01, "layers/1/units": 7.0},
        {"optimizer": {"lr": 0.01, "betas": [0.9, 0.999]}, "layers": {1: {"units": np.int64(7)}}, "wandb": {}},
    ):
        assert space.to_params(point) == expected
    assert Space(EVERYTHING).split_point({"grid": 64, "func": 12, "uniform": -2}) == ({"uniform": -2.0}, {"grid": 64})
    with pytest.raises(InvalidArgument, match="grid=65: 65 is not in Grid"):
        Space(EVERYTHING).to_params({"grid": 65})


def test_exactness() -> None:
    assert Space({"a": tune.uniform(0, 1), "b": {"c": tune.choice(["x", None])}, "d": [1]}).is_exact
    assert not Space({"a": tune.randn()}).is_exact
    assert not Space({"a": tune.choice([True, 1])}).is_exact
    assert not Space({"a": tune.grid_search([1])}).is_exact
    assert not Space({"a": tune.sample_from(lambda: 1)}).is_exact


def test_grid_cells_vary_the_first_name_fastest() -> None:
    space = Space(
        {
            "b": tune.grid_search([1, 2]),
            "a": {"x": {"grid_search": [True, False, None]}},
            "c": {"grid_search": [3], "k": 4},
        }
    )
    assert space.grid_cells() == [
        {"a/x": x, "b": b} for b in (1, 2) for x in (True, False, None)
    ]  # fmt: skip
    assert space.grid_cells({"b": 2}) == [{"a/x": x, "b": 2} for x in (True, False, None)]
    assert Space({"a": 1}).grid_cells() == [{}]
    assert space.sample(np.random.default_rng(0))["c"] == {"grid_search": [3], "k": 4}
    many = Space({"l": [tune.grid_search([0, 1]) for _ in range(11)]})
    assert list(many.grid_cells()[1].values()) == [1] + [0] * 10
    assert list(many.grid_cells()[0])[-1] == "l/10"


@pytest.mark.parametrize("values", [range(2), np.arange(2), (0, 1)])
def test_a_literal_grid_takes_what_the_function_takes(values: Any) -> None:
    assert Space({"a": {"grid_search": values}}).grids == {"a": (0, 1)}


@pytest.mark.parametrize("values", ["abc", 3, None, [], {"k": 1}])
def test_a_literal_grid_of_anything_else_is_no_constant(values: Any) -> None:
    with pytest.raises((InvalidArgument, InvalidArgumentType), match=r"grid_search\(values="):
        Space({"a": {"grid_search": values}})


def test_replace_changes_a_copy() -> None:
    space = Space(NESTED)
    config = space.sample(np.random.default_rng(0))
    before = pickle.dumps(config)
    new = space.replace(
        config, {"optimizer/lr": 0.02, "layers/1/units": 5, "pair/0": 0.25, "sizes": [1], "wandb/x/y": 2, "3": 0.5}
    )
    assert pickle.dumps(config) == before
    assert new["optimizer"]["lr"] == 0.02
    assert new["layers"] == [config["layers"][0], {"units": 5}]
    assert new["pair"] == (0.25, "fixed")
    assert new["sizes"] == [1]
    assert new["wandb"] == {"project": "p", "tags": [], "x": {"y": 2}}
    assert new[3] == 0.5
    assert "3" not in new
    new["wandb"]["tags"].append(1)
    assert config["wandb"]["tags"] == []
    for name in ("layers/2/units", "layers/x", "optimizer/lr/x"):
        with pytest.raises(InvalidArgument, match="there is no entry"):
            space.replace(config, {name: 1})


def test_tags_show_what_varies() -> None:
    space = Space({"foo": tune.grid_search([1, 2]), "bar": tune.choice([True, False]), "fixed": 3})
    assert space.tag({"foo": 1, "bar": True, "fixed": 3}) == "bar=True,foo=1"
    space = Space(
        {
            "b": {"lr": tune.uniform(0, 1)},
            "a": {"lr": tune.uniform(0, 1), "n": tune.choice(["x/y"])},
            "l": [tune.randn()],
        }
    )
    config = {"b": {"lr": 1e-5}, "a": {"lr": 0.123456, "n": "x/y"}, "l": [0.5]}
    assert space.tag(config) == "a_lr=0.1235,n=x_y,b_lr=1e-05,l_0=0.5"


def test_a_space_travels_between_processes() -> None:
    space = Space(NESTED)
    again = pickle.loads(pickle.dumps(space))
    assert again.domains == space.domains
    assert again.sample(np.random.default_rng(1)) == space.sample(np.random.default_rng(1))
    assert "LogUniform" in repr(space)


def test_the_common_case_is_fast() -> None:
    space = Space(
        {
            "lr": tune.loguniform(1e-4, 0.1),
            "u": tune.uniform(0, 1),
            "n": tune.randint(1, 10),
            "c": tune.choice(["a"]),
            "k": 3,
        }
    )
    params = {"lr": 0.01, "u": 0.5, "n": 3, "c": "a"}
    best = min(timeit.repeat(lambda: space.to_config(params), number=1000, repeat=10)) / 1000
    assert best < 20e-6  # measured: about 1e-6
