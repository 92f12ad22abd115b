"""When and where each trial entered its slot, in logical time: kept with the study, so that a killed run goes on alike.

With ``deterministic=True`` decisions depend on the order of events, and that on logical time (``ordering.py``). What a
driver knew of it would go with the driver. So each entry into a slot is stored with its trial: a running number, the
slot, the logical time, and how many reports the trial had made; and with the study, that a slot was left on a pause.
Every other time follows from these: a trial's clock is its entry's time plus the reports since, and an end or a leave
counts one.

In a run that goes on, the trial that entered a slot last decides what the slot holds:

* it runs, or was resumed and has not reported since: it gets slot and clock back;
* its last report was answered with a pause or a stop, and it has not left the slot: it leaves it at its time, as it
  would have. It may even have ended meanwhile, where the pruner gave it up before it had left;
* it has left, or ended: the slot is free.

So logical time goes on at the last event that was handled. A trial that holds no slot, new or with another one's
configuration, had been made for the slot that was free then; it comes after those that hold one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tuneflow.adopting import StoredEntry
from tuneflow.pruners.base import Pause, Stop
from tuneflow.runner.ordering import Order
from tuneflow.study import Study
from tuneflow.trial import Trial

__all__ = ["Entry", "Timetable"]


class Entry(NamedTuple):
    """A trial enters a slot.

    Attributes:
        serial: counts the entries of a study.
        slot: which one, from 0.
        time: in logical time.
        n_reports: how many reports the trial had made before.
    """

    serial: int
    slot: int
    time: int
    n_reports: int

    def clock(self, n_reports: int) -> int:
        """The trial's time after so many reports in all."""
        return self.time + n_reports - self.n_reports


class _Past(NamedTuple):
    """What an earlier run has left of a trial.

    Attributes:
        entry: its last one.
        time: at its last event, or at its entry.
        has_spoken: whether it has reported since it entered.
        has_ended: whether it has.
        has_left: whether it has left its slot.
    """

    entry: Entry
    time: int
    has_spoken: bool
    has_ended: bool
    has_left: bool

    @classmethod
    def of(cls, found: StoredEntry, leaves: Mapping[int, int]) -> _Past:
        entry = Entry(*found.entry)
        has_left = leaves.get(entry.slot) == entry.serial or (found.has_ended and not found.has_paused)
        time = entry.clock(found.n_reports + has_left)
        return cls(entry, time, found.n_reports > entry.n_reports, found.has_ended, has_left)


class Timetable:
    """The slots of one run.

    Args:
        study: keeps the entries.
        order: of the run's events.
    """

    def __init__(self, study: Study, order: Order) -> None:
        self._study, self._order = study, order
        self._entries: dict[int, Entry] = {}  # of the trials that hold a slot, or get theirs back
        self._left: tuple[int, Entry] | None = None
        self._serial = 0

    def restore(self) -> list[Trial]:
        """Takes over what an earlier run has stored.

        Returns:
            The trials that have to leave their slots first. They are entered here.
        """
        leaves = self._study.stored_leaves()
        stored = {found.number: _Past.of(found, leaves) for found in self._study.stored_entries()}
        if not stored:
            return []
        self._serial = 1 + max(past.entry.serial for past in stored.values())
        self._order.now = max(past.time for past in stored.values())
        last: dict[int, int] = {}
        for number, past in stored.items():
            slot, serial = past.entry.slot, past.entry.serial
            if slot not in last or serial > stored[last[slot]].entry.serial:
                last[slot] = number
        leaving, returning = [], []
        live = {trial.number: trial for trial in self._study.live_trials()}
        for number in sorted(number for number in last.values() if not stored[number].has_left):
            past = stored[number]
            trial = self._study.ended_trial(number) if past.has_ended else live.get(number)
            if trial is None:
                continue
            self._entries[number] = past.entry
            if past.has_ended or (past.has_spoken and trial.owed is None and isinstance(trial.decision, (Pause, Stop))):
                self._order.enter(number, past.time)
                leaving.append(trial)
            else:
                returning.append(number)  # one that owes a save runs once more to where it was
        self._study.return_to_slots(returning)
        return leaving

    def enter(self, trial: Trial) -> None:
        """A trial enters a slot: its own where it has one, else the first that is free."""
        entry = self._entries.get(trial.number)
        if entry is None:
            taken = {held.slot for held in self._entries.values()}
            slot = next(index for index in range(len(taken) + 1) if index not in taken)
            entry = Entry(self._serial, slot, self._order.now, trial.n_reports)
            self._serial += 1
            self._entries[trial.number] = entry
            self._study.store_entry(trial, entry)
        self._order.enter(trial.number, entry.clock(trial.n_reports))

    def leave(self, number: int, *, has_paused: bool = False) -> None:
        """A trial leaves its slot; on a pause that is stored."""
        entry = self._entries.pop(number, None)
        if has_paused and entry is not None:
            self._study.store_leave(entry.slot, entry.serial)
        self._left = None if entry is None else (number, entry)
        self._order.leave(number)

    def come_back(self, number: int) -> None:
        """The trial that left last gets another attempt, in the same slot and at the same time."""
        if self._left is not None and self._left[0] == number:
            self._entries[number] = self._left[1]
            self._order.take_back(number)
