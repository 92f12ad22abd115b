"""Which listeners a run gets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.adapted import as_callback
from tuneflow.callbacks.csv_logger import CsvLogger
from tuneflow.callbacks.json_logger import JsonLogger

if TYPE_CHECKING:
    from tuneflow.callbacks.progress import RunInfo
    from tuneflow.clock import Clock
    from tuneflow.study import Study

__all__ = ["for_optimize", "for_run"]


def for_optimize(
    study: Study,
    callbacks: Sequence[Any],
    *,
    n_trials: int | None,
    timeout_s: float | None,
    n_slots: int,
    show_progress: bool,
) -> list[Any]:
    """The listeners of one ``study.optimize``: the user's, and progress where there is a terminal to see it."""
    listeners: list[Any] = [as_callback(callback) for callback in callbacks]
    if show_progress and sys.stdout.isatty():
        from tuneflow.callbacks.progress_table import ProgressTable

        has_one = len(study.directions) == 1
        listeners.append(
            ProgressTable(
                study.objectives.name if has_one else None,
                ("max" if study.direction.name == "MAXIMIZE" else "min") if has_one else None,
                n_trials=n_trials,
                timeout_s=timeout_s,
                n_slots=n_slots,
                verbose=1,
                clock=study.clock,
            )
        )
    return listeners


def for_run(
    info: RunInfo,
    *,
    callbacks: Sequence[Any] | None,
    loggers: Sequence[Any] | None,
    progress_reporter: Any,
    verbose: int,
    clock: Clock,
) -> list[Any]:
    """The listeners of one ``tune.run``: loggers first, then the user's, then progress.

    Args:
        info: what is known of the run.
        callbacks: the user's own.
        loggers: classes or objects; None for the default ones.
        progress_reporter: in place of the built-in table.
        verbose: 0 to 3.
        clock: where times come from.
    """
    chosen = (JsonLogger, CsvLogger) if loggers is None else tuple(loggers)
    listeners = [as_callback(logger) for logger in chosen]
    listeners += [as_callback(callback) for callback in callbacks or ()]
    if progress_reporter is not None:
        reporter = as_callback(progress_reporter)
        if hasattr(reporter, "run"):
            reporter.run = info
        listeners.append(reporter)
    elif verbose:
        from tuneflow.callbacks.progress_table import ProgressTable

        table = ProgressTable(verbose=verbose, clock=clock)
        table.run = info
        listeners.append(table)
    return listeners
