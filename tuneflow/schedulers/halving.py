"""Schedulers that end the trials that fall behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tuneflow.errors import InvalidArgument
from tuneflow.moved import refusing
from tuneflow.pruners import ASHA, HyperBand, MedianStopping, Pruner
from tuneflow.schedulers.base import ComparingScheduler

__all__ = ["ASHAScheduler", "AsyncHyperBandScheduler", "HyperBandScheduler", "MedianStoppingRule"]


@refusing("scheduler")
@dataclass(frozen=True, eq=False)
class AsyncHyperBandScheduler(ComparingScheduler):
    """Asynchronous successive halving: ``tuneflow.pruners.ASHA``. Tune knows it as ``ASHAScheduler`` too.

    Args:
        time_attr: an integer result that grows with training.
        metric: the result to compare; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        max_t: steps after which a trial ends as complete.
        grace_period: no trial stops before this step.
        reduction_factor: one in this many goes on; a whole number >= 2.
        brackets: how many brackets; a new trial joins the one that is furthest behind its share, not a random one.
        stop_last_trials: only True; a trial always ends at ``max_t``.
        promote: the paper's own form, which Tune lacks: trials pause at every rung, and the best go on later.

    Raises:
        InvalidArgument: a value breaks its rule, or ``time_attr`` counts seconds.

    Example:
        >>> ASHAScheduler(metric="loss", mode="min", max_t=27, reduction_factor=3).to_pruner()
        ASHA(max_resource=27, min_resource=1, reduction_factor=3, brackets=1, promote=False)
    """

    max_t: int = 100
    grace_period: int = 1
    reduction_factor: int = 4
    brackets: int = 1
    stop_last_trials: bool = True
    promote: bool = field(default=False, kw_only=True)

    _spelling: ClassVar[Mapping[str, str]] = {"max_resource": "max_t", "min_resource": "grace_period"}

    def _check(self) -> None:
        _check_stop_last_trials(self.stop_last_trials)

    def _pruner(self, num_samples: int | None) -> Pruner:
        return ASHA(self.max_t, self.grace_period, self.reduction_factor, self.brackets, self.promote)


ASHAScheduler = AsyncHyperBandScheduler


@refusing("scheduler")
@dataclass(frozen=True, eq=False)
class HyperBandScheduler(ComparingScheduler):
    """Synchronous HyperBand: ``tuneflow.pruners.HyperBand``, which pauses and promotes.

    Args:
        time_attr: an integer result that grows with training.
        metric: the result to compare; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        max_t: steps after which a trial ends as complete; a whole number.
        reduction_factor: one in this many goes on; a whole number >= 2.
        stop_last_trials: only True; a trial always ends at ``max_t``.

    Raises:
        InvalidArgument: a value breaks its rule, or ``time_attr`` counts seconds.

    Example:
        >>> HyperBandScheduler(metric="score", mode="max").to_pruner()
        HyperBand(max_resource=81, reduction_factor=3)
    """

    max_t: int = 81
    reduction_factor: int = 3
    stop_last_trials: bool = True

    _spelling: ClassVar[Mapping[str, str]] = {"max_resource": "max_t"}

    def _check(self) -> None:
        _check_stop_last_trials(self.stop_last_trials)

    def _pruner(self, num_samples: int | None) -> Pruner:
        return HyperBand(self.max_t, self.reduction_factor)


@refusing("scheduler")
@dataclass(frozen=True, eq=False)
class MedianStoppingRule(ComparingScheduler):
    """The median stopping rule: ``tuneflow.pruners.MedianStopping``.

    Args:
        time_attr: an integer result that grows with training.
        metric: the result to compare; may stand in ``tune.run`` instead.
        mode: "min" or "max".
        grace_period: no trial stops before this step (Tune: 60 seconds).
        min_samples_required: how many other trials it takes to stop one.
        min_time_slice: only 0; a trial never yields its slot to another, however little it is known.
        hard_stop: only True; trials are stopped and not paused.

    Raises:
        InvalidArgument: a value breaks its rule, or ``time_attr`` counts seconds.

    Example:
        >>> MedianStoppingRule(metric="loss", mode="min", grace_period=5).to_pruner()
        MedianStopping(grace_period=5, min_samples_required=3)
    """

    grace_period: float = 1
    min_samples_required: int = 3
    min_time_slice: int = 0
    hard_stop: bool = True

    def _check(self) -> None:
        if self.min_time_slice != 0:
            raise InvalidArgument(
                f"min_time_slice={self.min_time_slice!r} must be 0: a trial keeps its slot until it ends; leave it out"
            )
        if not self.hard_stop:
            raise InvalidArgument(
                f"hard_stop={self.hard_stop!r} must be True: the rule stops trials and does not pause them; for "
                f"pausing and going on later use HyperBandScheduler() or ASHAScheduler(promote=True)"
            )

    def _pruner(self, num_samples: int | None) -> Pruner:
        return MedianStopping(self.grace_period, self.min_samples_required)


def _check_stop_last_trials(given: object) -> None:
    if not given:
        raise InvalidArgument(
            f"stop_last_trials={given!r} must be True: a trial ends at max_t; raise max_t to as many steps as a trial "
            f"may have"
        )
