"""Where the rungs are, in integers, and who is among the best at one."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow.arguments import check_number, check_whole
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners.rungs import (
    Rung,
    bracket_sizes,
    milestones,
    n_halvings,
    to_json,
)


@pytest.mark.parametrize(
    ("max_resource", "reduction_factor", "steps"),
    [
        (81, 3, (1, 3, 9, 27)),
        (243, 3, (1, 3, 9, 27, 81)),
        (1000, 10, (1, 10, 100)),
        (256, 4, (1, 4, 16, 64)),
        (9, 3, (1, 3)),
    ],
)
def test_the_top_rung_is_not_lost(max_resource: int, reduction_factor: int, steps: tuple[int, ...]) -> None:
    assert milestones(max_resource, 1, reduction_factor) == steps
    assert n_halvings(max_resource, 1, reduction_factor) == len(steps)
    assert milestones(max_resource + 1, 1, reduction_factor) == (*steps, max_resource)
    assert n_halvings(max_resource - 1, 1, reduction_factor) == len(steps) - 1


def test_float_logarithms_would_lose_it() -> None:
    assert int(math.log(243, 3)) == 4 != n_halvings(243, 1, 3)
    assert int(math.log(1000, 10)) == 2 != n_halvings(1000, 1, 10)


@given(st.integers(1, 10**6), st.integers(1, 50), st.integers(2, 12))
def test_halvings_are_the_floor_of_the_logarithm(max_resource: int, min_resource: int, eta: int) -> None:
    if min_resource > max_resource:
        min_resource, max_resource = max_resource, min_resource
    k = n_halvings(max_resource, min_resource, eta)
    assert min_resource * eta**k <= max_resource < min_resource * eta ** (k + 1)


def test_brackets_start_higher_up() -> None:
    assert milestones(81, 1, 3, bracket=2) == (9, 27)
    assert milestones(81, 1, 3, bracket=4) == ()
    assert milestones(10, 10, 2) == ()


@pytest.mark.parametrize(
    ("max_resource", "min_resource", "eta", "steps"),
    [
        (10, 0.5, 3, (1, 2, 5)),  # 0.5, 1.5, 4.5
        (10, 0.1, 10, (1,)),  # 0.1 and 1 are both reached by step 1
        (100, 0.1, 10, (1, 10)),  # a tenth, not the binary number next to it
        (10, 2.5, 2, (3, 5)),  # the limit itself is no rung
        (4.5, 4.25, 2, ()),  # a step past 4.25 has passed 4.5 too
    ],
)
def test_fractional_resources(max_resource: float, min_resource: float, eta: int, steps: tuple[int, ...]) -> None:
    assert milestones(max_resource, min_resource, eta) == steps


def test_the_published_hyperband_brackets() -> None:
    assert bracket_sizes(4, 3) == [81, 34, 15, 8, 5]
    assert bracket_sizes(3, 10) == [1000, 134, 20, 4]
    assert bracket_sizes(0, 3) == [1]


@given(st.integers(0, 12), st.integers(2, 10))
def test_bracket_sizes_are_the_papers_ceilings(k: int, eta: int) -> None:
    assert bracket_sizes(k, eta) == [math.ceil(Fraction(k + 1, k - s + 1) * eta ** (k - s)) for s in range(k + 1)]


values = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf]))


@given(st.lists(values, min_size=1, max_size=60), st.integers(2, 5), st.data())
def test_a_rung_ranks_as_sorting_does(recorded: list[float], eta: int, data: st.DataObject) -> None:
    rung = Rung(eta)
    pairs: list[tuple[float, int]] = []
    numbers = data.draw(st.permutations(range(len(recorded))))
    for trial, value in zip(numbers, recorded, strict=True):
        rung.record(value, trial)
        pairs.append((value, trial))
        best = sorted(pairs)[: max(1, len(pairs) // eta)]
        assert rung.n == len(pairs)
        assert rung.cutoff == best[-1][0]
        assert [pair for pair in sorted(pairs) if rung.is_among_best(*pair)] == best
    assert rung.recorded() == sorted(pairs)
    again = Rung(eta, rung.recorded())
    assert (again.n, again.cutoff, again.recorded()) == (rung.n, rung.cutoff, rung.recorded())


@given(st.floats(allow_nan=False))
def test_values_survive_strict_json(value: float) -> None:
    assert float(json.loads(json.dumps(to_json(value), allow_nan=False))) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "eta=1 must be >= 2"),
        (2.5, "eta=2.5 must be a whole number"),
        (math.inf, "eta=inf must be finite"),
        (math.nan, "eta=nan must be finite"),
    ],
)
def test_whole_numbers_are_checked(value: float, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}$"):
        check_whole("eta", value, 2)


@pytest.mark.parametrize("value", ["3", None, True, 1j])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidArgumentType, match="must be a number"):
        check_number("eta", value, 0)


def test_whole_floats_and_numpy_numbers_are_whole() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (4.0, numpy.int64(4), numpy.float32(4)):
        assert type(check_whole("eta", value, 2)) is int
    assert type(check_number("r", numpy.float64(0.5), 0)) is float
