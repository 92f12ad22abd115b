"""One stay of a trial in a simulated worker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from tuneflow.pruners.base import CONTINUE, Decision

__all__ = ["NO_TRIAL", "Job", "Next"]

NO_TRIAL = -1
"""Stands for the trial of a job that only waits for its worker to die."""


class Next(IntEnum):
    """What happens to a job next, at a moment that is known; the last two wait for no moment."""

    STEP = 0
    SAVE = 1
    """The checkpoint that was asked for is ready."""
    END = 2
    FAIL = 3
    DROP = 4
    DEATH = 5
    """The worker dies."""
    HELD = 6
    """The trial waits for a reply."""
    GONE = 7
    """The trial has left its worker."""


class Job:
    """What is known of a trial in a worker. All moments are in virtual time.

    Attributes:
        trial: the trial's number, or ``NO_TRIAL``.
        attempt: its attempt.
        worker: where it runs.
        config: its configuration.
        next: what happens to it next.
        step: the last step done.
        due: the step of its next report.
        end: its last step; None for no end.
        slowness: how many times as long everything takes.
        from_step: the step from which the time of later steps is counted.
        from_s: the moment that belongs to ``from_step``.
        drop_s: when it is dropped; infinite for never.
        base_s: training time before this stay, less the moment at which this stay began.
        last_s: the moment of its last report, or at which it began.
        decision: what it does once the checkpoint is saved.
        keep: whether that checkpoint stays by a rule.
        is_paused: it leaves its worker to come back later.
        error: what it fails with.
    """

    __slots__ = (
        "attempt",
        "base_s",
        "config",
        "decision",
        "drop_s",
        "due",
        "end",
        "error",
        "from_s",
        "from_step",
        "is_paused",
        "keep",
        "last_s",
        "next",
        "slowness",
        "step",
        "trial",
        "worker",
    )

    def __init__(self, trial: int, attempt: int, worker: int) -> None:
        self.trial, self.attempt, self.worker = trial, attempt, worker
        self.config: Mapping[str, Any] = {}
        self.next = Next.STEP
        self.step = self.due = self.from_step = 0
        self.end: int | None = None
        self.slowness = 1.0
        self.from_s = self.base_s = self.last_s = 0.0
        self.drop_s = math.inf
        self.decision: Decision = CONTINUE
        self.keep = self.is_paused = False
        self.error: BaseException | None = None
