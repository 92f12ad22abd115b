"""What a trial reported before a logger met it, by the study's own record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow.trial import Trial

__all__ = ["missing_results", "recorded_results"]


def recorded_results(trial: Trial, result: dict[str, Any] | None) -> list[dict[str, Any]] | None:
    """The results that stand before ``result``, one per report, as far as the study recorded them.

    A study records a report before its listeners hear of it. So after a crash a file may lack the last lines and never
    has one too many, save after a power loss. The record holds the metric and not the rest of the result.

    Args:
        trial: the trial.
        result: the result that it reports now; None between reports, when all that is recorded counts.

    Returns:
        The results in order, each with the metric, ``training_iteration`` and ``trial_id``; None for a study
        without a metric, which records no reports.
    """
    study = trial.study
    if not study.objectives.has_metric:
        return None
    values = study.optuna._storage.get_trial(trial.storage_id).intermediate_values
    steps = sorted(step for step in values if result is None or trial.last_step is None or step < trial.last_step)
    return [
        {study.objectives.name: values[step], "training_iteration": step, "trial_id": trial.trial_id} for step in steps
    ]


def missing_results(recorded: Sequence[dict[str, Any]], found: Sequence[float | None]) -> list[dict[str, Any]]:
    """The recorded results that a file lacks at its end.

    Steps of the user's own need not be iterations. Where those in the file are not the recorded steps, the missing
    results are numbered by counting.

    Args:
        recorded: what the file has to hold.
        found: the iteration of each result in the file, None where it has none; at most as many as are recorded.
    """
    missing = recorded[len(found) :]
    has_own_steps = any(
        iteration not in (None, entry["training_iteration"]) for iteration, entry in zip(found, recorded, strict=False)
    )
    if not has_own_steps:
        return list(missing)
    return [{**entry, "training_iteration": count} for count, entry in enumerate(missing, start=len(found) + 1)]
