"""The synchronous population of PBT: all arrive, then all decide."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from tuneflow.pruners.configs import from_json, to_json
from tuneflow.pruners.population import Member, Population, quantile_count

__all__ = ["SyncPopulation"]


class SyncPopulation(Population):
    """Members that pause at every interval and decide together once all that live have arrived.

    Rounds are counted by the step at which a member arrives (``step // interval``), so whether a round is complete
    follows from where each member is and not from the order in which they came: no member that lives is in an
    earlier round. A member that ends is waited for no longer; one that skips a round has arrived in it.

    When a round opens, all that have arrived in it are ranked once, those too that have ended since, so that a rebuilt
    population ranks as the original did; but only who lives is copied. Those of the bottom quantile go on first, so
    that their donors still stand where they were ranked; all others follow by number. Opening costs O(n log n), once
    per round of n.

    Args:
        size: how many trials belong to it in all.
        fraction: the quantile that is replaced.
        interval: steps from one round to the next.
    """

    def __init__(self, size: int, fraction: float, interval: int) -> None:
        super().__init__(size, fraction)
        self._interval = interval
        self._n_in_round: dict[int, int] = {}
        self._waiting_in_round: dict[int, set[int]] = {}
        # The last two arrivals, (round, score): who has gone on is still ranked in the round of those behind.
        self._arrivals: dict[int, list[tuple[int, float]]] = {}
        self._open_round = 0
        self._queue: deque[int] = deque()
        self._bottom: set[int] = set()
        self._top: list[int] = []

    def _round(self, member: Member) -> int:
        return member.step // self._interval

    def _count(self, member: Member, by: int) -> None:
        number = self._round(member)
        self._n_in_round[number] = self._n_in_round.get(number, 0) + by
        if self._n_in_round[number] == 0:
            del self._n_in_round[number]

    def start(self, trial: int, config: dict[str, Any], due: int) -> Member:
        member = super().start(trial, config, due)
        self._count(member, +1)
        return member

    def arrive(self, member: Member, step: int, value: float) -> None:
        self._count(member, -1)
        member.step, member.score, member.is_saved = step, value, False
        self._count(member, +1)
        self._arrivals[member.trial] = [*self._arrivals.get(member.trial, [])[-1:], (self._round(member), value)]

    @property
    def has_to_pause(self) -> bool:
        return True

    def stand(self, member: Member) -> tuple[bool, int]:
        return False, len(self._top) if member.trial in self._bottom else 0

    def donor(self, index: int) -> int:
        return self._top[index]

    def next_waiting(self, more: bool) -> int | None:
        while True:
            while self._queue:
                member = self.members.get(self._queue.popleft())
                if member is not None and member.is_waiting and self._round(member) == self._open_round:
                    member.is_waiting = False
                    return member.trial
            earliest = min(self._n_in_round, default=0)
            if earliest not in self._waiting_in_round or (more and self.n_missing > 0):
                return None
            self._open(earliest)

    def _open(self, number: int) -> None:
        waiting = self._waiting_in_round.pop(number)
        ranked = sorted(
            (next(score for at, score in arrivals if at >= number), trial)
            for trial, arrivals in self._arrivals.items()
            if arrivals[-1][0] >= number
        )
        count = quantile_count(len(ranked), self.fraction)
        self._open_round = number
        self._bottom = {trial for _, trial in ranked[len(ranked) - count :]}
        top = [self.members.get(trial) for _, trial in ranked[:count]]
        self._top = [member.trial for member in top if member is not None and member.is_saved]
        self._queue.extend(sorted(waiting, key=lambda trial: (trial not in self._bottom, trial)))

    def pause(self, member: Member) -> None:
        super().pause(member)
        self._waiting_in_round.setdefault(self._round(member), set()).add(member.trial)

    def wake(self, member: Member) -> None:
        super().wake(member)
        self._bottom.discard(member.trial)
        self._leave(member)

    def end(self, member: Member) -> None:
        self._count(member, -1)
        self._leave(member)
        self._bottom.discard(member.trial)
        if member.trial in self._top:
            self._top.remove(member.trial)
        super().end(member)

    def _leave(self, member: Member) -> None:
        number = self._round(member)
        waiting = self._waiting_in_round.get(number)
        if waiting is not None:
            waiting.discard(member.trial)
            if not waiting:
                del self._waiting_in_round[number]

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "arrivals": [
                [trial, [[number, to_json(score)] for number, score in arrivals]]
                for trial, arrivals in self._arrivals.items()
            ],
            "open_round": self._open_round,
            "queue": list(self._queue),
            "bottom": sorted(self._bottom),
            "top": list(self._top),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._arrivals = {
            trial: [(number, from_json(score)) for number, score in arrivals] for trial, arrivals in state["arrivals"]
        }
        self._open_round = state["open_round"]
        self._queue = deque(state["queue"])
        self._bottom = set(state["bottom"])
        self._top = list(state["top"])
        queued = set(self._queue)
        for member in self.members.values():
            self._count(member, +1)
            # A queued member waits in the open round, one that has come round again waits in its next.
            if member.is_waiting and not (member.trial in queued and self._round(member) == self._open_round):
                self._waiting_in_round.setdefault(self._round(member), set()).add(member.trial)
