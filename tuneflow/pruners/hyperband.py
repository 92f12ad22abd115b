"""HyperBand: synchronous successive halving in brackets of different width."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from tuneflow.arguments import check_whole
from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners.base import CONTINUE, PAUSE, Decision, Pause, Pruner, Stop
from tuneflow.pruners.rungs import COMPLETE, STOP, bracket_sizes, n_halvings, to_json

if TYPE_CHECKING:
    from optuna.trial import TrialState

__all__ = ["HyperBand"]

_ANY_REPORT = -1
"""A due step that every report has reached: the trial does not run."""


class _Status(IntEnum):
    RUNNING = 0
    WAITING = 1
    """Paused at its rung, which has not decided."""
    READY = 2
    """Paused, to be handed out: it goes on to the rung ``level``."""
    RESUMED = 3
    """Handed out, and silent since."""
    DROPPED = 4
    """Paused, to be handed out by ``take_dropped``."""
    STOPPED = 5


class _Rung:
    """One milestone of a bracket.

    Attributes:
        step: the milestone.
        n_pending: live trials that are on their way to it.
        n_promoted: trials that have gone on from it. One that then ends without a further report gives its place
            back: nothing that is stored tells it from one that never went on.
        waiting: heap of the ``(value, trial)`` that have arrived; those gone elsewhere since are stale.
    """

    __slots__ = ("n_pending", "n_promoted", "step", "waiting")

    def __init__(self, step: int) -> None:
        self.step, self.n_pending, self.n_promoted = step, 0, 0
        self.waiting: list[tuple[float, int]] = []


class _Bracket:
    """A bracket: its milestones, ``max_resource`` being the last, and how many trials it has got of its ``size``."""

    __slots__ = ("index", "n_started", "rungs", "size")

    def __init__(self, index: int, size: int, steps: list[int]) -> None:
        self.index, self.size, self.n_started = index, size, 0
        self.rungs = [_Rung(step) for step in steps]


class _Member:
    """A trial that has not ended.

    Attributes:
        level: the rung that it is at or heading for.
        due: the step of that, or any report where the trial does not run.
        paused_level: the rung at which it paused last; it has promotions from there up to ``level`` to give back.
        step: the step of its last pause.
        value: the value of its last pause.
    """

    __slots__ = ("bracket", "due", "level", "paused_level", "status", "step", "stop", "value")

    def __init__(self, bracket: _Bracket) -> None:
        self.bracket, self.level, self.due = bracket, 0, bracket.rungs[0].step
        self.status = _Status.RUNNING
        self.stop = STOP
        self.paused_level, self.step, self.value = 0, 0, 0.0

    def give_back(self) -> None:
        """Returns the places that it has taken since it paused."""
        for rung in self.bracket.rungs[self.paused_level : self.level]:
            rung.n_promoted -= 1
        self.level = self.paused_level


class HyperBand(Pruner):
    """Synchronous HyperBand (Li et al. 2018, JMLR 18(185), algorithm 1).

    With s_max = floor(log_η R), bracket s = s_max, ..., 0 takes ceil((s_max + 1) / (s + 1) · η^s) trials and has its
    milestones at ``max(1, R // η**k)``, k = s, ..., 0. Brackets fill in that order, the widest first, and then round
    again; a trial's place follows from how many have started before it. A trial pauses at each milestone. Once
    all live trials of the rung are there the best ``max(1, n // η**(k + 1))`` of the bracket's n go on from its
    k-th rung [n_i of the paper], and the others are dropped. At R a trial ends as complete.

    A trial that fails or ends by itself counts as arrived and worst, so that a bracket never waits for it. A trial
    whose report jumps over several milestones waits at the lowest and, when promoted, is at the next one already.
    Equal values rank by trial number; NaN arrives as +inf and ranks last.

    While a bracket waits, new trials fill the next one, whatever the number of slots. Once no new trials will come
    (``more=False``) the last bracket halves with the n that it has; should trials come later all the same, they
    fill it up and compete among themselves for the places that this adds. What may go on is handed out from the
    oldest bracket first, and the best first.

    Rungs decide when ``next_resume`` or ``take_dropped`` asks, not while reports come in: a rebuild folds in one trial
    after the other, and a trial that failed while it was paused must not compete on the way.

    Args:
        max_resource: steps of a full training [R]; a whole number >= 1.
        reduction_factor: one in this many goes on [η], >= 2.

    Raises:
        InvalidArgument: a value breaks its rule.
        InvalidArgumentType: a value is no number.

    Example:
        >>> hyperband = HyperBand(max_resource=3)  # the first bracket: 3 trials, of which the best goes on
        >>> for trial, value in enumerate([0.5, 0.1, 0.9]):
        ...     hyperband.on_start(trial, {})
        ...     print(hyperband.on_report(trial, 1, value, False))
        Pause()
        Pause()
        Pause()
        >>> hyperband.next_resume(), hyperband.take_dropped()
        (1, [0, 2])
    """

    def __init__(self, max_resource: int, reduction_factor: int = 3) -> None:
        self.max_resource = check_whole("max_resource", max_resource, 1)
        self.reduction_factor = check_whole("reduction_factor", reduction_factor, 2)
        self._s_max = n_halvings(self.max_resource, 1, self.reduction_factor)
        self._sizes = bracket_sizes(self._s_max, self.reduction_factor)
        self._members: dict[int, _Member] = {}
        self._filling = self._bracket(0)
        self._changed: dict[int, _Bracket] = {}  # by index: what has had an arrival or an end since it was settled
        self._ready: list[tuple[int, int, float, int]] = []  # heap of (bracket, -level, value, trial)
        self._dropped: list[int] = []

    def __repr__(self) -> str:
        return f"HyperBand(max_resource={self.max_resource}, reduction_factor={self.reduction_factor})"

    def _bracket(self, index: int) -> _Bracket:
        place = index % (self._s_max + 1)
        s = self._s_max - place
        steps = [max(1, self.max_resource // self.reduction_factor**k) for k in range(s, -1, -1)]
        return _Bracket(index, self._sizes[place], steps)

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:
        if self._filling.n_started == self._filling.size:
            self._filling = self._bracket(self._filling.index + 1)
        bracket = self._filling
        bracket.n_started += 1
        bracket.rungs[0].n_pending += 1
        self._members[trial] = _Member(bracket)

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
        if member.status is _Status.STOPPED:
            return member.stop if decided is None else decided
        if member.status is not _Status.RUNNING:
            self._go_on(member)
            member.due, member.status = member.bracket.rungs[member.level].step, _Status.RUNNING
        if decided is not None:
            decision = decided
        elif step < member.due:
            decision = CONTINUE
        else:
            decision = COMPLETE if step >= self.max_resource else PAUSE
        bracket = member.bracket
        rung = bracket.rungs[member.level]
        if isinstance(decision, Pause):
            rung.n_pending -= 1
            heappush(rung.waiting, (value, trial))
            member.due, member.status = _ANY_REPORT, _Status.WAITING
            member.paused_level, member.step, member.value = member.level, step, value
            self._changed[bracket.index] = bracket
        elif isinstance(decision, Stop):
            rung.n_pending -= 1
            member.due, member.status, member.stop = _ANY_REPORT, _Status.STOPPED, decision
            self._changed[bracket.index] = bracket
        elif step >= member.due:
            # Another pruner let it pass: it has taken a place here and heads for the next rung.
            rung.n_pending -= 1
            self._climb(member, step)
            self._changed[bracket.index] = bracket
        return decision

    def _go_on(self, member: _Member) -> None:
        """A paused trial is about to run again, whether it was handed out or its report says so."""
        if member.status in (_Status.WAITING, _Status.DROPPED):
            self._climb(member, member.step)
            member.due = _ANY_REPORT
        member.status = _Status.RESUMED

    def _climb(self, member: _Member, step: int) -> None:
        """Takes a place at every rung up to ``step`` and heads for the first one beyond."""
        rungs = member.bracket.rungs
        level = member.level
        while level < len(rungs) - 1:
            rungs[level].n_promoted += 1
            level += 1
            if rungs[level].step > step:
                break
        rungs[level].n_pending += 1
        member.level, member.due = level, rungs[level].step

    def _settle_changed(self) -> None:
        for bracket in self._changed.values():
            self._settle(bracket)
        self._changed.clear()

    def _settle(self, bracket: _Bracket, more: bool = True) -> None:
        """Lets the rungs decide that can: all live trials are there, and no more will come from below."""
        if more and bracket.n_started < bracket.size:
            return
        for level, rung in enumerate(bracket.rungs):
            if rung.n_pending:
                return
            if rung.waiting:
                self._decide(bracket, level)

    def _decide(self, bracket: _Bracket, level: int) -> None:
        top = len(bracket.rungs) - 1
        rung, next_rung = bracket.rungs[level], bracket.rungs[min(level + 1, top)]
        places = max(1, bracket.n_started // self.reduction_factor ** (level + 1)) - rung.n_promoted
        if level == top:
            places = len(rung.waiting)  # paused on the last stretch, by a pruner with other settings: go on
        while rung.waiting:
            value, trial = heappop(rung.waiting)
            member = self._members.get(trial)
            if member is None or member.level != level or member.status is not _Status.WAITING:
                continue
            if places > 0:
                places -= 1
                rung.n_promoted += 1
                member.level = min(level + 1, top)
                if member.step >= next_rung.step:
                    heappush(next_rung.waiting, (value, trial))
                else:
                    member.status = _Status.READY
                    next_rung.n_pending += 1
                    heappush(self._ready, (bracket.index, -member.level, value, trial))
            else:
                member.give_back()
                member.status = _Status.DROPPED
                self._dropped.append(trial)

    def on_resume(self, trial: int) -> Decision:
        member = self._members[trial]
        if member.status in (_Status.WAITING, _Status.READY, _Status.DROPPED):
            self._go_on(member)
        return CONTINUE

    def on_end(self, trial: int, state: TrialState) -> None:
        member = self._members.pop(trial, None)
        if member is None:
            return
        if member.status in (_Status.RUNNING, _Status.READY, _Status.RESUMED):
            member.bracket.rungs[member.level].n_pending -= 1
        if member.status in (_Status.WAITING, _Status.READY, _Status.RESUMED):
            member.give_back()
        self._changed[member.bracket.index] = member.bracket

    def next_resume(self, more: bool = True) -> int | None:
        self._settle_changed()
        if not more:
            self._settle(self._filling, more=False)  # the only bracket that is not full
        while self._ready:
            *_, trial = heappop(self._ready)
            member = self._members.get(trial)
            if member is not None and member.status is _Status.READY:
                self._go_on(member)
                return trial
        return None

    def take_dropped(self) -> list[int]:
        self._settle_changed()
        dropped, self._dropped = self._dropped, []
        taken = []
        for trial in sorted(dropped):
            member = self._members.get(trial)
            if member is not None and member.status is _Status.DROPPED:
                member.status = _Status.STOPPED
                taken.append(trial)
        return taken

    def state_dict(self) -> dict[str, Any]:
        """The whole state as JSON values; O(n) in the number of trials that have not ended."""
        brackets = {member.bracket.index: member.bracket for member in self._members.values()}
        brackets[self._filling.index] = self._filling
        return {
            "pruner": repr(self),
            "filling": self._filling.index,
            "brackets": [
                [index, bracket.n_started, [[rung.n_pending, rung.n_promoted] for rung in bracket.rungs]]
                for index, bracket in sorted(brackets.items())
            ],
            "members": [
                [
                    trial,
                    member.bracket.index,
                    member.level,
                    member.paused_level,
                    int(member.status),
                    member.step,
                    to_json(member.value),
                    member.stop.complete,
                ]
                for trial, member in self._members.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` returned.

        Raises:
            InvalidArgument: the state is that of a pruner with other settings.
        """
        if state["pruner"] != repr(self):
            raise InvalidArgument(f"the state of {state['pruner']} cannot be loaded into {self!r}; build that one")
        brackets: dict[int, _Bracket] = {}
        for index, n_started, rungs in state["brackets"]:
            bracket = brackets[index] = self._bracket(index)
            bracket.n_started = n_started
            for rung, (n_pending, n_promoted) in zip(bracket.rungs, rungs, strict=True):
                rung.n_pending, rung.n_promoted = n_pending, n_promoted
        self._filling, self._changed = brackets[state["filling"]], brackets
        self._members, self._ready, self._dropped = {}, [], []
        for trial, index, level, paused_level, status, step, value, complete in state["members"]:
            member = self._members[trial] = _Member(brackets[index])
            member.level, member.paused_level, member.status = level, paused_level, _Status(status)
            member.step, member.value = step, float(value)
            member.stop = COMPLETE if complete else STOP
            rung = member.bracket.rungs[level]
            member.due = rung.step if member.status is _Status.RUNNING else _ANY_REPORT
            if member.status is _Status.WAITING:
                heappush(rung.waiting, (member.value, trial))
            elif member.status is _Status.READY:
                heappush(self._ready, (index, -level, member.value, trial))
            elif member.status is _Status.DROPPED:
                self._dropped.append(trial)
