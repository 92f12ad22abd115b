"""The members of a PBT population: who waits, who ranks where, and from whom a member may copy.

The rules that both forms share:

* A member's *score* is its value at its latest interval, the one its checkpoint belongs to. What it reports in between
  does not count: it would compare states that nobody can copy.
* A member may be copied while the checkpoint that was asked for at its latest interval is its latest one: it paused
  there, or it was among the best and was answered ``Continue(save=True)``.
* A member that has exploited keeps its own score until its next interval, as in Ray, and cannot be copied until then.
  It decides only when it has a new score, so it never exploits twice on an old one. (The paper's Algorithm 1 evaluates
  it at once. Giving it the donor's score, or none, would let the bottom move up after each exploit: with reports coming
  one by one, most of the population would be replaced at every interval, and not a quantile of it.)
* Ended members rank no more and are no donors: the protocol does not tell whether their checkpoint is kept.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneflow.pruners.configs import from_json, to_json
from tuneflow.pruners.sortedkeys import SortedKeys

__all__ = ["AsyncPopulation", "Member", "Population", "quantile_count"]


def quantile_count(n: int, fraction: float) -> int:
    """How many of ``n`` members are in the top, and how many in the bottom quantile: disjoint, and one at least.

    >>> [quantile_count(n, 0.25) for n in (1, 2, 3, 8, 9)]
    [0, 1, 1, 2, 3]
    """
    if n < 2 or fraction == 0:
        return 0
    # The product of 10 and 0.1 may come out a hair above 1: rounding keeps ceil from making 2 of it.
    return max(1, min(n // 2, math.ceil(round(n * fraction, 9))))


@dataclass(slots=True, eq=False)
class Member:
    """A trial that lives.

    Attributes:
        trial: its number.
        config: the configuration in force.
        due: the step from which on its next report is one at an interval.
        population: the one it belongs to.
        step: step of its latest report at an interval, 0 before the first.
        score: value of that report, lower is better; None before the first.
        is_saved: whether the checkpoint of that report may be copied.
        is_paused: answered ``Pause``, and ``on_resume`` has not followed.
        is_waiting: paused, and not handed out yet.
    """

    trial: int
    config: dict[str, Any]
    due: int
    population: Population
    step: int = 0
    score: float | None = None
    is_saved: bool = False
    is_paused: bool = False
    is_waiting: bool = False

    @property
    def key(self) -> tuple[float, int]:
        """Its place in an order of scores, equal ones by number."""
        return math.inf if self.score is None else self.score, self.trial


class Population(ABC):
    """Members that compete with each other.

    Args:
        size: how many trials belong to it in all; None for all that come.
        fraction: the quantile that is replaced.
    """

    def __init__(self, size: int | None, fraction: float) -> None:
        self.size, self.fraction = size, fraction
        self.n_started = 0
        self.members: dict[int, Member] = {}

    @property
    def n_missing(self) -> int:
        """How many of its trials have not started yet."""
        return 0 if self.size is None else self.size - self.n_started

    @property
    def is_over(self) -> bool:
        """Whether all of its trials have come and gone."""
        return self.n_missing == 0 and self.size is not None and not self.members

    def start(self, trial: int, config: dict[str, Any], due: int) -> Member:
        """A trial joins."""
        self.n_started += 1
        member = self.members[trial] = Member(trial, config, due, self)
        return member

    @abstractmethod
    def arrive(self, member: Member, step: int, value: float) -> None:
        """A member has reached its interval."""

    @property
    @abstractmethod
    def has_to_pause(self) -> bool:
        """Whether a member that has reached its interval leaves its slot to others."""

    @abstractmethod
    def stand(self, member: Member) -> tuple[bool, int]:
        """Whether others may want a member's state, and how many it may copy: 0 unless it is in the bottom quantile."""

    @abstractmethod
    def donor(self, index: int) -> int:
        """The trial number of the ``index``-th of those that a member of the bottom may copy, from 0."""

    @abstractmethod
    def next_waiting(self, more: bool) -> int | None:
        """The member that goes on next, None where all have to wait. ``more``: missing trials may still come."""

    def save(self, member: Member) -> None:
        """The checkpoint of a member's latest interval may be copied from now on."""
        member.is_saved = True

    def pause(self, member: Member) -> None:
        """A member leaves its slot."""
        member.is_paused = member.is_waiting = True

    def wake(self, member: Member) -> None:
        """A member is back in a slot."""
        member.is_paused = member.is_waiting = False

    def exploit(self, member: Member, config: dict[str, Any]) -> None:
        """A member has become a changed copy of another."""
        member.config = config
        member.is_saved = False

    def end(self, member: Member) -> None:
        """A member is gone, whatever it was doing."""
        del self.members[member.trial]

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "n_started": self.n_started,
            "members": [
                {
                    "trial": member.trial,
                    "config": to_json(member.config, f"config of trial {member.trial}"),
                    "due": member.due,
                    "step": member.step,
                    "score": to_json(member.score),
                    "is_saved": member.is_saved,
                    "is_paused": member.is_paused,
                    "is_waiting": member.is_waiting,
                }
                for member in self.members.values()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` returned, into a population without members."""
        self.n_started = state["n_started"]
        for fields in state["members"]:
            decoded = {name: from_json(value) for name, value in fields.items()}
            self.members[fields["trial"]] = Member(population=self, **decoded)


class AsyncPopulation(Population):
    """Members that decide one by one, each at its own interval, against the scores that are known by then."""

    def __init__(self, size: int | None, fraction: float) -> None:
        super().__init__(size, fraction)
        self._ranking = SortedKeys()
        self._saved = SortedKeys()
        self._waiting: list[tuple[int, int]] = []  # a heap of (step, trial); entries of members that went on are stale
        self._n_paused = 0

    def arrive(self, member: Member, step: int, value: float) -> None:
        self._forget(member)
        member.step, member.score = step, value
        self._ranking.add(member.key)

    @property
    def has_to_pause(self) -> bool:
        return self.size is not None and (self.n_missing > 0 or self._n_paused > 0)

    def stand(self, member: Member) -> tuple[bool, int]:
        n = len(self._ranking)
        count = quantile_count(n, self.fraction)
        rank = self._ranking.rank(member.key)
        if rank < n - count or count == 0:
            return rank < max(1, count), 0
        return False, self._saved.rank(self._ranking[count])

    def donor(self, index: int) -> int:
        return self._saved[index][1]

    def next_waiting(self, more: bool) -> int | None:
        if more and self.n_missing > 0:
            return None
        while self._waiting:
            step, trial = heapq.heappop(self._waiting)
            member = self.members.get(trial)
            if member is not None and member.is_waiting and member.step == step:
                member.is_waiting = False
                return trial
        return None

    def save(self, member: Member) -> None:
        if not member.is_saved and member.score is not None:
            member.is_saved = True
            self._saved.add(member.key)

    def pause(self, member: Member) -> None:
        if not member.is_paused:
            self._n_paused += 1
            heapq.heappush(self._waiting, (member.step, member.trial))
        super().pause(member)

    def wake(self, member: Member) -> None:
        self._n_paused -= member.is_paused
        super().wake(member)

    def exploit(self, member: Member, config: dict[str, Any]) -> None:
        if member.is_saved:
            self._saved.remove(member.key)
        super().exploit(member, config)

    def end(self, member: Member) -> None:
        self.wake(member)
        self._forget(member)
        super().end(member)

    def _forget(self, member: Member) -> None:
        """Takes a member out of the ranking."""
        if member.score is not None:
            key = member.key
            self._ranking.remove(key)
            if member.is_saved:
                self._saved.remove(key)
            member.score, member.is_saved = None, False

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for member in self.members.values():
            if member.score is not None:
                self._ranking.add(member.key)
                if member.is_saved:
                    self._saved.add(member.key)
            if member.is_waiting:
                heapq.heappush(self._waiting, (member.step, member.trial))
            self._n_paused += member.is_paused
