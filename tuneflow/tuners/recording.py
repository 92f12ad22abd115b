"""What a tuner does as trials end: it learns of new hyperparameters, counts failures, and keeps the best models."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from tuneflow.callbacks import Callback
from tuneflow.errors import InvalidArgument, InvalidArgumentType, MetricMissing, TrialFailed, TuneflowError, UsageError
from tuneflow.hyperparameters import HyperParameters, parameter_from
from tuneflow.trainable.hypermodel_trial import BEST, NOTES
from tuneflow.tuners.project import Project
from tuneflow.tuners.ranking import Ranking

if TYPE_CHECKING:
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["Recorder"]

_MISTAKES = (InvalidArgument, InvalidArgumentType, MetricMissing, UsageError)


class Recorder(Callback):
    """Listens to one search.

    Args:
        project: where trials lie.
        space: what is known of it; grows.
        ranking: the trials so far; grows.
        keep_models: how many trials' models stay; None for all.
        max_failed: trials in a row that may fail before the search ends.

    Attributes:
        study: the run's study; None before it begins.
        mistake: the error of the user's code that would come up in every trial; it has ended the search.
        errors: of failed trials, by number.
        has_given_up: whether too many trials in a row have failed.
    """

    def __init__(
        self,
        project: Project,
        space: HyperParameters,
        ranking: Ranking,
        keep_models: int | None,
        max_failed: int,
    ) -> None:
        self._project, self._space, self._ranking = project, space, ranking
        self._keep_models, self._max_failed = keep_models, max_failed
        self._n_failed = 0
        self._clears = True
        self.study: Study | None = None
        self.mistake: TuneflowError | None = None
        self.errors: dict[int, BaseException] = {}
        self.has_given_up = False

    def on_study_start(self, study: Study) -> None:
        self.study = study
        self._clears = not study.needs_checkpoints  # a population copies from those that have ended, too
        if self._keep_models is not None:
            for entry in self._ranking.after(self._keep_models):
                self._drop_model(entry.number)

    def on_trial_error(self, trial: Trial, error: BaseException) -> None:
        self.errors[trial.number] = error
        cause = error.__cause__ if isinstance(error, TrialFailed) else error
        if isinstance(cause, _MISTAKES) and self.mistake is None:
            self.mistake = cause
            trial.study.stop()

    def on_trial_end(self, trial: Trial) -> None:
        self._count_failures(trial)
        notes = trial.user_attrs.get(NOTES)
        if isinstance(notes, dict) and notes.get("new"):
            new = [parameter_from(entry["class_name"], entry["config"]) for entry in notes["new"]]
            if self._space.merge(new):
                self._project.describe(self._space)
        entry = self._ranking.add(trial.number, trial.state, notes)
        keep = self._keep_models
        if entry is None or (keep is not None and self._ranking.place(entry) >= keep):
            self._drop_model(trial.number)
        elif keep is not None:
            beaten = self._ranking.at(keep)
            if beaten is not None:
                self._drop_model(beaten.number)
        if self._clears:
            self._drop_checkpoints(trial.number)

    def _count_failures(self, trial: Trial) -> None:
        if trial.state is not TrialState.FAIL:
            self._n_failed = 0
            self.errors.pop(trial.number, None)
            return
        if trial.error is not None:
            self.errors[trial.number] = trial.error
        self._n_failed += 1
        if self._n_failed >= self._max_failed:
            self.has_given_up = True
            trial.study.stop()

    def _drop_model(self, number: int) -> None:
        shutil.rmtree(self._project.folder / f"{number:05d}" / BEST, ignore_errors=True)

    def _drop_checkpoints(self, number: int) -> None:
        """What an ended trial would have gone on from is of no use: its best model is kept beside."""
        folder = self._project.folder / f"{number:05d}"
        if folder.is_dir():
            for path in folder.glob("checkpoint_*"):
                shutil.rmtree(path, ignore_errors=True)
