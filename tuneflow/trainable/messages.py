"""What passes between a driver and the place where a trial runs.

An ``Assignment`` goes out; events come back; ``Reported`` and ``Suggested`` are each answered before the trial
goes on. Events are named tuples: they cross a pipe thousands of times a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tuneflow.keeping import Reason
from tuneflow.pruners.base import Decision
from tuneflow.seeding import seed_everything

__all__ = ["Answer", "Assignment", "Event", "Failed", "Finished", "Lost", "Reported", "Saved", "Suggested", "TrialInfo"]


@dataclass(slots=True, kw_only=True)
class Assignment:
    """One attempt of one trial, to be run.

    Attributes:
        trial: the trial's number.
        attempt: from 1; what an older attempt still says is ignored.
        trainable: the trainable itself; stays on the driver's side of a process boundary.
        trainable_key: stands for the trainable where it was sent before.
        config: nested natural values.
        params: flat Optuna parameters that are suggested already.
        user_attrs: attributes stored with the trial.
        checkpoint: what to resume from; None, a Checkpoint, or an object.
        start_step: the step of ``checkpoint``; 0 without one.
        seed: the trial's own, in [0, 2**32).
        folder: the trial's folder; it may not exist yet.
        cpu: CPU share.
        gpu: GPU share.
        memory_bytes: limit on what the trial's processes hold in memory; 0 for none.
        device: "cpu" or "cuda:0".
        time_total_s: time that earlier attempts took up to ``checkpoint``.
        name: the experiment's name.
        is_persistent: checkpoints outlive the process, so that saving for recovery makes sense.
        has_run: the trial has been in a slot before, so that there may be output of it already.
        echo: what is put before each line that the trial prints where it is shown too; None to keep it in files only.
        sections: trackers' settings by name, which the trainable's configuration holds besides ``config``.
        study_id: the study's ``uid`` where there are such settings.
        metric: the name of the (first) objective; "value" where it has none.
        last_value: the objective at the last step recorded; None before the first.
    """

    trial: int
    attempt: int = 1
    trainable: Any = None
    trainable_key: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    checkpoint: Any = None
    start_step: int = 0
    seed: int = 0
    folder: str = ""
    cpu: float = 1.0
    gpu: float = 0.0
    memory_bytes: float = 0.0
    device: str = "cpu"
    time_total_s: float = 0.0
    name: str = ""
    is_persistent: bool = False
    has_run: bool = False
    echo: str | None = None
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    study_id: str = ""
    metric: str = "value"
    last_value: float | None = None

    def info(self) -> TrialInfo:
        """What ``tune.get_trial()`` returns."""
        return TrialInfo(self)


class TrialInfo:
    """The trial that runs here, for code that has no trial object.

    Attributes:
        number: the trial's number.
        trial_id: the number in five digits.
        config: nested natural values.
        resources: ``{"cpu": 1.0, "gpu": 0.0}``.
        device: "cpu" or "cuda:0".
        dir: the trial's folder, as a string; made when first asked for.
        seed: the trial's own, in [0, 2**32).
        attempt: from 1.
        experiment: the experiment's name.
        metric: the name of the (first) objective; "value" where it has none.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.number = assignment.trial
        self.trial_id = f"{assignment.trial:05d}"
        self.config = assignment.config
        self.resources = {"cpu": assignment.cpu, "gpu": assignment.gpu}
        if assignment.memory_bytes:
            self.resources["memory_bytes"] = assignment.memory_bytes
        self.device = assignment.device
        self.seed = assignment.seed
        self.attempt = assignment.attempt
        self.experiment = assignment.name
        self.start_step = assignment.start_step
        self.metric = assignment.metric
        self._folder = assignment.folder

    @property
    def dir(self) -> str:
        """The trial's folder."""
        from pathlib import Path

        Path(self._folder).mkdir(parents=True, exist_ok=True)
        return self._folder

    def seed_everything(self) -> int:
        """Seeds Python's, NumPy's and torch's generators with the trial's own seed, and returns it."""
        return seed_everything(self.seed)

    def __repr__(self) -> str:
        return f"TrialInfo(trial_id={self.trial_id!r}, config={self.config!r}, device={self.device!r})"


class Answer(NamedTuple):
    """The reply to a report.

    Attributes:
        decision: what becomes of the trial.
        save: whether to make the checkpoint that was offered.
        keep: the checkpoint stays by a rule (``checkpoint_freq``), not only until the next one.
    """

    decision: Decision
    save: bool = False
    keep: bool = False


class Reported(NamedTuple):
    """A result. Answered by an ``Answer``.

    Attributes:
        trial: the trial's number.
        attempt: its attempt.
        metrics: what the trial reported.
        step: the step it named; None where the iteration counts.
        iteration: results so far, from 1, those before a resume included.
        checkpoint: None, ``Deferred``, ``Staged``, or an object.
        time_this_iter_s: since the report before.
        time_total_s: of training, all attempts on this line of checkpoints together.
        timestamp: seconds since 1970, UTC.
        pid: process that runs the trial.
    """

    trial: int
    attempt: int
    metrics: Any
    step: int | None
    iteration: int
    checkpoint: Any
    time_this_iter_s: float
    time_total_s: float
    timestamp: float
    pid: int


class Suggested(NamedTuple):
    """A parameter is asked for: ``method`` of the trial with ``arguments``. Answered by the value."""

    trial: int
    attempt: int
    method: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class Saved(NamedTuple):
    """A checkpoint of ``step`` is ready. Not answered.

    Attributes:
        content: ``Staged``, or None where saving failed.
        reason: why it was made: "kept" by a rule, "needed" for a pause or an exploit, or for "recovery" alone.
        error: what went wrong, "" for nothing.
    """

    trial: int
    attempt: int
    step: int | None
    iteration: int
    content: Any
    reason: Reason
    error: str = ""


class Finished(NamedTuple):
    """The trial's code has ended without an error.

    Attributes:
        value: what it returned.
        is_pruned: it raised Optuna's ``TrialPruned``.
        kind: "config", "trial" or "class": how the return value is to be read.
        is_spent: its process is of no use to other trials.
    """

    trial: int
    attempt: int
    value: Any
    is_pruned: bool
    kind: str
    is_spent: bool = False


class Failed(NamedTuple):
    """The trial's code raised.

    Attributes:
        error: the exception, or None where it cannot be sent.
        summary: "ValueError: text".
        traceback_text: the trial's own traceback.
        is_out_of_memory: host or device memory ran out.
        output: the last lines that it printed, "" where they are not kept.
    """

    trial: int
    attempt: int
    error: BaseException | None
    summary: str
    traceback_text: str
    is_out_of_memory: bool
    output: str = ""


class Lost(NamedTuple):
    """The process that ran the trial is gone.

    Attributes:
        reason: how it ended, for people.
        output: the last lines that it printed, "" where they are not kept.
        is_out_of_memory: the kernel's OOM killer is the likely cause.
    """

    trial: int
    attempt: int
    reason: str
    output: str
    is_out_of_memory: bool


Event = Reported | Suggested | Saved | Finished | Failed | Lost
