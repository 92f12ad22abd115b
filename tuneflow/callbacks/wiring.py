"""Which listeners a run gets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.adapted import as_callback
from tuneflow.callbacks.csv_logger import CsvLogger
from tuneflow.callbacks.error_logger import ErrorLogger
from tuneflow.callbacks.json_logger import JsonLogger
from tuneflow.callbacks.policy_logger import PolicyLogger
from tuneflow.errors import InvalidArgumentType

if TYPE_CHECKING:
    from tuneflow.callbacks.progress import RunInfo
    from tuneflow.clock import Clock
    from tuneflow.study import Study

__all__ = ["add_to", "configure", "for_optimize", "for_run"]


def configure(listeners: Iterable[Any], sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Hands the trackers' settings of a study to the listeners; what they refuse is raised, before any trial starts."""
    for listener in listeners:
        accept = getattr(listener, "configure", None)
        if callable(accept):
            accept(sections)


def add_to(study: Study, callback: Any) -> None:
    """``Study.add_callback``."""
    listener = as_callback(callback)
    configure([listener], study.sections)
    study.listeners.add(listener)


def for_optimize(
    study: Study,
    callbacks: Sequence[Any],
    *,
    n_trials: int | None,
    timeout_s: float | None,
    n_slots: int,
    show_progress: bool,
) -> list[Any]:
    """The listeners of one ``study.optimize``: ``error.txt`` where files stay, the user's, progress on a terminal."""
    listeners: list[Any] = [] if study.folders.is_temporary else [ErrorLogger()]
    listeners += [as_callback(callback) for callback in callbacks]
    if show_progress and sys.stdout is not None and sys.stdout.isatty():
        from tuneflow.callbacks.progress import RunInfo
        from tuneflow.callbacks.progress_table import ProgressTable
        from tuneflow.callbacks.wording import constants_of

        has_one = len(study.directions) == 1
        table = ProgressTable()
        table.run = RunInfo(
            metric=study.objectives.name if has_one else None,
            mode=("max" if study.direction.name == "MAXIMIZE" else "min") if has_one else None,
            n_trials=n_trials,
            timeout_s=timeout_s,
            n_slots=n_slots,
            constants=constants_of(study.space),
        )
        listeners.append(table)
    configure(listeners, study.sections)
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
    """The listeners of one ``tune.run``: ``error.txt`` and policies, the loggers, the user's callbacks, then progress.

    Args:
        info: what is known of the run.
        callbacks: the user's.
        loggers: classes or objects; None for the default ones.
        progress_reporter: a ``ProgressReporter`` or a class of one, which is told what is known of the run; any
            other listener; None for the built-in table.
        verbose: for the built-in table.
        clock: where times come from.

    Raises:
        InvalidArgumentType: one of them is no listener.
    """
    from tuneflow.callbacks.progress import ProgressReporter
    from tuneflow.callbacks.progress_table import ProgressTable

    for argument, given in (("callbacks", callbacks), ("loggers", loggers)):
        if given is not None and (not isinstance(given, Iterable) or isinstance(given, (str, dict))):
            raise InvalidArgumentType(f"{argument}={given!r} must be a list of listeners, or None")
    table = ProgressTable(verbose=verbose, clock=clock)
    listeners: list[Any] = [ErrorLogger(), PolicyLogger()]
    listeners += [as_callback(logger) for logger in ((JsonLogger, CsvLogger) if loggers is None else loggers)]
    listeners += [as_callback(callback) for callback in callbacks or ()]
    if progress_reporter is None and not verbose:
        return listeners
    reporter = table if progress_reporter is None else _reporter(progress_reporter)
    if isinstance(reporter, ProgressReporter):
        reporter.run = info
    return [*listeners, reporter]


def _reporter(given: Any) -> Any:
    try:
        return as_callback(given)
    except InvalidArgumentType as error:
        raise InvalidArgumentType(
            f"progress_reporter={given!r} must be a tuneflow.callbacks.ProgressReporter with report(self, progress), a "
            f"class of one, or another listener"
        ) from error
