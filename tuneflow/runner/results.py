"""From what a trial reports or returns to the result that listeners and the study get. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType, MetricMissing
from tuneflow.telling import as_step
from tuneflow.trainable.messages import Reported
from tuneflow.trial import Trial

__all__ = ["Results", "returned_metrics"]


class Results:
    """Reads the reports of one run.

    Args:
        metric: what a bare number stands for.
        hostname: of the machine that the driver runs on.
        time_attr: the entry that counts a trial's steps.
    """

    def __init__(self, metric: str, hostname: str, time_attr: str) -> None:
        self._metric = metric
        self._hostname = hostname
        self._time_attr = time_attr
        self._counts_iterations = time_attr == "training_iteration"

    def step_of(self, event: Reported) -> int:
        """The step that a report stands for.

        Raises:
            MetricMissing: it lacks the ``time_attr``.
            InvalidArgumentType: the ``time_attr`` is no whole number >= 0.
        """
        if event.step is not None:
            return event.step
        if self._counts_iterations or not isinstance(event.metrics, Mapping):
            return event.iteration
        name = self._time_attr
        if name not in event.metrics:
            raise MetricMissing(name, [str(key) for key in event.metrics], "time_attr")
        try:
            return as_step(event.metrics[name])
        except (InvalidArgument, InvalidArgumentType):
            raise InvalidArgumentType(
                f"{name}={event.metrics[name]!r} was reported; time_attr={name!r} counts steps and must be an integer "
                f">= 0 that grows with training"
            ) from None

    def whole(self, trial: Trial, event: Reported) -> dict[str, Any]:
        """The trial's metrics and what every result carries besides."""
        metrics = event.metrics
        result = dict(metrics) if isinstance(metrics, Mapping) else {self._metric: metrics}
        result.setdefault("done", False)
        result["training_iteration"] = event.iteration
        result["time_this_iter_s"] = event.time_this_iter_s
        result["time_total_s"] = event.time_total_s
        result["timestamp"] = event.timestamp
        result["trial_id"] = trial.trial_id
        result["pid"] = event.pid
        result["hostname"] = self._hostname
        return result

    def last(self, trial: Trial, metrics: Mapping[str, Any], *, iteration: int, now_s: float) -> dict[str, Any]:
        """The result that a trial's return value stands for."""
        before = trial.last_result or {}
        return {
            **metrics,
            "done": True,
            "training_iteration": iteration,
            "time_this_iter_s": 0.0,
            "time_total_s": trial.time_total_s,
            "timestamp": now_s,
            "trial_id": trial.trial_id,
            "pid": before.get("pid"),
            "hostname": self._hostname,
        }


def returned_metrics(value: Any, metric: str) -> dict[str, Any] | None:
    """A function's return value as metrics: a dict, or a number for ``metric``; None for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    try:
        return {metric: float(value)}
    except (TypeError, ValueError):
        return None
