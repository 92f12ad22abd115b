"""One attempt of a trial, as the Loop sees it."""

from __future__ import annotations

from tuneflow.pruners.base import Pause, Stop
from tuneflow.trial import Trial

__all__ = ["Attempt"]


class Attempt:
    """One attempt of a trial, in a slot.

    Attributes:
        trial: the trial.
        deadline_s: when it has run too long; None for no limit.
        verdict: the decision that ends its stay in the slot; None while it goes on.
        started_at_step: how far the trial was when the attempt began.
    """

    __slots__ = ("deadline_s", "started_at_step", "trial", "verdict")

    def __init__(self, trial: Trial, deadline_s: float | None) -> None:
        self.trial = trial
        self.deadline_s = deadline_s
        self.verdict: Stop | Pause | None = None
        self.started_at_step = trial.last_step or 0
