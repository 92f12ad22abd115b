"""Schedulers as Ray Tune spells them; each makes one of ``tuneflow.pruners``.

Names, order and defaults of the arguments are those of Ray Tune 2, except where Tune presumes seconds: steps are
counted by ``time_attr``, an integer result that grows with training, and intervals and grace periods are given in it.
An argument whose meaning tuneflow cannot honour is refused when the scheduler is made, as are values that break a rule.
"""

from __future__ import annotations

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
