"""A study's dealings with its pruner: asking it, keeping what it decided, rebuilding it.

What is stored with a trial, as Optuna user attributes:

* ``tuneflow:decision:STEP``: every decision but a plain ``Continue``, so that a rebuild folds in what was decided
  and needs no order between trials; an exploit that was decided at a resume takes the pause's place;
* ``tuneflow:paused``: the step at which the trial was paused last. It stays after a resume (attributes
  cannot be taken back): a paused trial is one whose last report is at that step.

And as an Optuna system attribute, for it is no decision of the pruner's:

* ``tuneflow:over``: the step of the report that the run ended the trial with, by a stop criterion for instance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuneflow.pruners.base import CONTINUE, PAUSE, Continue, Decision, Exploit, Pause, Pruner, Stop

if TYPE_CHECKING:
    import numpy as np
    from optuna.trial import FrozenTrial, TrialState

    from tuneflow.space import Space

__all__ = ["DECISION", "OVER", "PAUSED", "Verdicts", "decode", "encode", "has_paused", "is_closed", "is_paused"]

PAUSED = "tuneflow:paused"
DECISION = "tuneflow:decision:"
OVER = "tuneflow:over"


def encode(decision: Decision, changes: Mapping[str, Any] | None = None) -> Any:
    """A decision as a JSON value; None for a plain ``Continue``, which is not stored.

    Args:
        decision: the decision.
        changes: of an exploit, by flat name, what its configuration changes in the one that was sampled.
    """
    if isinstance(decision, Continue):
        return "save" if decision.save else None
    if isinstance(decision, Stop):
        return "complete" if decision.complete else "stop"
    if isinstance(decision, Exploit):
        return {"donor": decision.donor, "changes": dict(changes or {})}
    return "pause"


def decode(stored: Any, config: Mapping[str, Any] | None = None) -> Decision:
    """The decision behind what ``encode`` returned; ``config`` is an exploit's whole configuration."""
    if isinstance(stored, Mapping):
        return Exploit(int(stored["donor"]), dict(config or {}))
    decisions: dict[Any, Decision] = {
        "stop": Stop(),
        "complete": Stop(complete=True),
        "pause": PAUSE,
        "save": Continue(save=True),
    }
    return decisions.get(stored, CONTINUE)


def is_paused(frozen: FrozenTrial) -> bool:
    """Whether a stored trial waits to be resumed."""
    return not frozen.state.is_finished() and has_paused(frozen)


def has_paused(frozen: FrozenTrial) -> bool:
    """Whether a stored trial was paused at its last report and did not go on, though it may have been ended since."""
    paused = frozen.user_attrs.get(PAUSED)
    if paused is None or paused != frozen.last_step or is_closed(frozen):
        return False
    return bool(frozen.user_attrs.get(f"{DECISION}{paused}") == "pause")


def is_closed(frozen: FrozenTrial) -> bool:
    """Whether the run ended a stored trial with its last report, though it may have had no time to write that down."""
    last = frozen.last_step
    return last is not None and frozen.system_attrs.get(OVER) == last


