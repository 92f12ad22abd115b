"""Which listeners a run gets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneflow.callbacks.adapted import as_callback
from tuneflow.clock import Clock
from tuneflow.study import Study

__all__ = ["for_optimize", "for_run"]


def for_optimize(
    study: Study,
    callbacks: tuple[Any, ...],
    *,
    n_trials: int | None,
    timeout_s: float | None,
    n_slots: int,
    show_progress: bool,
) -> list[Any]:
    """The listeners of one ``study.optimize``: ``error.txt`` where files stay, the user's, progress on a terminal."""
    listeners = [as_callback(callback) for callback in callbacks]
    if not study.folders.is_temporary:
        from tuneflow.callbacks.error_logger import ErrorLogger

        listeners.insert(0, ErrorLogger())
    if show_progress and sys.stdout is not None and sys.stdout.isatty():
        from tuneflow.callbacks.progress_table import ProgressTable

        is_single = len(study.directions) == 1
        listeners.append(
            ProgressTable(
                study.objectives.name if is_single else None,
                {"MINIMIZE": "min", "MAXIMIZE": "max"}.get(study.directions[0].name) if is_single else None,
                n_trials=n_trials,
                n_slots=n_slots,
                timeout_s=timeout_s,
            )
        )
    return listeners


def for_run(
    *,
    callbacks: Sequence[Any] | None,
    loggers: Sequence[Any] | None,
    progress_reporter: Any,
    verbose: int,
    metric: str | None,
    mode: str | None,
    n_trials: int | None,
    timeout_s: float | None,
    n_slots: int,
    request: Mapping[str, float],
    total: Mapping[str, float],
    folder: Path,
    scheduler: str | None,
    clock: Clock,
) -> list[Any]:
    """The listeners of one ``tune.run``: ``error.txt``, the loggers, the user's callbacks, then progress.

    Args:
        callbacks: the user's.
        loggers: None for the default ones.
        progress_reporter: a ``ProgressReporter`` or a class of one, which is told what is known of the run; any
            other listener; None for the built-in table.
        verbose: for the built-in table.
        metric: the objective.
        mode: "min" or "max".
        n_trials: how many trials the whole experiment is to have.
        timeout_s: time limit.
        n_slots: trials at a time.
        request: resources of each trial.
        total: the machine's.
        folder: the experiment's.
        scheduler: the pruner's name.
        clock: where times come from.

    Raises:
        InvalidArgumentType: one of them is no listener.
    """
    from tuneflow.callbacks import DEFAULT_LOGGERS
    from tuneflow.callbacks.error_logger import ErrorLogger
    from tuneflow.callbacks.progress import ProgressReporter, RunInfo
    from tuneflow.callbacks.progress_table import ProgressTable

    listeners: list[Any] = [ErrorLogger()]
    listeners += [as_callback(logger) for logger in (DEFAULT_LOGGERS if loggers is None else loggers)]
    listeners += [as_callback(callback) for callback in callbacks or ()]
    reporter = (
        ProgressTable(verbose=verbose, clock=clock) if progress_reporter is None else as_callback(progress_reporter)
    )
    if isinstance(reporter, ProgressReporter):
        reporter.run = RunInfo(
            metric=metric,
            mode=mode,
            n_trials=n_trials,
            folder=folder,
            scheduler=scheduler,
            n_slots=n_slots,
            resources=request,
            total=total,
            timeout_s=timeout_s,
            counts_earlier=True,
        )
    if progress_reporter is not None or verbose:
        listeners.append(reporter)
    return listeners
