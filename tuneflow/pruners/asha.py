"""ASHA: asynchronous successive halving, in its stopping and in its promotion form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from tuneflow.arguments import check_number, check_whole
from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners.base import CONTINUE, PAUSE, Decision, Pause, Pruner, Stop
from tuneflow.pruners.rungs import (
    COMPLETE,
    STOP,
    Rung,
    bracket_sizes,
    milestones,
    n_halvings,
    to_json,
)

if TYPE_CHECKING:
    from optuna.trial import TrialState

__all__ = ["ASHA"]

_ANY_REPORT = -1
"""A due step that every report has reached: the trial is paused or stopped."""


class _Bracket:
    """The rungs of one bracket. ``stations`` are their steps and, last, ``max_resource``."""

    __slots__ = ("index", "n_started", "rungs", "share", "stations")

    def __init__(self, index: int, share: int, stations: tuple[int, ...], reduction_factor: int) -> None:
        self.index, self.share, self.stations, self.n_started = index, share, stations, 0
        # The last one stays empty but for trials that an earlier pruner with other rungs has paused.
        self.rungs = [Rung(reduction_factor) for _ in stations]


class _Member:
    """A trial that has not ended.

    ``due`` is the step of its next station, ``station`` that station's index in its bracket. At most one of
    ``paused_at`` and ``stop`` is set; with neither the trial runs.
    """

    __slots__ = ("bracket", "due", "paused_at", "station", "stop")

    def __init__(self, bracket: _Bracket) -> None:
        self.bracket, self.station, self.due = bracket, 0, bracket.stations[0]
        self.paused_at: Rung | None = None
        self.stop: Stop | None = None


class ASHA(Pruner):
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934, algorithm 2).

    Rungs lie at ``min_resource * reduction_factor**k`` steps as long as that is below ``max_resource``. A trial
    is recorded at a rung with its value at its first report at or past the rung; one that jumps over rungs is
    recorded only at the highest. At ``max_resource`` a trial ends as complete. Equal values rank by trial
    number; NaN arrives as +inf and ranks last.

    Stopping form (``promote=False``): at a rung a trial goes on iff its value is at least as good as the worst
    of the best ``max(1, n // reduction_factor)`` among the n recorded there, its own included.

    Promotion form (``promote=True``, the paper's algorithm): a trial pauses at every rung. ``next_resume`` hands
    out the best trial not yet promoted that is among the best ``n // reduction_factor`` of the highest rung that
    has one. Once no new trials will come (``more=False``) and no trial runs, what is left is settled: as long as
    no trial has ended as complete, the best one of the highest rung goes on, so that a run of two or three
    trials still trains one to the end; after that the paused trials are dropped.

    With several brackets, a new trial joins the one that is furthest behind its share, which is that of
    HyperBand's trials; bracket s starts at the rung ``min_resource * reduction_factor**s``.

    Args:
        max_resource: steps of a full training [R].
        min_resource: steps before the first decision [r]. May be fractional: a rung at 0.5 is reached by step 1,
            one at 4.5 by step 5. 0 is taken as 1, except that the first rung lies at a trial's first report,
            even if that is at step 0.
        reduction_factor: one in this many goes on [η], >= 2.
        brackets: how many brackets [s = 0, ..., brackets - 1].
        promote: the promotion form, which pauses and resumes.

    Raises:
        InvalidArgument: a value breaks its rule.
        InvalidArgumentType: a value is no number.

    Example:
        >>> asha = ASHA(max_resource=9, reduction_factor=3)
        >>> asha.on_start(0, {}), asha.on_start(1, {})
        (None, None)
        >>> asha.on_report(0, 1, 0.5, False), asha.on_report(1, 1, 0.7, False)
        (Continue(save=False), Stop(complete=False))
        >>> asha.on_report(0, 9, 0.4, False)
        Stop(complete=True)
    """

    def __init__(
        self,
        max_resource: float,
        min_resource: float = 1,
        reduction_factor: int = 4,
        brackets: int = 1,
        promote: bool = False,
    ) -> None:
        self.max_resource = check_number("max_resource", max_resource, 0)
        if self.max_resource == 0:
            raise InvalidArgument(f"max_resource={max_resource} must be > 0")
        self.min_resource = check_number("min_resource", min_resource, 0)
        self.reduction_factor = check_whole("reduction_factor", reduction_factor, 2)
        self.brackets = check_whole("brackets", brackets, 1)
        self.promote = bool(promote)
        first = self.min_resource or min(1, self.max_resource)
        if self.max_resource < first:
            raise InvalidArgument(f"min_resource={min_resource} must be <= max_resource={max_resource}")
        n_rounds = n_halvings(self.max_resource, first, self.reduction_factor)
        if self.brackets > n_rounds + 1:
            raise InvalidArgument(
                f"brackets={brackets} must be <= {n_rounds + 1}: min_resource={min_resource} can be multiplied "
                f"{n_rounds} time(s) by reduction_factor={reduction_factor} without passing max_resource={max_resource}"
            )
        self._brackets: list[_Bracket] = []
        for index, share in enumerate(bracket_sizes(n_rounds, self.reduction_factor)[: self.brackets]):
            steps = milestones(self.max_resource, first, self.reduction_factor, index)
            if self.min_resource == 0 and index == 0:
                steps = (0, *steps[1:])
            self._brackets.append(_Bracket(index, share, (*steps, math.ceil(self.max_resource)), self.reduction_factor))
        self._members: dict[int, _Member] = {}
        self._n_running = 0
        self._n_paused = 0
        self._has_completed = False
        self._dropped: list[int] = []

    def __repr__(self) -> str:
        return (
            f"ASHA(max_resource={self.max_resource}, min_resource={self.min_resource}, "
            f"reduction_factor={self.reduction_factor}, brackets={self.brackets}, promote={self.promote})"
        )

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:
        brackets = self._brackets
        bracket = brackets[0]
        if len(brackets) > 1:
            n_next = 1 + sum(each.n_started for each in brackets)
            total = sum(each.share for each in brackets)
            # min takes the first of equals, so that a tie goes to the bracket that halves the most
            bracket = min(brackets, key=lambda each: each.n_started * total - each.share * n_next)
        bracket.n_started += 1
        self._members[trial] = _Member(bracket)
        self._n_running += 1

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        try:
            member = self._members[trial]
        except KeyError:
            raise UsageError(f"trial {trial} is not running; call on_start({trial}, config) before on_report") from None
        if step < member.due and (decided is None or decided is CONTINUE):
            return CONTINUE
        return self._arrive(trial, member, step, value, decided)

    def _arrive(self, trial: int, member: _Member, step: int, value: float, decided: Decision | None) -> Decision:
        if member.stop is not None:
            return member.stop if decided is None else decided
        if member.paused_at is not None:
            self._go_on(member)
        rungs, stations = member.bracket.rungs, member.bracket.stations
        top = len(stations) - 1
        rung = rungs[member.station]
        decision: Decision = CONTINUE
        if step >= stations[member.station]:
            reached = member.station
            while reached < top and step >= stations[reached + 1]:
                reached += 1
            if reached == top:
                decision = COMPLETE
            else:
                rung = rungs[reached]
                rung.record(value, trial)
                member.station = reached + 1
                member.due = stations[reached + 1]
                if self.promote:
                    decision = PAUSE
                elif value > rung.cutoff:
                    decision = STOP
        elif isinstance(decided, Pause):
            # Paused between our rungs, by a pruner with other settings: it competes at the rung it was heading for.
            rung.record(value, trial)
            member.station = min(member.station + 1, top)
        if decided is not None:
            decision = decided
        if isinstance(decision, Pause):
            member.due, member.paused_at = _ANY_REPORT, rung
            heappush(rung.waiting, (value, trial))
            self._n_running -= 1
            self._n_paused += 1
        elif isinstance(decision, Stop):
            member.due, member.stop = _ANY_REPORT, decision
            self._n_running -= 1
            self._has_completed |= decision.complete
        return decision

    def _go_on(self, member: _Member) -> None:
        member.paused_at = None
        member.due = member.bracket.stations[member.station]
        self._n_paused -= 1
        self._n_running += 1

    def on_resume(self, trial: int) -> Decision:
        member = self._members[trial]
        if member.paused_at is not None:
            self._go_on(member)
        return CONTINUE

    def on_end(self, trial: int, state: TrialState) -> None:
        member = self._members.pop(trial, None)
        if member is None:
            return
        if member.paused_at is not None:
            self._n_paused -= 1
        elif member.stop is None:
            self._n_running -= 1
            self._has_completed |= state.name == "COMPLETE"

    def next_resume(self, more: bool = True) -> int | None:
        if not self._n_paused:
            return None
        trial = self._best_waiting(promotable=True)
        if trial is None and not more and not self._n_running:
            if not self._has_completed:
                trial = self._best_waiting(promotable=False)
            else:
                self._drop_paused()
        if trial is not None:
            self._go_on(self._members[trial])
        return trial

    def _best_waiting(self, promotable: bool) -> int | None:
        """The best paused trial of the highest rung that has one, if need be only one that its rank promotes."""
        best: tuple[int, float, int] | None = None
        for bracket in self._brackets:
            for rung, step in zip(reversed(bracket.rungs), reversed(bracket.stations), strict=True):
                if best is not None and -step > best[0]:
                    break
                if not rung.waiting or (promotable and rung.n < self.reduction_factor):
                    continue
                head = self._head(rung)
                if head is not None and (not promotable or rung.is_among_best(*head)):
                    found = (-step, *head)
                    best = found if best is None else min(best, found)
                    break
        return None if best is None else best[2]

    def _head(self, rung: Rung) -> tuple[float, int] | None:
        waiting = rung.waiting
        while waiting:
            member = self._members.get(waiting[0][1])
            if member is not None and member.paused_at is rung:
                return waiting[0]
            heappop(waiting)
        return None

    def _drop_paused(self) -> None:
        # Once per run, when everything that is still there is paused: this is no scan of finished trials.
        for trial, member in self._members.items():
            if member.paused_at is not None:
                member.paused_at, member.stop = None, STOP
                self._dropped.append(trial)
        self._n_paused = 0

    def take_dropped(self) -> list[int]:
        dropped, self._dropped = self._dropped, []
        return sorted(dropped)

    def state_dict(self) -> dict[str, Any]:
        """The whole state as JSON values; O(n) in the number of trials known."""
        return {
            "pruner": repr(self),
            "started": [bracket.n_started for bracket in self._brackets],
            "rungs": [
                [[[to_json(value), trial] for value, trial in rung.recorded()] for rung in bracket.rungs]
                for bracket in self._brackets
            ],
            "members": [
                [
                    trial,
                    member.bracket.index,
                    member.station,
                    None if member.paused_at is None else member.bracket.rungs.index(member.paused_at),
                    None if member.stop is None else member.stop.complete,
                ]
                for trial, member in self._members.items()
            ],
            "has_completed": self._has_completed,
            "dropped": sorted(self._dropped),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` returned.

        Raises:
            InvalidArgument: the state is that of a pruner with other settings.
        """
        if state["pruner"] != repr(self):
            raise InvalidArgument(f"the state of {state['pruner']} cannot be loaded into {self!r}; build that one")
        for bracket, n_started, rungs in zip(self._brackets, state["started"], state["rungs"], strict=True):
            bracket.n_started = n_started
            bracket.rungs = [
                Rung(self.reduction_factor, [(float(value), trial) for value, trial in recorded]) for recorded in rungs
            ]
        self._members = {}
        self._n_running = self._n_paused = 0
        values = [
            [{trial: float(value) for value, trial in recorded} for recorded in rungs] for rungs in state["rungs"]
        ]
        for trial, index, station, paused_at, complete in state["members"]:
            bracket = self._brackets[index]
            member = self._members[trial] = _Member(bracket)
            member.station, member.due = station, bracket.stations[station]
            if paused_at is not None:
                member.paused_at, member.due = bracket.rungs[paused_at], _ANY_REPORT
                heappush(member.paused_at.waiting, (values[index][paused_at][trial], trial))
                self._n_paused += 1
            elif complete is not None:
                member.stop, member.due = (COMPLETE if complete else STOP), _ANY_REPORT
            else:
                self._n_running += 1
        self._has_completed = state["has_completed"]
        self._dropped = list(state["dropped"])