class Verdicts:
    """One pruner, bound to one study.

    Attributes:
        pruner: the pruner.
        paused: numbers of the trials that wait to be resumed by this driver.
    """

    def __init__(self, pruner: Pruner, *, space: Space | None, rng: np.random.Generator, is_maximized: bool) -> None:
        self.pruner = pruner
        self.paused: set[int] = set()
        self._folded: dict[int, int] = {}  # trials of others that go on, to the last step that was taken in
        self._over: set[int] = set()  # trials of others that have ended
        self._exploited: dict[int, int] = {}  # trials of others that go on, to the step of their last exploit
        self._answered: dict[int, bool] = {}  # paused trials of others: whether the pruner lets them go on
        self._sign = -1.0 if is_maximized else 1.0
        pruner.bind(space, rng)

    @property
    def reads_storage(self) -> bool:
        """Whether a report has to be stored before it is judged."""
        return self.pruner.reads_storage

    def start(self, number: int, config: Mapping[str, Any]) -> None:
        """A trial begins."""
        self.pruner.on_start(number, config)

    def report(self, number: int, step: int, value: float, checkpoint: bool) -> Decision:
        """Asks for a decision. ``value`` is the metric as it was reported, NaN included."""
        decision = self.pruner.on_report(number, step, self._loss(value), checkpoint)
        if decision is PAUSE or isinstance(decision, Pause):
            self.paused.add(number)
        return decision

    def next_resume(self, more: bool) -> int | None:
        """A paused trial that may go on, taken out of ``paused``."""
        number = self.pruner.next_resume(more)
        if number is not None:
            self._answer(number, True)
        return number

    def resume(self, number: int) -> Decision:
        """What the trial does on entering its slot again."""
        return self.pruner.on_resume(number)

    def go_on(self, number: int, step: int, value: float) -> None:
        """A trial that paused at ``step`` goes on as it was, as a driver before this one has let it."""
        if type(self.pruner).on_resume is not Pruner.on_resume:
            self.pruner.on_report(number, step, self._loss(value), True, CONTINUE)

    def take_dropped(self) -> list[int]:
        """Paused trials that will never go on, taken out of ``paused``."""
        dropped = self.pruner.take_dropped()
        for number in dropped:
            self._answer(number, False)
        return dropped

    def _answer(self, number: int, goes_on: bool) -> None:
        """What a pruner says once, it says of others' trials too: it is kept, should one be taken over later."""
        if number in self.paused:
            self.paused.discard(number)
        elif number in self._folded:
            self._answered[number] = goes_on

    def end(self, number: int, state: TrialState) -> None:
        """A trial ended."""
        self.paused.discard(number)
        self.pruner.on_end(number, state)

    def fold(self, trial: FrozenTrial, config: Mapping[str, Any], exploits: Mapping[int, Mapping[str, Any]]) -> None:
        """Takes in what a stored trial has reported since it was folded last; trials come in order of number.

        Args:
            trial: as it is stored: of an earlier life of this driver, or of another driver.
            config: the configuration that was sampled for it.
            exploits: the configuration that each exploit gave it, by step.
        """
        number = trial.number
        last = self._folded.get(number)
        if last is None:
            if number in self._over:
                return
            self.start(number, config)
            last = self._folded[number] = -1
        if last in exploits and self._exploited.get(number) != last:
            self._fold_report(trial, last, exploits)  # a pause then, and at its resume an exploit
        if trial.intermediate_values and trial.last_step != last:
            for step in sorted(step for step in trial.intermediate_values if step > last):
                if isinstance(self._fold_report(trial, step, exploits), Stop):
                    break
        if trial.state.is_finished():
            self.pruner.on_end(number, trial.state)
            self._forget(number)
            self._over.add(number)

    def _fold_report(self, trial: FrozenTrial, step: int, exploits: Mapping[int, Mapping[str, Any]]) -> Decision:
        number = trial.number
        decided = decode(trial.user_attrs.get(f"{DECISION}{step}"), exploits.get(step))
        self.pruner.on_report(number, step, self._loss(trial.intermediate_values[step]), True, decided)
        self._folded[number] = step
        self._answered.pop(number, None)
        if step in exploits:
            self._exploited[number] = step
        return decided

    def _forget(self, number: int) -> None:
        self._folded.pop(number, None)
        self._exploited.pop(number, None)
        self._answered.pop(number, None)

    def take_over(self, trial: FrozenTrial) -> bool | None:
        """A folded trial is this driver's own from now on.

        Returns:
            Of a paused one: whether it goes on (True) or is given up (False), where the pruner has said so already or
            is of a kind that resumes nobody; else None.
        """
        number = trial.number
        answered = self._answered.get(number)
        self._forget(number)
        if not is_paused(trial):
            return None
        if answered is None and type(self.pruner).next_resume is Pruner.next_resume:
            return True
        if answered is None:
            self.paused.add(number)
        return answered

    def give_away(self, number: int, last_step: int | None) -> None:
        """A trial of this driver's own is another's from now on."""
        self.paused.discard(number)
        self._folded[number] = -1 if last_step is None else last_step

    def end_elsewhere(self, number: int, state: TrialState) -> None:
        """Something that is no driver has ended a trial of this driver's own."""
        self.end(number, state)
        self._over.add(number)

    def is_over(self, number: int) -> None:
        """A trial that this driver's pruner knows has ended, and is not to be taken in as another's."""
        self._over.add(number)

    def _loss(self, value: float) -> float:
        """Lower is better from here on, and NaN is the worst. The one place where the sign is turned."""
        return math.inf if value != value else self._sign * value
