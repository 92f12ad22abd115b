"""What a told value means: state, values, or why the trial failed. Pure; by Optuna's rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument, InvalidArgumentType, MetricMissing, UsageError
from tuneflow.stoppers.threshold import entry

__all__ = ["AUTOMATIC", "Objectives", "Outcome", "as_step", "judge"]


AUTOMATIC = frozenset(
    {
        "done",
        "hostname",
        "pid",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "training_iteration",
        "trial_id",
    }
)
"""What every result of a run carries besides the user's own entries."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ends.

    Attributes:
        state: COMPLETE, PRUNED or FAIL.
        values: one per objective; None where there is none to store.
        problem: why it failed, "" where it did not.
    """

    state: TrialState
    values: list[float] | None
    problem: str = ""


def judge(values: Any, state: TrialState | None, *, last_value: float | None, n_objectives: int) -> Outcome:
    """The outcome of a trial that was told ``values`` and ``state``.

    Args:
        values: a number, one per objective, or None.
        state: COMPLETE, PRUNED, FAIL, or None to let the values say it.
        last_value: the last reported value: what a pruned trial is remembered by.
        n_objectives: how many values are needed.

    Raises:
        InvalidArgument: values and state do not go together.
    """
    if state is TrialState.PRUNED or state is TrialState.FAIL:
        if values is not None:
            raise InvalidArgument(f"values={values!r} cannot be told with state {state.name}; leave them out")
        if state is TrialState.FAIL or n_objectives > 1 or last_value is None or math.isnan(last_value):
            return Outcome(state, None)
        return Outcome(state, [last_value])
    if state is not None and state is not TrialState.COMPLETE:
        raise InvalidArgument(f"state={state!r} cannot be told; use COMPLETE, PRUNED or FAIL")
    listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    floats, problem = _floats(listed)
    if not problem and len(floats) != n_objectives:
        problem = f"{len(floats)} value(s) were told for {n_objectives} objective(s)"
    if not problem:
        return Outcome(TrialState.COMPLETE, floats)
    if state is TrialState.COMPLETE:
        raise InvalidArgument(f"the trial cannot be told as COMPLETE: {problem}")
    return Outcome(TrialState.FAIL, None, problem)


def _floats(values: Sequence[Any]) -> tuple[list[float], str]:
    floats = []
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return [], f"the value {value!r} is not a number"
        if math.isnan(number):
            return [], "the value is NaN"
        floats.append(number)
    return floats, ""


@dataclass(frozen=True, slots=True)
class Objectives:
    """Which entries of a report matter.

    Attributes:
        metrics: names of the objectives, ``a/b`` in nested dicts; empty for a study that takes bare numbers.
        pruner_metric: what the pruner looks at, where that is not the first objective.
        has_metric: False for a run that optimises nothing.
    """

    metrics: tuple[str, ...] = ()
    pruner_metric: str | None = None
    has_metric: bool = True

    @property
    def name(self) -> str:
        """The metric that the pruner and the tables look at; "value" where it has no name."""
        return self.pruner_metric or (self.metrics[0] if self.metrics else "value")

    def value_of(self, report: Any) -> float | None:
        """The pruner's metric in a report, NaN included; None for a run without a metric.

        Raises:
            MetricMissing: a dict without it.
            UsageError: a dict, and no metric is known.
            InvalidArgumentType: not a number.
        """
        if not self.has_metric:
            return None
        if type(report) is float:
            return report
        if isinstance(report, Mapping):
            name = self.name
            if name in report:
                report = report[name]
            elif self.metrics:
                report = _nested(name, report)
            else:
                raise UsageError(
                    f"a dict was reported ({', '.join(map(str, report))}) but the study does not know which entry to "
                    f"optimise; pass metric= to create_study, or call the entry 'value'"
                )
        try:
            return float(report)
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgumentType(f"reported value {report!r} is not a number") from None

    def values_of(self, told: Mapping[str, Any]) -> list[Any]:
        """The objectives' entries of a dict that was told.

        Raises:
            MetricMissing: one is not there.
            UsageError: no metric is known.
        """
        if not self.metrics:
            raise UsageError("a dict was told but the study has no metric=; tell a number, or name the metric")
        return [told[name] if name in told else _nested(name, told) for name in self.metrics]


def _nested(name: str, report: Mapping[str, Any]) -> Any:
    """The entry of nested dicts under a metric written as ``a/b``."""
    value = entry(report, name)
    if value is None:
        raise MetricMissing(name, _own_keys(report))
    return value


def _own_keys(report: Mapping[str, Any]) -> list[str]:
    """The keys that the user reported."""
    return [str(key) for key in report if key not in AUTOMATIC]


def as_step(step: Any) -> int:
    """A step as Optuna takes it.

    Raises:
        InvalidArgumentType: not an integer.
        InvalidArgument: negative.
    """
    if type(step) is int and step >= 0:
        return step
    try:
        number = int(step)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgumentType(f"step={step!r} must be an integer") from None
    if number != step:
        raise InvalidArgumentType(f"step={step!r} must be an integer")
    if number < 0:
        raise InvalidArgument(f"step={step} must be >= 0")
    return number
