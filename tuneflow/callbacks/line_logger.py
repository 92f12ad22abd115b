"""What the loggers with one growing file per trial have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from tuneflow.callbacks.base import Callback
from tuneflow.callbacks.files import FilePool
from tuneflow.callbacks.recorded import recorded_results
from tuneflow.errors import LogNotWritten

if TYPE_CHECKING:
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["LineLogger", "TrialLog"]


class TrialLog:
    """What a logger keeps of a trial that has not ended.

    Attributes:
        path: the trial's file.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


_Log = TypeVar("_Log", bound=TrialLog)


class LineLogger(Callback, ABC, Generic[_Log]):
    """Writes a line per report into a file in ``trial.dir``.

    A file that another process left, or that the disk refused a line of, is brought in order when the trial is first
    met: a torn last line is cut, lines past what the study recorded go, and missing ones are filled in from the
    study's record, with the metric alone. So there are no gaps and no doubled lines, whatever was killed when.
    """

    file_name: ClassVar[str]

    def __init__(self) -> None:
        self._pool = FilePool()
        self._logs: dict[Trial, _Log] = {}

    @abstractmethod
    def _new_log(self, path: str) -> _Log:
        """The state of a trial whose file does not exist yet."""

    @abstractmethod
    def _mend(self, log: _Log, recorded: list[dict[str, Any]] | None, result: dict[str, Any] | None) -> None:
        """Brings the file in order.

        Args:
            log: the trial's state, new.
            recorded: what the file has to hold; None where the study does not know, then the lines that come before
                the iteration of ``result`` stay.
            result: the result that is about to be written; None where there is none.
        """

    @abstractmethod
    def _write(self, log: _Log, result: dict[str, Any]) -> None:
        """Appends a result."""

    def on_trial_resume(self, trial: Trial) -> None:
        if trial not in self._logs and trial.study.objectives.has_metric:
            self._meet(trial, None)

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        log = self._logs.get(trial)
        if log is None:
            log = self._meet(trial, result)
        try:
            self._write(log, result)
        except LogNotWritten:
            self._forget(trial)  # the next report mends the file
            raise

    def on_trial_end(self, trial: Trial) -> None:
        if trial.n_reports and trial not in self._logs:
            self._meet(trial, None)
        self._forget(trial)

    def on_study_end(self, study: Study) -> None:
        self._pool.close_all()

    def _meet(self, trial: Trial, result: dict[str, Any] | None) -> _Log:
        log = self._new_log(os.fspath(trial.dir / self.file_name))
        n_before = trial.n_reports if result is None else trial.n_reports - 1
        if n_before or Path(log.path).exists():
            self._mend(log, recorded_results(trial, result), result)
        self._logs[trial] = log
        return log

    def _forget(self, trial: Trial) -> None:
        log = self._logs.pop(trial, None)
        if log is not None:
            self._pool.close(log.path)
