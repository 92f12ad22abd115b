"""Domains: validation, legal values, clipping, and the way to Optuna's parameters and back."""

from __future__ import annotations

import math
import pickle
from enum import Enum
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuneflow.space as ts
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.space import Domain

finite = st.floats(-1e9, 1e9)
positive = st.floats(1e-9, 1e9)
numbers = st.one_of(st.floats(allow_nan=False), st.integers(-(10**30), 10**30))


@st.composite
def bounds(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> tuple[Any, Any]:
    lower, upper = sorted((draw(values), draw(values)))
    if not lower < upper:
        upper = lower + 1
    return lower, upper


@st.composite
def grids(draw: st.DrawFn, first: int) -> tuple[float, float, float]:
    """Bounds as a user computes them, rounding and all, and q."""
    q = draw(st.sampled_from([0.1, 0.2, 0.3, 5e-5, 0.25, 1e-3, 1 / 3, 7.0, 2.5, 1e4, 0.7, 1e-7]))
    low = draw(st.integers(first, 3000))
    return low * q, (low + draw(st.integers(1, 3000))) * q, q


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    kind = draw(st.integers(0, 9))
    if kind < 2:
        return (ts.uniform, ts.loguniform)[kind](*draw(bounds((finite, positive)[kind])))
    if kind < 4:
        return (ts.quniform, ts.qloguniform)[kind - 2](*draw(grids((-3000, 1)[kind - 2])))
    if kind < 6:
        mean, sd = draw(st.floats(-100, 100)), draw(st.floats(0.01, 100))
        return ts.randn(mean, sd) if kind == 4 else ts.qrandn(mean, sd, draw(st.sampled_from([0.1, 0.25, 1.0])))
    lower = (-(10**6), 1)[kind % 2]
    ends = draw(bounds(st.integers(lower, 10**6)))
    if kind < 8:
        return (ts.randint, ts.lograndint)[kind % 2](*ends)
    q = draw(st.integers(1, ends[1] - ends[0]))
    return (ts.qrandint, ts.qlograndint)[kind % 2](*ends, q)


@given(domain=domains(), value=numbers)
def test_clip_gives_a_drawable_value_and_is_idempotent(domain: Domain, value: Any) -> None:
    if isinstance(domain, ts.Randn | ts.QRandn) and (abs(value) > 1e300 or math.isinf(value)):
        return
    clipped = domain.clip(value)
    assert domain.contains(clipped) or abs(value) > 1e9
    assert domain.clip(clipped) == clipped
    assert clipped != getattr(domain, "upper", None) or isinstance(
        domain, ts.QUniform | ts.QLogUniform | ts.QRandInt | ts.QLogRandInt
    )


@given(domain=domains())
def test_a_draw_needs_no_generator(domain: Domain) -> None:
    assert domain.contains(domain.sample())


@given(domain=domains(), seed=st.integers(0, 1000))
def test_draws_survive_the_way_through_optuna(domain: Domain, seed: int) -> None:
    value = domain.sample(np.random.default_rng(seed))
    assert type(value) in (int, float)
    assert domain.contains(value)
    assert domain.clip(value) == value
    distribution = domain.distribution()
    param = domain.to_param(value)
    assert type(param) in (int, float)
    assert distribution._contains(distribution.to_internal_repr(param))
    assert domain.to_natural(param) == value
    assert domain.to_param(domain.to_natural(param)) == param or not domain.is_exact
    if domain.is_exact:
        assert param == value


@given(domain=domains(), value=numbers)
def test_what_a_domain_contains_it_accepts_and_nothing_else(domain: Domain, value: Any) -> None:
    if domain.contains(value):
        assert domain.accept(value) == pytest.approx(value, rel=1e-8, abs=1e-8)
        distribution = domain.distribution()
        assert distribution._contains(distribution.to_internal_repr(domain.to_param(value)))
    else:
        with pytest.raises(InvalidArgument, match="it must"):
            domain.accept(value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ts.uniform(1, 0), "uniform(lower=1, upper=0): lower must be < upper"),
        (lambda: ts.uniform(1, 1), "uniform(lower=1, upper=1): lower must be < upper"),
        (lambda: ts.uniform(math.nan, 1), "uniform(lower=nan, upper=1): lower must be finite"),
        (lambda: ts.uniform(0, math.inf), "uniform(lower=0, upper=inf): upper must be finite"),
        (lambda: ts.uniform(0, 10**400), "upper must be finite"),
        (lambda: ts.uniform(-1e308, 1e308), "upper - lower must be finite"),
        (lambda: ts.uniform("0", 1), "uniform(lower='0', upper=1): lower must be a number, not str"),
        (lambda: ts.uniform(True, 2), "lower must be a number, not bool"),
        (lambda: ts.uniform(None, 2), "lower must be a number, not NoneType"),
        (lambda: ts.loguniform(0, 1), "loguniform(lower=0, upper=1, base=10): lower must be > 0"),
        (lambda: ts.loguniform(-1, 1), "lower must be > 0"),
        (lambda: ts.loguniform(1, 2, base=1), "base must be > 1"),
        (lambda: ts.quniform(0, 1, 0.3), "quniform(lower=0, upper=1, q=0.3): upper must be a multiple of q; the"),
        (lambda: ts.quniform(0.1, 1, 0.5), "lower must be a multiple of q; the nearest one is 0.0"),
        (lambda: ts.quniform(0, 1, 0), "q must be > 0"),
        (lambda: ts.quniform(0, 1, -0.5), "q must be > 0"),
        (lambda: ts.quniform(1, 0, 0.5), "lower must be < upper"),
        (lambda: ts.quniform(1, 1 + 1e-12, 0.5), "lower must be < upper"),
        (lambda: ts.quniform(0, 1, 1e-15), "q must be at least a 1e-12th of the bounds"),
        (lambda: ts.qloguniform(0, 1, 0.5), "lower must be > 0"),
        (lambda: ts.qloguniform(1e-30, 1, 0.5), "lower must be at least q"),
        (lambda: ts.qloguniform(1e-4, 1e-1, 3e-5), "must be a multiple of q"),
        (lambda: ts.randn(0, 0), "randn(mean=0, sd=0): sd must be > 0"),
        (lambda: ts.randn(0, math.nan), "sd must be finite"),
        (lambda: ts.randn(1e308, 1e308), "mean + 10 * sd must be finite"),
        (lambda: ts.qrandn(0, 1, 0), "q must be > 0"),
        (lambda: ts.qrandn(0, 1, 1e-13), "q must be at least"),
        (lambda: ts.randint(2, 2), "randint(lower=2, upper=2): lower must be < upper"),
        (lambda: ts.randint(0.5, 2), "lower must be a whole number"),
        (lambda: ts.randint(0, 2**53 + 1), "upper must lie within -2**53 and 2**53"),
        (lambda: ts.lograndint(0, 2), "lower must be >= 1"),
        (lambda: ts.qrandint(1, 4, 5), "a multiple of q must lie between lower and upper"),
        (lambda: ts.qrandint(1, 4, 0), "q must be >= 1"),
        (lambda: ts.qrandint(1, 4, 0.5), "q must be a whole number"),
        (lambda: ts.qlograndint(0, 4, 2), "lower must be >= 1"),
        (lambda: ts.choice([]), "choice(values=[]): values must hold at least one value"),
        (lambda: ts.choice("abc"), "values must be a list or a tuple, not a str"),
        (lambda: ts.choice({1, 2}), "not a set; sorted(...) gives a set an order"),
        (lambda: ts.choice({"a": 1}), "not a dict"),
        (lambda: ts.choice([[ts.uniform(0, 1)]]), "a value must not be or hold another domain"),
        (lambda: ts.grid_search([]), "grid_search(values=[]): values must hold at least one value"),
        (lambda: ts.grid_search([ts.grid_search([1])]), "a value must not be or hold another domain"),
    ],
)
def test_broken_rules_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        build()
    assert isinstance(caught.value, InvalidArgument)
    assert message in str(caught.value)


