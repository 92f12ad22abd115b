"""Schedulers as Ray Tune spells them; each makes one of ``tuneflow.pruners``.

Names, order and defaults of the arguments are those of Ray Tune 2, except where Tune presumes seconds: steps are
counted by ``time_attr``, an integer result that grows with training, and intervals and grace periods are given in it.
An argument whose meaning tuneflow cannot honour is refused when the scheduler is made, as are values that break a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneflow.moved import lacks
from tuneflow.schedulers.base import FIFOScheduler, TrialScheduler
from tuneflow.schedulers.halving import (
    ASHAScheduler,
    AsyncHyperBandScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
)
from tuneflow.schedulers.naming import create_scheduler
from tuneflow.schedulers.population import PB2, PopulationBasedTraining
from tuneflow.schedulers.replay import PopulationBasedTrainingReplay

__all__ = [
    "PB2",
    "ASHAScheduler",
    "AsyncHyperBandScheduler",
    "FIFOScheduler",
    "HyperBandScheduler",
    "MedianStoppingRule",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "TrialScheduler",
    "create_scheduler",
]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)
