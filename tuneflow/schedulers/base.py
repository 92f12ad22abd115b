"""What a scheduler is, and what all that compare trials by a metric have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.arguments import spelt
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners import Pruner

__all__ = ["ComparingScheduler", "FIFOScheduler", "TrialScheduler", "check_time_attr"]

_SECONDS = ("time_total_s", "time_this_iter_s", "time_since_restore", "timestamp")


class TrialScheduler(ABC):
    """What ``tune.run(scheduler=...)`` takes in Tune's spelling. One object may serve several runs.

    Attributes:
        metric: the result to compare; None where it stands elsewhere.
        mode: "min" or "max"; None where it stands elsewhere.
        time_attr: the result that counts a trial's steps.
    """

    metric: str | None = None
    mode: str | None = None
    time_attr: str = "training_iteration"

    @abstractmethod
    def to_pruner(self, num_samples: int | None = None) -> Pruner | None:
        """A new pruner that does what this scheduler says.

        Args:
            num_samples: how many trials there will be, all cells of a grid counted; None or -1 where that is open.

        Returns:
            The pruner; None for the scheduler that lets every trial run to its end.
        """


class FIFOScheduler(TrialScheduler):
    """Runs trials in order, each to its end.

    Example:
        >>> FIFOScheduler().to_pruner() is None
        True
    """

    def to_pruner(self, num_samples: int | None = None) -> None:
        return None

    def __repr__(self) -> str:
        return "FIFOScheduler()"


@dataclass(frozen=True, eq=False)
class ComparingScheduler(TrialScheduler):
    """A scheduler that compares trials by a metric. Making one makes its pruner too, which checks the values."""

    time_attr: str = "training_iteration"
    metric: str | None = None
    mode: str | None = None

    _spelling: ClassVar[Mapping[str, str]] = {}
    """The pruner's names of arguments that Tune calls otherwise."""

    def __post_init__(self) -> None:
        check_time_attr(self.time_attr)
        if self.metric is not None and (not isinstance(self.metric, str) or not self.metric):
            raise InvalidArgumentType(f"metric={self.metric!r} must be the name of a result, or None")
        if self.mode not in (None, "min", "max"):
            raise InvalidArgument(f"mode={self.mode!r} must be 'min' or 'max'")
        self._check()
        self.to_pruner(num_samples=1)

    def _check(self) -> None:
        """Refuses what cannot be honoured."""

    def to_pruner(self, num_samples: int | None = None) -> Pruner:
        with spelt(self._spelling):
            return self._pruner(num_samples)

    @abstractmethod
    def _pruner(self, num_samples: int | None) -> Pruner: ...


def check_time_attr(given: object) -> None:
    """Refuses what is no name of a result, and results that count seconds."""
    if not isinstance(given, str) or not given:
        raise InvalidArgumentType(f"time_attr={given!r} must be the name of a result that counts steps")
    if given in _SECONDS:
        raise InvalidArgument(
            f"time_attr={given!r} counts seconds, which differ from run to run; use 'training_iteration', or an "
            f"integer of your own that every result holds and that grows with training, and give periods and "
            f"intervals in it. To limit time pass time_budget_s or trial_timeout_s to tune.run"
        )
