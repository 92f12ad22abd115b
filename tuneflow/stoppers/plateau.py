"""Stoppers that see a metric stand still: that of a trial, or the best ones of the whole run."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from tuneflow.arguments import check_number, check_real, check_whole
from tuneflow.clock import Clock
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.stoppers.base import Stopper
from tuneflow.stoppers.threshold import entry

__all__ = ["ExperimentPlateauStopper", "TrialPlateauStopper"]


class TrialPlateauStopper(Stopper):
    """Ends a trial whose last results hardly differ: their standard deviation is below ``std``.

    It is the population's standard deviation, as in Tune. Where it is NaN or infinite, as with a NaN among the results,
    the trial goes on. Results without the metric do not count.

    Args:
        metric: the result to look at; nested ones as ``a/b``.
        std: the deviation below which a trial stands still, >= 0.
        num_results: how many results are looked at, >= 2.
        grace_period: a trial never ends before this many results, >= 0.
        metric_threshold: a trial whose last value is worse does not end; None for no such condition.
        mode: "min" or "max": which values are worse than the threshold; needed with one.

    Raises:
        InvalidArgument: an argument that breaks its rule.
        InvalidArgumentType: one that is no number.

    Example:
        >>> stopper = TrialPlateauStopper("loss", std=0.01, num_results=3, grace_period=3)
        >>> [stopper("00000", {"loss": loss}) for loss in (1.0, 0.5, 0.5, 0.5)]
        [False, False, False, True]
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: str | None = None,
    ) -> None:
        _check_metric(metric)
        self.metric = metric
        self.std = check_number("std", std, 0)
        self.num_results = check_whole("num_results", num_results, 2)
        self.grace_period = check_whole("grace_period", grace_period, 0)
        if metric_threshold is not None:
            check_real("metric_threshold", metric_threshold)
            if mode not in ("min", "max"):
                raise InvalidArgument(f"mode={mode!r} must be 'min' or 'max' where metric_threshold is given")
        elif mode not in (None, "min", "max"):
            raise InvalidArgument(f"mode={mode!r} must be 'min', 'max' or None")
        self.metric_threshold = metric_threshold
        self.mode = mode
        self._forget()

    def _forget(self) -> None:
        self._values: dict[str, deque[float]] = {}
        self._n_results: dict[str, int] = {}

    def start(self, clock: Clock) -> None:
        self._forget()  # another run's trials have the same ids

    @property
    def unseen(self) -> tuple[str, ...]:
        return () if self._n_results else (self.metric,)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        value = _number(result, self.metric)
        if value is None:
            return False
        n_results = self._n_results[trial_id] = self._n_results.get(trial_id, 0) + 1
        values = self._values.setdefault(trial_id, deque(maxlen=self.num_results))
        values.append(value)
        if n_results < self.grace_period or len(values) < self.num_results:
            return False
        if self.metric_threshold is not None and (
            value > self.metric_threshold if self.mode == "min" else value < self.metric_threshold
        ):
            return False
        is_still = _deviation(values) < self.std
        if is_still:
            del self._values[trial_id]  # it ends
        return is_still


class ExperimentPlateauStopper(Stopper):
    """Ends the run when the best values of all results stand still.

    The ``top`` best values that any trial has reported, several of one trial included, have a standard deviation of at
    most ``std``, and have had with each of the last ``patience`` results.

    Args:
        metric: the result to look at; nested ones as ``a/b``. NaN and results without it do not count.
        std: the deviation (of the population, as in Tune) up to which the best values stand still, above zero.
        top: how many of the best values are looked at, >= 2.
        mode: "min" or "max": which values are best.
        patience: how many results in a row have to find them standing still, >= 0; 0 and 1 are the same.

    Raises:
        InvalidArgument: an argument that breaks its rule.
        InvalidArgumentType: one that is no number.

    Example:
        >>> stopper = ExperimentPlateauStopper("loss", top=2, mode="min")
        >>> [stopper(f"{trial:05d}", {"loss": loss}) for trial, loss in enumerate([3.0, 1.0, 2.0, 1.0])]
        [False, False, False, True]
        >>> stopper.stop_all()
        True
    """

    def __init__(self, metric: str, std: float = 0.001, top: int = 10, mode: str = "min", patience: int = 0) -> None:
        _check_metric(metric)
        self.metric = metric
        self.std = check_number("std", std, 0)
        if self.std == 0:
            raise InvalidArgument("std=0 must be above zero")
        self.top = check_whole("top", top, 2)
        if mode not in ("min", "max"):
            raise InvalidArgument(f"mode={mode!r} must be 'min' or 'max'")
        self.mode = mode
        self.patience = check_whole("patience", patience, 0)
        self._forget()

    def _forget(self) -> None:
        self._best: list[float] = []  # lower is better
        self._n_still = 0
        self._is_seen = False

    def start(self, clock: Clock) -> None:
        self._forget()

    @property
    def unseen(self) -> tuple[str, ...]:
        return () if self._is_seen else (self.metric,)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        value = _number(result, self.metric)
        if value is None:
            return False
        self._is_seen = True
        if value == value:
            insort(self._best, value if self.mode == "min" else -value)
            del self._best[self.top :]
            self._n_still = self._n_still + 1 if self._stands_still() else 0
        return self.stop_all()

    def stop_all(self) -> bool:
        return self._stands_still() and self._n_still >= self.patience

    def _stands_still(self) -> bool:
        return len(self._best) == self.top and _deviation(self._best) <= self.std


def _check_metric(metric: object) -> None:
    if not isinstance(metric, str) or not metric:
        raise InvalidArgumentType(f"metric={metric!r} must be the name of a result")


def _number(result: Mapping[str, Any], metric: str) -> float | None:
    value = entry(result, metric)
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgumentType(
            f"a stopper looks at {metric!r}, where {value!r} was reported; report a number"
        ) from None


def _deviation(values: Iterable[float]) -> float:
    """The population's standard deviation; NaN where a value is NaN or infinite."""
    listed = list(values)
    if not all(map(math.isfinite, listed)):
        return math.nan
    mean = sum(value / len(listed) for value in listed)  # no sum that overflows
    return math.sqrt(math.fsum((value - mean) * (value - mean) for value in listed) / len(listed))
