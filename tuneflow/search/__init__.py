"""Searchers as Ray Tune spells them; each makes an Optuna sampler.

Names and order of the arguments are those of Ray Tune 2. An argument whose meaning tuneflow cannot honour is refused
when the searcher is made.
"""

from __future__ import annotations

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
