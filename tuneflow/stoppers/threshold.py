"""Limits on single results: what ``stop={...}`` means."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from tuneflow.arguments import check_whole
from tuneflow.clock import Clock
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.stoppers.base import Stopper

__all__ = ["MaximumIterationStopper", "ThresholdStopper", "entry"]


class ThresholdStopper(Stopper):
    """Ends a trial when any ``result[key] >= value``: what ``stop={"training_iteration": 20}`` means.

    Args:
        limits: numbers by result key; nested keys as ``a/b``. A result without the key goes on, as does NaN.

    Raises:
        InvalidArgument: a limit is no number; from a result, one whose entry is none.

    Example:
        >>> ThresholdStopper({"training_iteration": 3})("00000", {"training_iteration": 3})
        True
    """

    def __init__(self, limits: Mapping[str, Any]) -> None:
        for key, value in limits.items():
            if not isinstance(value, Real) or value != value:
                raise InvalidArgument(f"stop[{key!r}]={value!r} must be a number")
        self.limits = dict(limits)
        self._unseen = set(map(str, limits))

    def start(self, clock: Clock) -> None:
        self._unseen = set(map(str, self.limits))

    @property
    def looks_back(self) -> bool:
        return False

    @property
    def unseen(self) -> set[str]:
        return self._unseen

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        stop = False
        for key, limit in self.limits.items():
            value = entry(result, key)
            if value is None:
                continue
            self._unseen.discard(str(key))
            try:
                stop = bool(value >= limit) or stop
            except (TypeError, ValueError, RuntimeError) as error:
                raise InvalidArgumentType(
                    f"stop[{key!r}]={limit!r} cannot be compared with {value!r}, which trial {trial_id} reported; "
                    f"report a number there, or stop on another key"
                ) from error
        return stop


class MaximumIterationStopper(ThresholdStopper):
    """Ends each trial after ``max_iter`` results.

    Args:
        max_iter: >= 1. A trial that goes on from a checkpoint counts on from there.

    Example:
        >>> MaximumIterationStopper(2)("00000", {"training_iteration": 1})
        False
    """

    def __init__(self, max_iter: int) -> None:
        super().__init__({"training_iteration": check_whole("max_iter", max_iter, 1)})


def entry(result: Mapping[str, Any], key: str) -> Any:
    """The entry of a result, nested ones by ``a/b``; None where there is none."""
    if key in result:
        return result[key]
    node: Any = result
    for part in str(key).split("/"):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node
