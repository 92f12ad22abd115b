"""What is sent to where a trial runs."""

from __future__ import annotations

from typing import Any

from tuneflow.runner.rules import Rules
from tuneflow.study import Study
from tuneflow.trainable.messages import Assignment
from tuneflow.trainable.running import Kind
from tuneflow.trial import Trial

__all__ = ["assignment_for"]


def assignment_for(study: Study, trial: Trial, rules: Rules, trainable: Any, key: str, kind: Kind) -> Assignment:
    """One attempt of a trial: a new one, a resumed one, or one that is tried again."""
    is_objective = kind == "trial"
    return Assignment(
        trial=trial.number,
        attempt=trial.attempt,
        trainable=trainable,
        trainable_key=key,
        config=trial.config,
        params=study.params_of(trial) if is_objective else {},
        user_attrs=trial.user_attrs if is_objective else {},
        checkpoint=trial.checkpoint,
        start_step=trial.start_step,
        seed=trial.seed,
        folder=study.folders.name_of(trial.number),
        cpu=rules.request.cpu,
        gpu=rules.request.gpu,
        memory_bytes=rules.request.memory_bytes,
        device=trial.device,
        time_total_s=trial.time_total_s,
        name=rules.name,
        is_persistent=not study.folders.is_temporary,
        has_run=trial.attempt > 1 or trial.last_step is not None,
        echo=f"[{trial.trial_id}] " if rules.echoes else None,
        sections=study.sections,
        study_id=study.uid if study.sections else "",
        metric=study.objectives.name,
        last_value=trial.last_value,
    )
