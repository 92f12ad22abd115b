"""The thirteen ways to write an entry of a search space."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tuneflow.space.categorical import Choice
from tuneflow.space.computed import Computed
from tuneflow.space.floats import LogUniform, QLogUniform, QUniform, Uniform
from tuneflow.space.grid import Grid
from tuneflow.space.integers import LogRandInt, QLogRandInt, QRandInt, RandInt
from tuneflow.space.normals import QRandn, Randn

__all__ = [
    "choice",
    "grid_search",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "uniform",
]


def uniform(lower: float, upper: float) -> Uniform:
    """A float in [lower, upper), every value with the same density."""
    return Uniform(lower=lower, upper=upper)


def quniform(lower: float, upper: float, q: float) -> QUniform:
    """A multiple of q from lower to upper, both included, each with the same probability."""
    return QUniform(lower=lower, upper=upper, q=q)


def loguniform(lower: float, upper: float, base: float = 10) -> LogUniform:
    """A float in [lower, upper), its logarithm with the same density everywhere."""
    return LogUniform(lower=lower, upper=upper, base=base)


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> QLogUniform:
    """A multiple of q from lower to upper, both included, each with its share of the logarithmic axis."""
    return QLogUniform(lower=lower, upper=upper, q=q, base=base)


def randn(mean: float = 0.0, sd: float = 1.0) -> Randn:
    """A normally distributed float."""
    return Randn(mean=mean, sd=sd)


def qrandn(mean: float, sd: float, q: float) -> QRandn:
    """A normally distributed float, rounded to the nearest multiple of q."""
    return QRandn(mean=mean, sd=sd, q=q)


def randint(lower: int, upper: int) -> RandInt:
    """An integer from lower to upper - 1, each with the same probability."""
    return RandInt(lower=lower, upper=upper)


def qrandint(lower: int, upper: int, q: int = 1) -> QRandInt:
    """A multiple of q from lower to upper, both included, each with the same probability."""
    return QRandInt(lower=lower, upper=upper, q=q)


def lograndint(lower: int, upper: int, base: float = 10) -> LogRandInt:
    """An integer from lower to upper - 1, each with its share of the logarithmic axis."""
    return LogRandInt(lower=lower, upper=upper, base=base)


def qlograndint(lower: int, upper: int, q: int, base: float = 10) -> QLogRandInt:
    """A multiple of q from lower to upper, both included, each with its share of the logarithmic axis."""
    return QLogRandInt(lower=lower, upper=upper, q=q, base=base)


def choice(values: Iterable[Any]) -> Choice:
    """One of some values of any type, each with the same probability."""
    return Choice(values=values)  # type: ignore[arg-type]


def sample_from(function: Callable[..., Any]) -> Computed:
    """A value computed from the others: ``lambda spec: spec.config.lr * 0.1`` or ``lambda config: config["lr"] * 0.1``.

    The name of the argument decides: ``spec`` has the configuration as its attribute ``config``, any other argument is
    the configuration. It is read-only and gives its entries as items and as attributes.
    """
    return Computed(function=function)


def grid_search(values: Iterable[Any]) -> Grid:
    """Every one of some values of any type: the cross product of all grids is tried."""
    return Grid(values=values)  # type: ignore[arg-type]
