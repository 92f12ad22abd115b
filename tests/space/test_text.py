"""Domains written as text."""

from __future__ import annotations

from typing import Any

import pytest

import tuneflow.space as ts
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.space import space_from_mapping, space_from_text


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("uniform(-5, -1)", ts.uniform(-5, -1)),
        (" tune.quniform(3.2, 5.4, q=0.2) ", ts.quniform(3.2, 5.4, 0.2)),
        ("loguniform(1e-4, 1e-1)", ts.loguniform(1e-4, 1e-1)),
        ("loguniform(lower=1, upper=2, base=2)", ts.loguniform(1, 2, base=2)),
        ("qloguniform(1e-4, 1e-1, 5e-5)", ts.qloguniform(1e-4, 1e-1, 5e-5)),
        ("randn()", ts.randn()),
        ("qrandn(10, 2, 0.2)", ts.qrandn(10, 2, 0.2)),
        ("randint(-9, 15)", ts.randint(-9, 15)),
        ("qrandint(-21, 12, 3)", ts.qrandint(-21, 12, 3)),
        ("lograndint(1, 10)", ts.lograndint(1, 10)),
        ("qlograndint(1, 10, 2)", ts.qlograndint(1, 10, 2)),
        ("choice(['a', None, True, [1, 2]])", ts.choice(["a", None, True, [1, 2]])),
        ("grid_search([32, 64])", ts.grid_search([32, 64])),
    ],
)
def test_a_call_becomes_a_domain(text: str, domain: Any) -> None:
    assert space_from_text(text) == domain


@pytest.mark.parametrize(
    "text", ["adam", "", "uniform", "f(", "print('x')", "relu(inplace=True)", "a uniform(0, 1)", "unifrm(", "1e-4"]
)
def test_other_text_is_a_constant(text: str) -> None:
    assert space_from_text(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uniform(0, 1", "not a complete call of uniform"),
        ("uniform(0, 1) + 1", "not a complete call of uniform"),
        ("uniform(0, 1)(2)", "not a complete call of uniform"),
        ("uniform(0, x)", "must be literals"),
        ("uniform(0, 2**3)", "must be literals"),
        ("uniform(*[0, 1])", "must be literals"),
        ("uniform(**{'lower': 0})", "must be literals"),
        ("choice([__import__('os').getcwd()])", "must be literals"),
        ("uniform(0)", "missing 1 required positional argument: 'upper'"),
        ("uniform(0, 1, 2)", "positional arguments"),
        ("uniform(1, 0)", "lower must be < upper"),
        ("unifrom(0, 1)", "did you mean uniform"),
        ("sample_from(lambda spec: 1)", "takes a Python function"),
    ],
)
def test_a_call_that_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        space_from_text(text)
    assert message in str(caught.value)


def test_a_mapping_is_walked_and_errors_name_the_entry() -> None:
    space = space_from_mapping(
        {
            "opt": {"lr": "loguniform(1e-4, 1e-1)", "name": "adam"},
            "layers": ["randint(1, 9)", 3],
            "batch": {"grid_search": [1, 2]},
        }
    )
    assert list(space.domains) == ["opt/lr", "layers/0"]
    assert space.grids == {"batch": (1, 2)}
    with pytest.raises(InvalidArgument, match=r"^layers/0/units: .*lower must be < upper"):
        space_from_mapping({"layers": [{"units": "randint(9, 1)"}]})


@pytest.mark.parametrize("loaded", [None, "lr: uniform(0, 1)", ["uniform(0, 1)"]])
def test_a_file_that_holds_no_mapping_is_refused(loaded: Any) -> None:
    with pytest.raises(InvalidArgumentType, match="a search space must be a mapping"):
        space_from_mapping(loaded)
