"""From values to a score."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow.analysis.scopes import check_mode, check_scope, is_better, score
from tuneflow.errors import InvalidArgument

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
lists = st.lists(numbers, min_size=1, max_size=30)


@given(lists, st.sampled_from(["min", "max"]))
def test_scopes_of_real_values(values, mode):
    assert score(values, "last", mode) == values[-1]
    assert score(values, "all", mode) == {"min": min, "max": max}[mode](values)
    for scope, last in (("avg", values), ("last-5-avg", values[-5:]), ("last-10-avg", values[-10:])):
        assert score(values, scope, mode) == pytest.approx(math.fsum(last) / len(last), rel=1e-6, abs=1e-6)


def test_nan_spoils_what_it_is_in():
    values = [1.0, math.nan, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert score(values, "last", "min") == 6.0
    assert score(values, "all", "min") == 1.0
    assert score(values, "all", "max") == 6.0
    assert score(values, "last-5-avg", "min") == 4.0
    assert math.isnan(score(values, "avg", "min"))
    assert math.isnan(score([1.0, math.nan], "last", "min"))
    assert math.isnan(score([math.nan], "all", "min"))
    assert math.isnan(score([], "last", "min"))


@given(st.lists(numbers | st.just(math.nan), max_size=10), st.sampled_from(["min", "max"]))
def test_nan_is_never_best(values, mode):
    best = None
    for value in values:
        if is_better(value, best, mode):
            best = value
    real = [value for value in values if value == value]
    assert best == ({"min": min, "max": max}[mode](real) if real else None)


def test_infinity_can_be_best():
    assert is_better(math.inf, 1.0, "max")
    assert is_better(1.0, math.inf, "min")


def test_unknown_words_are_refused():
    with pytest.raises(InvalidArgument, match=r"scope='best' must be one of 'last', 'all'"):
        check_scope("best")
    with pytest.raises(InvalidArgument, match=r"mode='up' must be 'min' or 'max'"):
        check_mode("up")
    assert (check_mode("minimize"), check_mode("max")) == ("min", "max")
