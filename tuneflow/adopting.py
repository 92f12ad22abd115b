"""Trials of a former driver: taken over from what the storage and their folders hold."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.trial import TrialState

from tuneflow.errors import TrialTakenOver
from tuneflow.plain import plain
from tuneflow.pruners.base import Decision, Exploit, Pause, Stop
from tuneflow.saving import is_needed
from tuneflow.study_core import StudyCore
from tuneflow.trial import Trial
from tuneflow.verdicts import DECISION, PAUSED, decode, has_paused, is_closed, is_paused

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["AdoptingStudy", "StoredEntry"]

_RUNNING = TrialState.RUNNING

ENTERED = "tuneflow:entered"
LEFT = "tuneflow:left:"
"""System attributes of a trial, and of the study, that a deterministic run keeps; see ``runner/timetable.py``."""


class StoredEntry(NamedTuple):
    """What a study keeps of a trial that entered a slot.

    Attributes:
        number: of the trial.
        entry: what ``store_entry`` was given.
        n_reports: how many reports the trial has made.
        has_ended: whether it has.
        has_paused: whether its last report was answered with a pause, and it did not go on from there.
    """

    number: int
    entry: list[int]
    n_reports: int
    has_ended: bool
    has_paused: bool


class AdoptingStudy(StudyCore):
    """A study that can go on with what another process began."""

    _points: Callable[[int], Mapping[str, Any] | None] | None = None

    def adopt(self, points: Callable[[int], Mapping[str, Any] | None] | None = None) -> int:
        """Takes over all trials that are RUNNING, for a driver that knows itself alone.

        ``resume`` hands out those that were not paused first.

        Args:
            points: gives the fixed part of trial number i, a cell of a grid; see ``runner.rules.Rules``.

        Returns:
            How many were taken over.
        """
        left = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False, states=(_RUNNING,))
        self._points = points
        n_adopted = self._adopt([frozen for frozen in left if frozen.number not in self._live])
        self.sharing.drivers.take_all()
        return n_adopted

    def adopt_dead(self) -> int:
        """Takes over the trials of drivers that are dead, as ``adopt`` does; looks for some every few seconds.

        Returns:
            How many were taken over.
        """
        drivers = self.sharing.drivers
        n_adopted = 0
        for dead in drivers.dead():
            with drivers.taking_over(dead) as trials:
                self.sharing.has_company = True
                self.fold_others()
                n_adopted += self._adopt(trials)
            for trial in self.take_stopped():
                with contextlib.suppress(TrialTakenOver):  # something has ended it meanwhile
                    self.finish(trial)
        return n_adopted

    def take_stopped(self) -> list[Trial]:
        """Adopted trials that were told to stop and had no time to: handed out once, to be ended."""
        stopped, self._stopped = self._stopped, []
        return stopped

    def return_to_slots(self, numbers: Collection[int]) -> None:
        """Trials that hold a slot since an earlier run are handed out before all others.

        Those among them that are paused had been handed out, and have not reported since.
        """
        self._again.sort(key=lambda number: number not in numbers)
        for number in numbers:
            if number in self._again:
                continue
            if self._verdicts is not None:
                self._verdicts.paused.discard(number)
            if number in self._handed_out:
                self._handed_out.remove(number)
            self._returning.append(number)

    def ended_trial(self, number: int) -> Trial:
        """A trial that has ended, as its number and state only."""
        frozen = self._storage.get_trial(self._storage_id(number))
        return Trial(self, frozen._trial_id, number, frozen.state)

    def store_entry(self, trial: Trial, entry: Sequence[int]) -> None:
        """Keeps with a trial when it entered a slot; the last time counts."""
        self._storage.set_trial_system_attr(trial.storage_id, ENTERED, list(entry))

    def store_leave(self, slot: int, serial: int) -> None:
        """Keeps that the trial of this entry has left its slot on a pause: an end can be seen without."""
        self._storage.set_study_system_attr(self.optuna._study_id, f"{LEFT}{slot}", serial)

    def stored_leaves(self) -> dict[int, int]:
        """The last entry of each slot that was left on a pause, by slot."""
        found = self._storage.get_study_system_attrs(self.optuna._study_id)
        return {int(key[len(LEFT) :]): serial for key, serial in found.items() if key.startswith(LEFT)}

    def stored_entries(self) -> list[StoredEntry]:
        """Of every trial that ever entered a slot, in order of number."""
        trials = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False)
        return [
            StoredEntry(
                trial.number,
                list(trial.system_attrs[ENTERED]),
                len(trial.intermediate_values),
                trial.state.is_finished(),
                has_paused(trial),
            )
            for trial in trials
            if ENTERED in trial.system_attrs
        ]

    def resume(self, more: bool = True, *, busy: Container[int] = ()) -> Trial | None:
        """As ``StudyCore.resume``; trials of dead drivers are among those that may go on."""
        if self.sharing.is_possible:
            self._settle_losses()
            self.adopt_dead()
            self.fold_others()
        resumed = super().resume(more, busy=busy)
        if resumed is None and not more and not busy and self.sharing.is_possible:
            self.sharing.drivers.look_again()  # the caller is about to leave: who has gone in these seconds?
            if self.adopt_dead():
                return super().resume(more, busy=busy)
        return resumed

    def _adopt(self, trials: list[FrozenTrial]) -> int:
        for frozen in trials:
            trial = self._take_over(frozen.number)
            if self._storage.get_trial(trial.storage_id).user_attrs.get(PAUSED) is not None:
                self.sampling.mark_paused(frozen.number)
            if isinstance(trial.decision, Stop):
                self._stopped.append(trial)
            elif trial.owed is not None or not is_paused(frozen) or self._verdicts is None:
                self._again.append(frozen.number)
        # Those that are to save first what others may be waiting to load.
        self._again.sort(key=lambda number: (self._live[number].owed is None, number))
        return len(trials)

    def _take_over(self, number: int) -> Trial:
        frozen = self._storage.get_trial(self._storage_id(number))
        self.sharing.drivers.take(frozen)
        if self._distributions is not None and not self._distributions.keys() <= frozen.params.keys():
            frozen = self._complete(frozen)
        frozen = self._void_undecided(frozen)
        goes_on = None if self._verdicts is None else self._verdicts.take_over(frozen)
        trial = Trial(self, frozen._trial_id, number, _RUNNING)
        steps = sorted(frozen.intermediate_values)
        trial.n_reports = len(steps)
        if steps:
            trial.last_step, trial.last_value = steps[-1], frozen.intermediate_values[steps[-1]]
        self.saving.adopt(number, trial.last_step or 0)
        for step, config, donor in self._exploits_of(frozen):
            decided = Exploit(donor, config)
            trial.change_config(decided, step)
            if step == trial.last_step and not self.saving.has_copied(donor, trial, step):
                self._uncopied[number] = decided  # the driver died between its decision and the copy
        if is_paused(frozen):
            trial.decision = Stop() if goes_on is False else Pause()
            if goes_on:
                self._handed_out.append(number)
        elif steps:
            answered = decode(frozen.user_attrs.get(f"{DECISION}{steps[-1]}"))
            if is_closed(frozen) and not isinstance(answered, Stop):
                answered = Stop(complete=True)
            trial.decision = answered if isinstance(answered, Stop) else None
        trial.owed = self._owed(trial, frozen)
        self._live[number] = trial
        return trial

    def _owed(self, trial: Trial, frozen: FrozenTrial) -> Decision | None:
        """Others are to load what a trial had at its last report, and it could not save that any more."""
        if not self.needs_checkpoints or trial.last_step is None or isinstance(trial.decision, Stop):
            return None
        answer = decode(frozen.user_attrs.get(f"{DECISION}{trial.last_step}"))
        is_there = self.saving.has_any(trial.number) and self.saving.start_of(trial.number) == trial.last_step
        return answer if is_needed(answer) and not is_there else None

    def _void_undecided(self, frozen: FrozenTrial) -> FrozenTrial:
        """Takes back what was decided on a report that its driver had no time to store: it will be decided anew."""
        void = [
            key
            for key, stored in frozen.user_attrs.items()
            if key.startswith(DECISION)
            and stored is not None
            and int(key[len(DECISION) :]) not in frozen.intermediate_values
        ]
        for key in void:
            self._storage.set_trial_user_attr(frozen._trial_id, key, None)
        if void and frozen.user_attrs.get(PAUSED) == int(void[-1][len(DECISION) :]):
            pauses = (s for s in frozen.intermediate_values if frozen.user_attrs.get(f"{DECISION}{s}") == "pause")
            self._storage.set_trial_user_attr(frozen._trial_id, PAUSED, max(pauses, default=None))
        return self._storage.get_trial(frozen._trial_id) if void else frozen

    def _complete(self, frozen: FrozenTrial) -> FrozenTrial:
        """A trial whose driver died between making it and storing its parameters gets those that are missing."""
        cell = (None if self._points is None else self._points(frozen.number)) or {}
        pinned = {name: self._grids[name].to_param(value) for name, value in cell.items()}
        self.sampling.complete(frozen._trial_id, frozen.number, self._distributions or {}, pinned)
        whole = self._storage.get_trial(frozen._trial_id)
        if self.space is not None and not self.space.is_exact:
            self._storage.set_trial_user_attr(frozen._trial_id, "config", plain(self._config_of_frozen(whole)))
        if self._verdicts is not None:
            self._fold(self._verdicts, whole)
        return whole
