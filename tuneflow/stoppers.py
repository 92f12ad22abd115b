"""When a trial or the whole run has had enough. Pure: time comes in with the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType

__all__ = [
    "CombinedStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "Stopper",
    "ThresholdStopper",
    "stopper_from",
]


class Stopper:
    """Ends single trials, or the run. Subclass it and override either method.

    Example:
        >>> class Enough(Stopper):
        ...     def __call__(self, trial_id, result):
        ...         return result["loss"] < 0.1
        >>> Enough()("00000", {"loss": 0.05})
        True
    """

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether this trial ends with this result."""
        return False

    def stop_all(self) -> bool:
        """Whether the whole run ends now."""
        return False


class ThresholdStopper(Stopper):
    """Ends a trial when any ``result[key] >= value``: what ``stop={"training_iteration": 20}`` means.

    Args:
        limits: numbers by result key; nested keys as ``a/b``.

    Attributes:
        unseen: keys that no result has held so far.

    Example:
        >>> ThresholdStopper({"training_iteration": 3})("00000", {"training_iteration": 3})
        True
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        for key, value in limits.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                raise InvalidArgument(f"stop[{key!r}]={value!r} must be a number")
        self.limits = dict(limits)
        self.unseen = set(limits)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        stop = False
        for key, limit in self.limits.items():
            value = result[key] if key in result else _nested(result, key)
            if value is None:
                continue
            self.unseen.discard(key)
            stop = stop or bool(value >= limit)
        return stop


class MaximumIterationStopper(ThresholdStopper):
    """Ends each trial after ``max_iter`` results.

    Example:
        >>> MaximumIterationStopper(2)("00000", {"training_iteration": 1})
        False
    """

    def __init__(self, max_iter: int) -> None:
        if max_iter < 1:
            raise InvalidArgument(f"max_iter={max_iter} must be >= 1")
        super().__init__({"training_iteration": max_iter})


class FunctionStopper(Stopper):
    """Wraps a function ``(trial_id, result) -> bool``.

    Example:
        >>> FunctionStopper(lambda trial_id, result: result["loss"] < 1)("00000", {"loss": 0.5})
        True
    """

    def __init__(self, function: Callable[[str, Mapping[str, Any]], bool]) -> None:
        self._function = function

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return bool(self._function(trial_id, result))


class CombinedStopper(Stopper):
    """Stops where any of its stoppers does. Each of them hears every result.

    Example:
        >>> CombinedStopper(MaximumIterationStopper(9), ThresholdStopper({"acc": 0.9}))("00000", {"acc": 0.95})
        True
    """

    def __init__(self, *stoppers: Stopper) -> None:
        self.stoppers = stoppers

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        answers = [stopper(trial_id, result) for stopper in self.stoppers]
        return any(answers)

    def stop_all(self) -> bool:
        return any(stopper.stop_all() for stopper in self.stoppers)


def stopper_from(given: Any) -> Stopper | None:
    """``stop=`` as a Stopper: a dict, a callable, a Stopper, or a list of them.

    Raises:
        InvalidArgumentType: it is none of these.
    """
    if given is None:
        return None
    if isinstance(given, Stopper):
        return given
    if isinstance(given, Mapping):
        return ThresholdStopper(given)
    if callable(given):
        return FunctionStopper(given)
    if isinstance(given, Iterable) and not isinstance(given, str):
        stoppers = [stopper_from(entry) for entry in given]
        return CombinedStopper(*[stopper for stopper in stoppers if stopper is not None])
    raise InvalidArgumentType(
        f"stop={given!r} must be a dict {{'training_iteration': 10}}, a function of (trial_id, result), a Stopper, or "
        f"a list of these"
    )


def unseen_keys(stopper: Stopper | None) -> set[str]:
    """Keys that a dict of limits names but that no result has held."""
    if isinstance(stopper, ThresholdStopper):
        return stopper.unseen
    if isinstance(stopper, CombinedStopper):
        return set().union(*(unseen_keys(inner) for inner in stopper.stoppers)) if stopper.stoppers else set()
    return set()


def _nested(result: Mapping[str, Any], key: str) -> Any:
    node: Any = result
    for part in key.split("/"):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node
