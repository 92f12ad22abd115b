"""``error.txt`` of each trial that failed."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from tuneflow.callbacks.base import Callback
from tuneflow.callbacks.files import not_written

if TYPE_CHECKING:
    from tuneflow.trial import Trial

__all__ = ["ErrorLogger", "error_text"]


class ErrorLogger(Callback):
    """Writes the whole traceback of every attempt that failed into ``error.txt`` in the trial's folder.

    ``tune.run`` always has one, whatever loggers are asked for, and ``study.optimize`` where the study outlives the
    process.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, seed=0)
        >>> def objective(trial):
        ...     raise RuntimeError("boom")
        >>> study.optimize(objective, n_trials=1, catch=RuntimeError, callbacks=[ErrorLogger()])
        >>> (study.folders.of(0) / "error.txt").read_text().splitlines()[-2]
        'RuntimeError: boom'
    """

    def on_trial_error(self, trial: Trial, error: BaseException) -> None:
        path = trial.dir / "error.txt"
        try:
            with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"Attempt {trial.attempt}\n{error_text(error).rstrip()}\n\n")
        except OSError as problem:
            raise not_written(os.fspath(path), problem) from problem


def error_text(error: BaseException) -> str:
    """All that is known of an error: the trial's own traceback, and the last lines that it printed."""
    own: str = getattr(error, "traceback_text", "")
    text = own or "".join(traceback.format_exception(type(error), error, error.__traceback__))
    output: str = getattr(error, "output", "")
    if output:
        text = f"{text.rstrip()}\n\nLast output of the trial:\n{output.rstrip()}\n"
    return text
