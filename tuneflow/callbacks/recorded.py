"""What a trial reported before a logger met it, by the study's own record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow.trial import Trial

__all__ = ["recorded_results"]


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
    # Steps of the user's own need not be iterations; then the reports are counted.
    counts = result is not None and result.get("training_iteration") != trial.last_step
    return [
        {
            study.objectives.name: values[step],
            "training_iteration": index + 1 if counts else step,
            "trial_id": trial.trial_id,
        }
        for index, step in enumerate(steps)
    ]
