"""Search spaces: domains, and the nested dicts that hold them."""

from __future__ import annotations

from tuneflow.space.categorical import Choice
from tuneflow.space.computed import Computed
from tuneflow.space.domain import Domain, Variable
from tuneflow.space.domains import (
    choice,
    grid_search,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from tuneflow.space.floats import LogUniform, QLogUniform, QUniform, Uniform
from tuneflow.space.grid import Grid
from tuneflow.space.integers import LogRandInt, QLogRandInt, QRandInt, RandInt
from tuneflow.space.normals import QRandn, Randn
from tuneflow.space.space import Space
from tuneflow.space.text import space_from_mapping, space_from_text

__all__ = [
    "Choice",
    "Computed",
    "Domain",
    "Grid",
    "LogRandInt",
    "LogUniform",
    "QLogRandInt",
    "QLogUniform",
    "QRandInt",
    "QRandn",
    "QUniform",
    "RandInt",
    "Randn",
    "Space",
    "Uniform",
    "Variable",
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
    "space_from_mapping",
    "space_from_text",
    "uniform",
]
