"""What a stopper is, and what may stand in ``stop=``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tuneflow.clock import Clock
from tuneflow.errors import InvalidArgumentType, UsageError

__all__ = ["CombinedStopper", "FunctionStopper", "Stopper"]


class Stopper:
    """Ends single trials, or the run. Subclass it and override either method.

    Where a run goes on with an earlier one, a stopper hears the results of that one again, in their order, before the
    first new one, and what it answers then ends no trial.

    Example:
        >>> class Enough(Stopper):
        ...     def __call__(self, trial_id, result):
        ...         return result["loss"] < 0.1
        >>> Enough()("00000", {"loss": 0.05})
        True
    """

    def start(self, clock: Clock) -> None:
        """The run begins; heard once before its first trial, also where it goes on with an earlier one.

        What an earlier run has told this very object is to be forgotten here.

        Args:
            clock: the run's, a virtual one in a simulation.
        """

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether this trial ends with this result."""
        return False

    def stop_all(self) -> bool:
        """Whether the whole run ends now: nothing new starts, and trials that run end with their next result."""
        return False

    @property
    def looks_back(self) -> bool:
        """Whether its answers depend on earlier results; else it need not hear those of an earlier run."""
        return True

    @property
    def unseen(self) -> Collection[str]:
        """Keys of results that it waits for and that no result has held so far."""
        return ()


class FunctionStopper(Stopper):
    """Wraps a function ``(trial_id, result) -> bool``.

    Raises:
        InvalidArgumentType: it does not take these two; from a result, ``UsageError`` with the function's own exception
            as its cause.

    Example:
        >>> FunctionStopper(lambda trial_id, result: result["loss"] < 1)("00000", {"loss": 0.5})
        True
    """

    def __init__(self, function: Callable[[str, Mapping[str, Any]], bool]) -> None:
        if not callable(function):
            raise InvalidArgumentType(f"function={function!r} must be a function (trial_id, result) -> bool")
        try:
            inspect.signature(function).bind("00000", {})
        except TypeError:
            raise InvalidArgumentType(f"function={function!r} must take two arguments, trial_id and result") from None
        except ValueError:  # some functions written in C tell nothing
            pass
        self._function = function

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        try:
            return bool(self._function(trial_id, result))
        except Exception as error:
            raise UsageError(
                f"the stop function {getattr(self._function, '__qualname__', self._function)!s} failed on a result of "
                f"trial {trial_id}: {type(error).__name__}: {error}"
            ) from error


class CombinedStopper(Stopper):
    """Stops where any of its stoppers does. Each of them hears every result.

    Example:
        >>> CombinedStopper(Stopper(), FunctionStopper(lambda trial_id, result: True))("00000", {})
        True
    """

    def __init__(self, *stoppers: Stopper) -> None:
        for stopper in stoppers:
            if not isinstance(stopper, Stopper):
                raise InvalidArgumentType(f"{stopper!r} must be a Stopper; stop=[...] takes dicts and functions too")
        self.stoppers = stoppers

    @property
    def looks_back(self) -> bool:
        return any(stopper.looks_back for stopper in self.stoppers)

    def start(self, clock: Clock) -> None:
        for stopper in self.stoppers:
            stopper.start(clock)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        answers = [stopper(trial_id, result) for stopper in self.stoppers]
        return any(answers)

    def stop_all(self) -> bool:
        return any(stopper.stop_all() for stopper in self.stoppers)

    @property
    def unseen(self) -> set[str]:
        return {key for stopper in self.stoppers for key in stopper.unseen}