def test_values_that_are_no_collection_are_refused() -> None:
    with pytest.raises(InvalidArgumentType, match="must be a list or a tuple"):
        ts.choice(3)  # type: ignore[arg-type]


def test_bounds_are_divided_up_to_rounding() -> None:
    assert ts.qloguniform(1e-4, 1e-1, 5e-5).upper == 0.1
    assert ts.quniform(3.2, 5.4, 0.2).lower == 3.2
    domain = ts.quniform(0, 0.1 + 0.2, 0.1)
    assert domain.upper == 0.3
    assert domain.contains(0.1 + 0.2)
    assert domain.accept(0.1 + 0.2) == 0.3
    assert not domain.contains(0.3001)


def test_numpy_scalars_become_plain_numbers() -> None:
    domain = ts.quniform(np.float32(3.2), np.float32(5.4), np.float32(0.2))
    assert (domain.lower, domain.upper, domain.q) == (3.2, 5.4, 0.2)
    assert type(ts.uniform(np.float64(0), np.int64(1)).lower) is float
    assert type(ts.randint(np.int32(0), np.int64(5)).upper) is int
    assert type(ts.randint(0, 5).accept(np.int64(3))) is int
    assert type(ts.uniform(0, 1).accept(np.float64(0.5))) is float
    assert type(ts.randint(0, 5).clip(np.float32(3.6))) is int
    assert [type(value) for value in ts.choice(np.array([1, 2])).values] == [int, int]
    assert [type(value) for value in ts.choice([np.float32(0.5), np.bool_(True)]).values] == [float, bool]


