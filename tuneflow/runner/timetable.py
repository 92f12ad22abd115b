"""When and where each trial entered its slot, in logical time: kept with the study, so that a killed run goes on alike.

With ``deterministic=True`` decisions depend on the order of events, and that on logical time (``ordering.py``). What a
driver knew of it would go with the driver. So each entry into a slot is stored with its trial: a running number, the
slot, the logical time, and how many reports the trial had made. Every other time follows from these: a trial's clock
is its entry's time plus the reports since.

In a run that goes on, the trial that entered a slot last decides what the slot holds:

* it runs, or was resumed and has not reported since: it gets slot and clock back;
* its last report was answered with a pause or a stop: it had not left the slot, or nobody has taken the slot since. It
  leaves it at its time, as it would have;
* it has ended: the slot is free, from one step after its last report.

A trial that was made and had not entered a slot comes after those that hold one: its slot may be one that is yet to be
left.
"""

from __future__ import annotations

from typing import NamedTuple

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
        found = self._study.stored_entries()
        if not found:
            return []
        stored = {number: (Entry(*given), n_reports) for number, given, n_reports, _ in found}
        self._serial = 1 + max(entry.serial for entry, _ in stored.values())
        # An end counts one: the driver may have died before anybody entered the slot that it freed.
        self._order.now = max(
            stored[number][0].clock(n_reports + has_ended) for number, _, n_reports, has_ended in found
        )
        last: dict[int, int] = {}
        for number, (entry, _) in stored.items():
            if entry.slot not in last or entry.serial > stored[last[entry.slot]][0].serial:
                last[entry.slot] = number
        leaving = []
        live = {trial.number: trial for trial in self._study.live_trials()}
        for number in sorted(last.values()):
            trial = live.get(number)
            if trial is None:
                continue
            entry, n_reports = stored[number]
            self._entries[number] = entry
            if trial.owed is not None:
                continue  # it runs once more to where it was
            if isinstance(trial.decision, Pause) and n_reports == entry.n_reports:
                self._study.hand_out_again(number)
            elif isinstance(trial.decision, (Pause, Stop)):
                self._order.enter(number, entry.clock(n_reports))
                leaving.append(trial)
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

    def leave(self, number: int) -> None:
        """A trial leaves its slot."""
        entry = self._entries.pop(number, None)
        self._left = None if entry is None else (number, entry)
        self._order.leave(number)

    def come_back(self, number: int) -> None:
        """The trial that left last gets another attempt, in the same slot and at the same time."""
        if self._left is not None and self._left[0] == number:
            self._entries[number] = self._left[1]
            self._order.take_back(number)
