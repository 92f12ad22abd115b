"""MLflow: a run per study, with a run per trial below it.

The logger only writes entries into a spool in the experiment's folder, which takes microseconds; a thread sends them
in batches. A server that is slow, dead or killed in the middle delays nobody and loses nothing: what it lacks stays in
the spool until it answers, until the experiment is resumed, or until ``tuneflow sync FOLDER``.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.base import Callback
from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.moved import lacks, refusing
from tuneflow.plain import without_passwords
from tuneflow_integrations.mlflow_mixin import mlflow_mixin
from tuneflow_integrations.mlflow_place import Place, checked_uri
from tuneflow_integrations.mlflow_study import Choices, StudyLog

if TYPE_CHECKING:
    from tuneflow.checkpoint import Checkpoint
    from tuneflow.pruners.base import Exploit
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["MLflowLogger", "mlflow_mixin"]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)


SaveModel = Callable[[Path, Path], Any]


@refusing("MLflowLogger")
class MLflowLogger(Callback):
    """Logs a study and its trials to MLflow. One logger can serve several studies at once.

    Each study is a run, named as the study; each trial is a child of it, named ``STUDY_00003``:

    * parameters: the configuration; what is longer than MLflow's 6000 characters is cut, and then the whole of it is
      the artifact ``params.json``;
    * metrics: every number of every result at the trial's step; texts become tags (``result/NAME``). What
      population-based training changes on the way is a metric too (``hp/lr``), since MLflow's parameters never change;
    * the end: FINISHED, FAILED, or KILLED for a pruned trial; the tag ``tuneflow.state`` tells them apart
      (COMPLETE, PRUNED, FAIL; RUNNING, PAUSED, INTERRUPTED before the end);
    * the study's own run has ``best_METRIC``, tags that name the best trial, and its checkpoint as an artifact.

    ``config["mlflow"]`` may hold ``tracking_uri``, ``experiment_name`` and ``tags``, for what is not given here; it is
    no hyperparameter. Passwords in a URI are masked wherever they would be written.

    Args:
        tracking_uri: where to log to; by default MLflow's own (``MLFLOW_TRACKING_URI``).
        experiment_name: MLflow's experiment; by default ``MLFLOW_EXPERIMENT_NAME``, else the study's name.
        tags: for every run.
        log_checkpoints: "best" uploads the best trial's checkpoint to the study's run when the study ends, "all"
            also every checkpoint to its trial's run, "none" nothing.
        artifacts: files of the trial's folder (glob patterns) that are uploaded when the trial has ended.
        log_model: ``log_model(checkpoint_path, model_path)`` turns the best checkpoint into an MLflow model, for
            instance with ``mlflow.pytorch.save_model(model, model_path)``: a logged model of the study's run.
        registered_model_name: registers that model under this name.
        spool_path: where to keep what is not sent yet, for a study without a folder of its own; a temporary folder
            by default.
        flush_timeout_s: how long the end of a study waits for what is still to be sent, in seconds.
        interval_s: how long results are collected into one batch, in seconds.
        clock: where times come from.

    Raises:
        InvalidArgument: an argument that breaks a rule.

    Example:
        >>> import tempfile
        >>> import tuneflow as tune
        >>> folder = tempfile.mkdtemp()
        >>> logger = MLflowLogger(f"sqlite:///{folder}/mlflow.db", "demo", spool_path=folder)
        >>> logger.experiment_name
        'demo'
    """

    def __init__(
        self,
        tracking_uri: str | Path | None = None,
        experiment_name: str | None = None,
        *,
        tags: Mapping[str, Any] | None = None,
        log_checkpoints: str | None = "best",
        artifacts: Sequence[str] = ("error.txt",),
        log_model: SaveModel | None = None,
        registered_model_name: str | None = None,
        spool_path: str | Path | None = None,
        flush_timeout_s: float = 30.0,
        interval_s: float = 0.5,
        clock: Clock | None = None,
    ) -> None:
        if experiment_name is not None and (not isinstance(experiment_name, str) or not experiment_name.strip()):
            raise InvalidArgument(f"experiment_name={experiment_name!r} must be a name; leave it out for the study's")
        if log_checkpoints not in ("best", "all", "none", None):
            raise InvalidArgument(f"log_checkpoints={log_checkpoints!r} must be 'best', 'all' or 'none'")
        if isinstance(artifacts, str):
            raise InvalidArgumentType(f"artifacts={artifacts!r} must be a list of patterns: [{artifacts!r}]")
        if registered_model_name is not None and log_model is None:
            raise InvalidArgument(
                f"registered_model_name={registered_model_name!r} needs log_model=, which makes the model"
            )
        if flush_timeout_s < 0 or interval_s < 0:
            raise InvalidArgument(f"flush_timeout_s={flush_timeout_s} and interval_s={interval_s} must be >= 0")
        self.experiment_name = experiment_name
        self._uri = None if tracking_uri is None else checked_uri(tracking_uri)
        self._tags = {str(key): str(value) for key, value in (tags or {}).items()}
        self._spool_path = None if spool_path is None else Path(spool_path)
        self._choices = Choices(
            log_checkpoints=log_checkpoints or "none",
            artifacts=tuple(artifacts),
            log_model=log_model,
            registered_model_name=registered_model_name,
            flush_timeout_s=flush_timeout_s,
            interval_s=interval_s,
            clock=clock or SystemClock(),
        )
        self._logs: dict[Study, StudyLog] = {}

    def __repr__(self) -> str:
        uri = None if self._uri is None else without_passwords(self._uri)
        return f"MLflowLogger(tracking_uri={uri!r}, experiment_name={self.experiment_name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_logs": {}}  # the studies that are logged now are this process's

    def close(self) -> None:
        """Ends the runs of all studies and sends what is left. For ask/tell loops; ``tune.run`` does it itself."""
        for study in list(self._logs):
            self.on_study_end(study)

    def configure(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self._place("study", sections)  # for what it refuses

    # Events

    def on_study_start(self, study: Study) -> None:
        if study.n_new:  # else it begins with its first trial
            self._log(study)

    def on_study_end(self, study: Study) -> None:
        log = self._logs.pop(study, None)
        if log is not None:
            log.end(study)
        if not self._logs:
            atexit.unregister(self.close)

    def on_trial_start(self, trial: Trial) -> None:
        self._log(trial.study).start(trial)

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        self._log(trial.study).report(trial, result)

    def on_trial_checkpoint(self, trial: Trial, checkpoint: Checkpoint) -> None:
        if self._choices.log_checkpoints == "all":
            self._log(trial.study).checkpoint(trial, checkpoint)

    def on_trial_pause(self, trial: Trial) -> None:
        self._log(trial.study).pause(trial)

    def on_trial_resume(self, trial: Trial) -> None:
        self._log(trial.study).resume(trial)

    def on_trial_exploit(self, trial: Trial, decision: Exploit) -> None:
        self._log(trial.study).exploit(trial, decision.donor)

    def on_trial_error(self, trial: Trial, error: BaseException) -> None:
        self._log(trial.study).error(trial, error)

    def on_trial_end(self, trial: Trial) -> None:
        self._log(trial.study).trial_end(trial)

    def _place(self, study_name: str, sections: Mapping[str, Mapping[str, Any]]) -> Place:
        return Place.of(
            study_name, sections.get("mlflow"), uri=self._uri, experiment_name=self.experiment_name, tags=self._tags
        )

    def _log(self, study: Study) -> StudyLog:
        log = self._logs.get(study)
        if log is None:
            place = self._place(study.study_name, study.sections)
            root = self._spool_path if study.folders.is_temporary else None
            log = StudyLog(study, place, self._choices, root)
            if not self._logs:
                # For a loop of one's own, which has no end that could be heard. Registered once temporary folders are
                # there, so as to be called before they go.
                atexit.register(self.close)
            self._logs[study] = log
        return log
