"""Trials that are to go on from another one's checkpoint before that is there."""

from __future__ import annotations

from collections.abc import Callable

from tuneflow.pruners.base import Decision
from tuneflow.runner.executor import Executor
from tuneflow.study import Study
from tuneflow.trainable.messages import Answer
from tuneflow.trial import Trial

__all__ = ["Donors"]


class Donors:
    """Holds back the answer, or the start, of each trial that waits for its donor's checkpoint.

    Args:
        study: fills the checkpoint in.
        executor: takes the answer.
        start: starts a trial that was held back.
    """

    def __init__(self, study: Study, executor: Executor, start: Callable[[Trial], None]) -> None:
        self._study = study
        self._executor = executor
        self._start = start
        self._wanted: dict[int, int] = {}
        self._unstarted: dict[int, Trial] = {}
        self._unanswered: dict[int, Trial] = {}

    @property
    def n_unstarted(self) -> int:
        """How many trials have a slot and have not been started in it."""
        return len(self._unstarted)

    def hold(self, trial: Trial, decision: Decision | None, *, is_running: bool) -> bool:
        """Whether the trial has to wait: then it is started or answered as soon as it can be.

        Args:
            trial: it was told ``decision``.
            decision: an exploit may have to wait, nothing else.
            is_running: the trial waits for an answer, rather than to be started.
        """
        donor = getattr(decision, "donor", None)
        if donor is None or not self._study.saving.is_pending(donor):
            return False
        self._wanted[trial.number] = donor
        (self._unanswered if is_running else self._unstarted)[trial.number] = trial
        return True

    def serve(self, donor: int) -> None:
        """The donor's checkpoint is there, or will never be."""
        for number in [number for number, wanted in self._wanted.items() if wanted == donor]:
            del self._wanted[number]
            unstarted, unanswered = self._unstarted.pop(number, None), self._unanswered.pop(number, None)
            if unstarted is not None:
                self._study.fill_exploit(unstarted)
                self._start(unstarted)
            elif unanswered is not None:
                self._executor.reply(number, Answer(self._study.fill_exploit(unanswered)))

    def leave(self, trial: Trial) -> None:
        """The trial gives its slot back: it waits for nobody, and saves no more for those that wait for it."""
        number = trial.number
        for held in (self._wanted, self._unstarted, self._unanswered):
            held.pop(number, None)
        if self._study.saving.is_pending(number):
            self._study.saving.give_up(trial)
        self.serve(number)
