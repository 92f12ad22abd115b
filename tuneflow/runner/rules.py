"""What a run is to do, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tuneflow.arguments import check_seconds, check_whole
from tuneflow.errors import InvalidArgument
from tuneflow.runner.resources import Resources
from tuneflow.stoppers import Stopper

__all__ = ["OnOom", "Rules"]

OnOom = Literal["fail", "prune", "retry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The limits and habits of one run.

    Attributes:
        n_trials: new trials to start; None for no limit.
        timeout_s: seconds after which no trial goes on; None for no limit.
        max_concurrent: trials at a time; None for as many as fit.
        request: resources of each trial.
        stopper: ends trials or the run by their results.
        max_failures: further attempts that a failed trial gets, from its last checkpoint; -1 for no limit.
        fail_fast: whether the first trial that fails for good ends the run; "raise" is True to the Loop.
        catch: exceptions that only fail their trial; None for all.
        trial_timeout_s: hard limit on one attempt.
        on_oom: what becomes of a trial that ran out of memory.
        checkpoint_freq: every how many results a trial that can be saved is; 0 for never.
        checkpoint_at_end: whether it is at its end.
        time_attr: the result that counts a trial's steps.
        is_deterministic: events are handled in logical order.
        default_kind: how to call a function of one argument whose name does not tell.
        name: the experiment's name.
        echoes: whether what trials print in other processes is shown too.
        batch_size: new trials start this many at a time, when all that run have left their slots; 0 for no batches.
        points: gives the fixed part of new trial number i, a cell of a grid; None for none.
    """

    n_trials: int | None = None
    timeout_s: float | None = None
    max_concurrent: int | None = None
    request: Resources = field(default_factory=Resources)
    stopper: Stopper | None = None
    max_failures: int = 0
    fail_fast: bool | Literal["raise"] = False
    catch: tuple[type[BaseException], ...] | None = None
    trial_timeout_s: float | None = None
    on_oom: OnOom = "fail"
    checkpoint_freq: int = 0
    checkpoint_at_end: bool = False
    time_attr: str = "training_iteration"
    is_deterministic: bool = False
    default_kind: Any = "config"
    name: str = ""
    echoes: bool = False
    batch_size: int = 0
    points: Callable[[int], dict[str, Any] | None] | None = None

    def __post_init__(self) -> None:
        if self.n_trials is not None:
            check_whole("n_trials", self.n_trials, 0)
        for name in ("timeout_s", "trial_timeout_s"):
            check_seconds(name, getattr(self, name))
        if self.max_concurrent is not None:
            check_whole("max_concurrent_trials", self.max_concurrent, 1)
        check_whole("max_failures", self.max_failures, -1)
        if self.fail_fast not in (True, False, "raise"):
            raise InvalidArgument(f"fail_fast={self.fail_fast!r} must be True, False or 'raise'")
        if self.on_oom not in ("fail", "prune", "retry"):
            raise InvalidArgument(f"on_oom={self.on_oom!r} must be 'fail', 'prune' or 'retry'")
        check_whole("checkpoint_freq", self.checkpoint_freq, 0)
