"""What is no number is refused by name, whatever the pruner."""

from __future__ import annotations

from typing import Any

import pytest

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners import ASHA, PB2, PBT, HyperBand, MedianStopping

MADE: dict[type, dict[str, Any]] = {
    ASHA: {"max_resource": 9},
    HyperBand: {"max_resource": 9},
    MedianStopping: {},
    PBT: {"mutations": {"lr": [0.1, 0.2]}},
    PB2: {"bounds": {"lr": (0.0, 1.0)}},
}
POPULATION = ["population_size", "perturbation_interval", "quantile_fraction", "burn_in"]
NUMBERS = [
    *((ASHA, name) for name in ("max_resource", "min_resource", "reduction_factor", "brackets")),
    *((HyperBand, name) for name in ("max_resource", "reduction_factor")),
    *((MedianStopping, name) for name in ("grace_period", "min_samples_required")),
    *((PBT, name) for name in (*POPULATION, "resample_probability")),
    *((PB2, name) for name in (*POPULATION, "window")),
]


@pytest.mark.parametrize("value", ["x", [1], {}, True])
@pytest.mark.parametrize(("pruner", "name"), NUMBERS)
def test_what_is_no_number(pruner: Any, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentType, match=rf"{name}=.* must be a number"):
        pruner(**{**MADE[pruner], name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1])
@pytest.mark.parametrize(("pruner", "name"), NUMBERS)
def test_numbers_out_of_range(pruner: Any, name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=rf"{name}="):
        pruner(**{**MADE[pruner], name: value})


@pytest.mark.parametrize("factors", ["ab", 3, None])
def test_factors_are_a_list_of_numbers(factors: Any) -> None:
    with pytest.raises(InvalidArgumentType, match=r"perturbation_factors=.* must be a list of numbers"):
        PBT({"lr": [1, 2]}, perturbation_factors=factors)


def test_an_explore_function_can_be_called() -> None:
    with pytest.raises(InvalidArgumentType, match="custom_explore=3 must be a function"):
        PBT({"lr": [1, 2]}, custom_explore=3)  # type: ignore[arg-type]
