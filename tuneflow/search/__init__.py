"""Searchers as Ray Tune spells them; each makes an Optuna sampler.

Names and order of the arguments are those of Ray Tune 2. An argument whose meaning tuneflow cannot honour is refused
when the searcher is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneflow.moved import lacks
from tuneflow.search.base import Searcher
from tuneflow.search.libraries import AxSearch, BayesOptSearch, HyperOptSearch, NevergradSearch
from tuneflow.search.native import BasicVariantGenerator, OptunaSearch
from tuneflow.search.wrappers import ConcurrencyLimiter, Repeater

__all__ = [
    "AxSearch",
    "BasicVariantGenerator",
    "BayesOptSearch",
    "ConcurrencyLimiter",
    "HyperOptSearch",
    "NevergradSearch",
    "OptunaSearch",
    "Repeater",
    "Searcher",
]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)
