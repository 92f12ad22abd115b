"""The errors that tuneflow raises. All of them survive a trip between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "CheckpointMissing",
    "CheckpointUnreadable",
    "ExperimentExists",
    "ExperimentNotFound",
    "InvalidArgument",
    "InvalidArgumentType",
    "JournalCorrupt",
    "JournalNotWritten",
    "LogNotWritten",
    "MetricMissing",
    "MetricNotLogged",
    "MissingLibrary",
    "NotResumable",
    "OutOfMemory",
    "RecursiveDependencyError",
    "ResourcesUnavailable",
    "StorageNotWritten",
    "TrackingUnavailable",
    "TrialError",
    "TrialFailed",
    "TrialTakenOver",
    "TrialTimeout",
    "TrialsFailed",
    "TuneflowError",
    "TuneflowWarning",
    "UnknownName",
    "UnpicklableTrainable",
    "UsageError",
    "WorkerLost",
]


def _rebuild(cls: type[TuneflowError], message: str, fields: dict[str, Any]) -> TuneflowError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    for name, value in fields.items():
        setattr(error, name, value)  # and not __dict__: some are slots of a builtin base, like errno
    return error


class TuneflowError(Exception):
    """Root of every error that tuneflow raises on its own account.

    The message says what was given, what is required and what to do. Subclasses keep what they
    know in attributes, and every one can be pickled.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), str(self), dict(self.__dict__))


class TuneflowWarning(UserWarning):
    """Something that does not stop the study but that its owner should know."""


class InvalidArgument(TuneflowError, ValueError):
    """An argument's value breaks a rule."""


class InvalidArgumentType(TuneflowError, TypeError):
    """An argument is of a kind that cannot be used."""


class UsageError(TuneflowError, RuntimeError):
    """A call at the wrong moment: telling twice, telling a paused trial, reporting outside a trial."""


class TrialTakenOver(UsageError):
    """A trial is not this driver's any more: another one went on with it, or something else has ended it.

    Attributes:
        trial: the trial's number.
        ended_as: the state in which something else has ended it; "" where another driver has taken it over.
    """

    def __init__(self, trial: int, ended_as: str = "") -> None:
        self.trial, self.ended_as = trial, ended_as
        if ended_as:
            message = f"trial {trial} was ended as {ended_as} in the storage, not by this study; ask for another trial"
        else:
            message = (
                f"trial {trial} is not this process's any more: another driver of the study has taken it over, "
                f"because this one gave no sign of life for a minute; ask for another trial"
            )
        super().__init__(message)


class UnknownName(InvalidArgument):
    """A name that is not among those known.

    Attributes:
        kind: what was named, "sampler" for instance.
        name: the name that was given.
        known: the names that would have worked.
    """

    def __init__(self, kind: str, name: object, known: list[str]) -> None:
        self.kind, self.name, self.known = kind, name, known
        super().__init__(f"unknown {kind} {name!r}; known are: {', '.join(known)}")


class MissingLibrary(TuneflowError, ImportError):
    """An optional library is not installed.

    Attributes:
        library: the library's distribution name.
        extra: the extra of tuneflow that installs it; None where no extra does.
    """

    def __init__(self, library: str, extra: str | None) -> None:
        self.library, self.extra = library, extra
        what = library if extra is None else f"tuneflow[{extra}]"
        super().__init__(f"{library} is not installed; run: pip install '{what}'")


class RecursiveDependencyError(InvalidArgument):
    """Entries of a search space need each other's values."""


class MetricMissing(TuneflowError, KeyError):
    """A report lacks the metric that the study optimises, or the result that counts steps.

    Attributes:
        metric: the metric's name.
        reported: the keys that the report did hold.
        argument: what named it: "metric" or "time_attr".
    """

    def __init__(self, metric: str, reported: list[str], argument: str = "metric") -> None:
        self.metric, self.reported, self.argument = metric, reported, argument
        held = f"report holds: {', '.join(reported)}" if reported else "report is empty"
        instead = f" or pass {argument}= one of these" if reported else ""
        super().__init__(f"{argument} {metric!r} was not reported; the {held}. Report {metric!r}{instead}")

    def __str__(self) -> str:
        return str(self.args[0])


class MetricNotLogged(MetricMissing):
    """A training library has not logged a metric that is to be reported.

    Attributes:
        metric: the metric's name.
        reported: the metrics that were logged.
    """

    def __init__(self, metric: str, logged: list[str], hint: str = "") -> None:
        super().__init__(metric, logged, "metrics")
        known = ", ".join(logged) or "none"
        self.args = (
            f"metric {metric!r} was not logged; logged are: {known}. {hint or 'Log it, or name one of these'}",
        )


