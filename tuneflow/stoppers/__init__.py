"""When a trial or the whole run has had enough. Pure: time comes from a clock that is handed in, or with the results.

Names and order of the arguments are those of Ray Tune 2. A stopper is an object in the driver: what it has counted is
not stored, and every run starts it anew, one that goes on with an earlier one too. So one object may serve several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tuneflow.arguments import refuse_class
from tuneflow.errors import InvalidArgumentType
from tuneflow.moved import lacks
from tuneflow.stoppers.base import CombinedStopper, FunctionStopper, Stopper
from tuneflow.stoppers.plateau import ExperimentPlateauStopper, TrialPlateauStopper
from tuneflow.stoppers.threshold import MaximumIterationStopper, ThresholdStopper
from tuneflow.stoppers.timeout import TimeoutStopper

__all__ = [
    "CombinedStopper",
    "ExperimentPlateauStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "Stopper",
    "ThresholdStopper",
    "TimeoutStopper",
    "TrialPlateauStopper",
    "stopper_from",
]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)


def stopper_from(given: Any) -> Stopper | None:
    """``stop=`` as a Stopper: a dict, a callable, a Stopper, or a list of them.

    Raises:
        InvalidArgumentType: it is none of these.

    Example:
        >>> type(stopper_from([{"training_iteration": 10}, lambda trial_id, result: False])).__name__
        'CombinedStopper'
    """
    if given is None or isinstance(given, Stopper):
        return given
    if isinstance(given, Mapping):
        return ThresholdStopper(given)
    if callable(given) and not isinstance(given, type):
        return FunctionStopper(given)
    if isinstance(given, Iterable) and not isinstance(given, str):
        stoppers = [stopper_from(entry) for entry in given]
        return CombinedStopper(*[stopper for stopper in stoppers if stopper is not None])
    refuse_class(stop=given)
    raise InvalidArgumentType(
        f"stop={given!r} must be a dict {{'training_iteration': 10}}, a function of (trial_id, result), a Stopper, or "
        f"a list of these"
    )
