"""From a name to a scheduler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tuneflow.errors import InvalidArgumentType, UnknownName
from tuneflow.schedulers.base import FIFOScheduler, TrialScheduler
from tuneflow.schedulers.halving import AsyncHyperBandScheduler, HyperBandScheduler, MedianStoppingRule
from tuneflow.schedulers.population import PB2, PopulationBasedTraining
from tuneflow.schedulers.replay import PopulationBasedTrainingReplay

__all__ = ["create_scheduler"]


def create_scheduler(scheduler: str, **arguments: Any) -> TrialScheduler:
    """A scheduler by Tune's name for it.

    Args:
        scheduler: "fifo", "asha", "async_hyperband", "hyperband", "median_stopping_rule", "pbt", "pbt_replay", "pb2".
        arguments: those of the class. Tune drops the ones that a class does not know; here they are refused.

    Raises:
        UnknownName: no such scheduler; the message lists all of them.
        InvalidArgumentType: an argument that it does not take.

    Example:
        >>> create_scheduler("hyperband", max_t=9).to_pruner()
        HyperBand(max_resource=9, reduction_factor=3)
    """
    made = _NAMES.get(str(scheduler).lower())
    if made is None:
        raise UnknownName("scheduler", scheduler, sorted(_NAMES))
    known = list(inspect.signature(made).parameters)
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise InvalidArgumentType(
            f"scheduler {scheduler!r} does not take {', '.join(unknown)}; it takes: {', '.join(known) or 'nothing'}"
        )
    return made(**arguments)


_NAMES: dict[str, Callable[..., TrialScheduler]] = {
    "fifo": FIFOScheduler,
    "asha": AsyncHyperBandScheduler,
    "async_hyperband": AsyncHyperBandScheduler,
    "asynchyperband": AsyncHyperBandScheduler,
    "hyperband": HyperBandScheduler,
    "median_stopping_rule": MedianStoppingRule,
    "medianstopping": MedianStoppingRule,
    "pbt": PopulationBasedTraining,
    "pbt_replay": PopulationBasedTrainingReplay,
    "pb2": PB2,
}