class CheckpointUnreadable(TuneflowError, OSError):
    """A checkpoint was cut off or damaged, and there is none before it that can be read."""


class CheckpointMissing(UsageError):
    """A method that loads other trials' checkpoints met a trial that gives none."""


class ExperimentExists(InvalidArgument):
    """An experiment folder is already there."""


class ExperimentNotFound(InvalidArgument):
    """There is no experiment to resume or to read."""


class NotResumable(UsageError):
    """An experiment cannot go on from what is stored."""


class ResourcesUnavailable(InvalidArgument):
    """A trial asks for more than the machine has."""


class UnpicklableTrainable(InvalidArgumentType):
    """A trainable cannot be sent to a worker process."""


class JournalCorrupt(TuneflowError, ValueError):
    """A journal holds a line, other than a torn last one, that cannot be read.

    Attributes:
        path: the journal file.
        line: number of the first unreadable line, from 1.
    """

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path, self.line = path, line
        super().__init__(
            f"journal {path}, line {line}: {reason}. Restore the file from a copy, or cut it before that line "
            f"to go on from there"
        )


class StorageNotWritten(TuneflowError, OSError):
    """The disk refused what was to be written to a study's storage, which holds everything before it.

    Attributes:
        path: the storage: a journal file, or an SQLite file.
        errno: the system's number of the error, ``errno.ENOSPC`` for a full disk.
    """

    _named = ""

    def __init__(self, path: str, message: str, errno: int | None) -> None:
        self.path = path
        super().__init__(f"{self._named}{path}: {message}")
        self.errno = errno

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), str(self), {"path": self.path, "errno": self.errno})


class JournalNotWritten(StorageNotWritten):
    """The disk refused a record; a record that was refused while it was written has left no trace in the file."""

    _named = "journal "


class LogNotWritten(TuneflowError, OSError):
    """The disk refused a line of a trial's own files (``result.json``, ``progress.csv``, ...).

    Attributes:
        path: the file.
        errno: the system's number of the error, ``errno.ENOSPC`` for a full disk.
    """

    def __init__(self, path: str, message: str, errno: int | None) -> None:
        self.path = path
        super().__init__(f"{path}: {message}")
        self.errno = errno

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), str(self), {"path": self.path, "errno": self.errno})


class TrackingUnavailable(TuneflowError, ConnectionError):
    """A tracking server does not answer, or cannot take anything now. What is to be sent there is kept.

    Attributes:
        uri: the server's address, passwords masked.
        reason: what it, or the system, says.
    """

    def __init__(self, uri: str, reason: str) -> None:
        self.uri, self.reason = uri, reason
        super().__init__(f"the tracking server {uri} cannot be used now: {reason}")


class TrialError(TuneflowError, RuntimeError):
    """A trial did not end by itself.

    Attributes:
        trial: the trial's number.
        traceback_text: the trial's own traceback, "" where there is none.
        output: the last lines that the trial printed, "" where they are not kept.
    """

    trial: int
    traceback_text: str
    output: str

    def __init__(self, message: str, *, trial: int = -1, traceback_text: str = "", output: str = "") -> None:
        self.trial, self.traceback_text, self.output = trial, traceback_text, output
        super().__init__(message)


class TrialFailed(TrialError):
    """The trial's code raised; ``__cause__`` is its exception where it could be sent over."""


class TrialTimeout(TrialError):
    """The trial ran past ``trial_timeout_s`` and was ended."""


class WorkerLost(TrialError):
    """The process that ran the trial is gone: killed, crashed, or ended by the trial's code."""


class OutOfMemory(TrialError):
    """The trial ran out of host or device memory."""


class TrialsFailed(TuneflowError, RuntimeError):
    """Some trials of a run failed.

    Attributes:
        errors: the errors by trial number.
        analysis: what the run produced all the same; None after a trip between processes.
    """

    errors: dict[int, BaseException]
    analysis: Any

    def __init__(self, errors: dict[int, BaseException], analysis: Any = None) -> None:
        self.errors, self.analysis = errors, analysis
        first = min(errors)
        super().__init__(
            f"{len(errors)} trial(s) failed: {', '.join(map(str, sorted(errors)[:20]))}; trial {first}: "
            f"{errors[first]}. Each failed trial's folder holds error.txt; raise_on_failed_trial=False returns "
            f"the analysis instead, as does the attribute `analysis` of this error"
        )

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), str(self), {"errors": self.errors, "analysis": None})