def test_a_grid_that_optuna_cannot_step_through_is_counted() -> None:
    thirds = ts.quniform(0, 10, 1 / 3)
    assert not thirds.is_exact
    assert thirds.distribution() == optuna.distributions.IntDistribution(0, 30)
    assert thirds.to_natural(99) == 10
    assert thirds.to_natural(thirds.to_param(2 / 3)) == thirds.accept(2 / 3)
    long = ts.quniform(0, 1e8, 0.5)
    assert not long.is_exact
    assert long.to_natural(long.to_param(12345678.5)) == 12345678.5


def test_a_stored_multiple_is_cleaned_and_a_stranger_left_alone() -> None:
    domain = ts.quniform(3.2, 5.4, 0.2)
    assert domain.to_natural(3.4000000000000004) == 3.4
    assert domain.to_natural(3.4000000000000004, given=True) == 3.4
    assert domain.to_natural(9.0) == 5.4
    assert domain.to_natural(9.1, given=True) == 9.1


@pytest.mark.parametrize("value", [math.nan, "3", None, True, [1]])
@pytest.mark.parametrize(
    "domain", [ts.uniform(0, 9), ts.quniform(0, 9, 1), ts.randint(0, 9), ts.randn(), ts.qrandint(0, 9)]
)
def test_what_is_no_number_is_neither_contained_nor_clipped(domain: Domain, value: Any) -> None:
    assert not domain.contains(value)
    with pytest.raises(InvalidArgument, match="must be a number and not NaN"):
        domain.clip(value)


def test_infinities_are_clipped_to_bounds_where_there_are_any() -> None:
    assert ts.quniform(0, 1, 0.5).clip(math.inf) == 1.0
    assert ts.randint(0, 9).clip(-math.inf) == 0
    assert ts.qlograndint(1, 10, 2).clip(math.inf) == 10
    with pytest.raises(InvalidArgument, match="no bounds"):
        ts.randn().clip(math.inf)


def test_normal_values_come_back_as_they_were_given() -> None:
    domain = ts.randn(10, 2)
    for value in (10, 12.345678, 0.1, 19.9, 1.25):
        assert domain.to_natural(domain.to_param(value)) == value
    assert domain.contains(1e6)
    assert domain.distribution()._contains(domain.to_param(1e6))
    assert ts.qrandn(10, 2, 0.2).to_natural(ts.qrandn(10, 2, 0.2).to_param(9.4)) == 9.4


class Color(Enum):
    RED = 1
    BLUE = 2


class Layer:
    pass


