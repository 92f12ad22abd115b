"""What ``HyperModel.fit`` returned, as metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneflow.errors import InvalidArgumentType, MetricMissing
from tuneflow.hyperparameters import Objective

__all__ = ["average", "metrics_of", "numbers"]


def numbers(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The entries of ``logs`` that are numbers, as Python floats; others are left out."""
    found: dict[str, Any] = {}
    for name, value in (logs or {}).items():
        number = _number(value)
        if number is not None:
            found[str(name)] = number
    return found


def metrics_of(returned: Any, objective: Objective) -> dict[str, float] | None:
    """The metrics that stand for a training.

    Args:
        returned: a number, which is the objective; a dict of metrics; an object whose ``history`` is a dict of lists,
            of which the epoch with the best objective counts; or None.
        objective: what is optimised.

    Returns:
        The metrics with the objective among them. None for None and for a history of no epoch.

    Raises:
        MetricMissing: a dict or a history without the objective.
        InvalidArgumentType: anything else was returned.
    """
    if returned is None:
        return None
    number = _number(returned)
    if number is not None:
        return {objective.name: number}
    history = getattr(returned, "history", None)
    if isinstance(history, Mapping):
        return _best_epoch(history, objective)
    if isinstance(returned, Mapping):
        if objective.name not in returned:
            raise MetricMissing(objective.name, [str(name) for name in returned], "objective")
        metrics = numbers(returned)
        if objective.name not in metrics:
            raise InvalidArgumentType(
                f"fit returned {objective.name}={returned[objective.name]!r}, which is not a number"
            )
        return metrics
    raise InvalidArgumentType(
        f"fit returned {returned!r}; it must return a number, a dict of metrics with {objective.name!r} among them, or "
        f"what a Keras model's fit returns"
    )


def _best_epoch(history: Mapping[str, Any], objective: Objective) -> dict[str, float] | None:
    curves = {str(name): values for name, values in history.items() if isinstance(values, Sequence) and len(values)}
    if not curves:
        return None
    if objective.name not in curves:
        raise MetricMissing(objective.name, sorted(curves), "objective")
    values = [float(value) for value in curves[objective.name]]
    best = 0
    for index, value in enumerate(values):
        if objective.is_better(value, values[best]):
            best = index
    return numbers({name: curve[best] for name, curve in curves.items() if len(curve) == len(values)})


def average(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric that all of them hold."""
    shared = [name for name in metrics[0] if all(name in other for other in metrics)]
    return {name: sum(other[name] for other in metrics) / len(metrics) for name in shared}


def _number(value: Any) -> float | None:
    if isinstance(value, (str, bytes, Mapping)) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # tensors of several values raise RuntimeError
        return None
