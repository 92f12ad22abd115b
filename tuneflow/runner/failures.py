"""What went wrong, and whether to try again. Pure."""

from __future__ import annotations

from tuneflow.errors import (
    CheckpointMissing,
    MetricMissing,
    OutOfMemory,
    TrialError,
    TrialFailed,
    WorkerLost,
)
from tuneflow.runner.rules import Rules
from tuneflow.trainable.messages import Failed, Lost

__all__ = ["Attempts", "failed_error", "is_caught", "lost_error"]

_BLIND_TRIES = 3


def failed_error(event: Failed, *, keeps_original: bool, is_remote: bool) -> BaseException:
    """The exception that stands for a trial whose code raised.

    Args:
        event: what came from the trial.
        keeps_original: hand out the trial's own exception where it could be sent, as Optuna's users catch it;
            where it was raised then stands in its cause. Else a ``TrialFailed`` with the original as its cause.
        is_remote: the traceback was left in another process.
    """
    make = OutOfMemory if event.is_out_of_memory else TrialFailed
    error = make(event.summary, trial=event.trial, traceback_text=event.traceback_text, output=event.output)
    if event.error is None or not keeps_original:
        error.__cause__ = event.error
        return error
    if is_remote:
        text = f"in the worker process:\n{event.traceback_text}"
        event.error.__cause__ = TrialFailed(
            text, trial=event.trial, traceback_text=event.traceback_text, output=event.output
        )
    return event.error


def lost_error(event: Lost) -> TrialError:
    """The exception that stands for a trial whose process is gone."""
    make = OutOfMemory if event.is_out_of_memory else WorkerLost
    return make(f"trial {event.trial}: {event.reason}", trial=event.trial, output=event.output)


def is_caught(error: BaseException, catch: tuple[type[BaseException], ...]) -> bool:
    """Whether an error only fails its trial: what the user names, and what is no exception of the trial's own.

    An exception that could not be sent is known by its name.
    """
    if isinstance(error, catch):
        return True
    if type(error) is not TrialFailed:
        return isinstance(error, TrialError)
    name = str(error).split(":", 1)[0].rsplit(".", 1)[-1]
    return any(kind.__name__ in (name, "Exception", "BaseException") for kind in catch)


class Attempts:
    """Counts the failures of each trial against ``max_failures``."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._failures: dict[int, int] = {}

    def may_retry(self, trial: int, error: BaseException, *, has_progress: bool) -> bool:
        """Counts a failure; says whether the trial gets another attempt.

        Args:
            trial: its number.
            error: why the attempt failed. What would fail again in the same way is not tried again.
            has_progress: the attempt got further than the one before, and left a checkpoint there. Without a limit
                on failures, a trial that makes no progress is given up after three attempts in a row.
        """
        if isinstance(error, (MetricMissing, CheckpointMissing)):
            return False
        rules = self._rules
        is_endless = rules.max_failures == -1
        failures = 1 if is_endless and has_progress else self._failures.get(trial, 0) + 1
        self._failures[trial] = failures
        if isinstance(error, OutOfMemory) and rules.on_oom == "retry" and failures <= max(1, rules.max_failures):
            return True
        return failures <= (_BLIND_TRIES if is_endless else rules.max_failures)