@pytest.mark.parametrize(
    ("values", "params"),
    [
        (["a", None, True, 3, 0.5], None),
        ([True, 1], ["True", "1"]),
        ([1, 1.0], ["1", "1.0"]),
        ([1, 1, 2], ["0: 1", "1: 1", "2: 2"]),
        (["1", 1, [2]], ["0: 1", "1: 1", "2: [2]"]),
        ([[64, 64], [128]], ["[64, 64]", "[128]"]),
        ([{"kind": "adam", "betas": (0.9, 0.99)}, {"kind": "sgd"}], None),
        ([Layer, Color], ["Layer", "Color"]),
        ([Color.RED, Color.BLUE], ["Color.RED", "Color.BLUE"]),
        ([math.inf, math.nan, 0.0], ["inf", "nan", "0.0"]),
        ([lambda x: x, lambda x: -x], None),
        (["x" * 99 + "1", ["x" * 99]], None),
        ([Layer(), Layer()], ["0: Layer", "1: Layer"]),
        ([np.zeros(2), np.ones(2)], ["0: ndarray", "1: ndarray"]),
    ],
)
def test_choice_keeps_any_value_and_its_type(values: list[Any], params: list[str] | None) -> None:
    domain = ts.choice(values)
    choices = list(domain.distribution().choices)  # type: ignore[attr-defined]
    if params is not None:
        assert choices == params
    assert domain.is_exact == all(choice is value for choice, value in zip(choices, values, strict=True))
    assert all(len(choice) <= 64 for choice in choices if isinstance(choice, str))
    for index, (value, param) in enumerate(zip(values, choices, strict=True)):
        natural = domain.to_natural(param)
        assert type(natural) is type(value)
        assert natural is value or repr(natural) == repr(value)
        assert domain.contains(value)
        if values != [1, 1, 2] or index != 1:  # the first of two equal values answers for both
            assert domain.to_param(value) == param


def test_choice_labels_hold_no_address() -> None:
    assert "0x" not in "".join(ts.choice([Layer(), object(), Layer().__init__]).distribution().choices)  # type: ignore[attr-defined,misc]


def test_choice_finds_values_that_json_has_changed() -> None:
    domain = ts.choice([(64, 64), (128,)])
    assert domain.accept([64, 64]) == (64, 64)
    assert ts.choice([1, 2]).accept(2.0) == 2
    assert type(ts.choice([1, 2]).accept(2.0)) is int
    assert not ts.choice([1, 2]).contains(True)
    assert ts.choice([True, 1]).to_param(1) == "1"
    assert ts.choice([math.nan, 1.0]).contains(math.nan)


def test_choice_has_neighbours_and_refuses_strangers() -> None:
    domain = ts.choice([16, 32, 64])
    assert domain.neighbours(16) == (32,)
    assert domain.neighbours(32) == (16, 64)
    assert domain.neighbours(64) == (32,)
    assert ts.choice([1]).neighbours(1) == ()
    assert ts.uniform(0, 1).neighbours(0.5) == ()
    assert domain.clip(32) == 32
    for refuse in (domain.clip, domain.accept, domain.to_param, domain.neighbours):
        with pytest.raises(InvalidArgument, match="must be one of its values"):
            refuse(33)
    with pytest.raises(InvalidArgument, match="no parameter of a choice among: True, 1"):
        ts.choice([True, 1]).to_natural("2")


def test_choice_hands_out_copies() -> None:
    domain = ts.choice([[64, {"a": 1}], [128]])
    domain.to_natural("[128]").append(3)
    domain.accept([128]).append(3)
    assert domain.to_natural("[128]") == [128]
    drawn = domain.sample(np.random.default_rng(0))
    drawn.clear()
    assert domain.values == ([64, {"a": 1}], [128])


@given(domain=domains())
def test_domains_are_frozen_values(domain: Domain) -> None:
    assert pickle.loads(pickle.dumps(domain)) == domain
    assert hash(domain) == hash(pickle.loads(pickle.dumps(domain)))
    with pytest.raises(AttributeError):
        setattr(domain, next(iter(domain.__dataclass_fields__)), 3)  # type: ignore[attr-defined]
