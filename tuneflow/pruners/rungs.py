"""What halving is made of: where the rungs are, and who is among the best at one.

All counts are integers that come from repeated multiplication: ``floor(log(243, 3))`` is 4 in floating point,
and the top rung is lost.
"""

from __future__ import annotations

import math
from fractions import Fraction
from heapq import heapify, heappush, heappushpop

from tuneflow.pruners.base import Stop

__all__ = [
    "COMPLETE",
    "STOP",
    "Rung",
    "bracket_sizes",
    "milestones",
    "n_halvings",
    "to_json",
]

STOP = Stop()
COMPLETE = Stop(complete=True)


def _exact(value: float) -> Fraction:
    # The shortest decimal that names a float is what its user wrote: 0.1 is a tenth, so that 0.1 * 10 is a step of 1.
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def n_halvings(max_resource: float, min_resource: float, reduction_factor: int) -> int:
    """How often ``min_resource`` can be multiplied without passing ``max_resource``.

    This is the papers' floor(log_η(R / r)), exactly.

    Example:
        >>> n_halvings(243, 1, 3), n_halvings(1000, 1, 10)
        (5, 3)
    """
    limit, resource = _exact(max_resource), _exact(min_resource) * reduction_factor
    count = 0
    while resource <= limit:
        resource *= reduction_factor
        count += 1
    return count


def milestones(max_resource: float, min_resource: float, reduction_factor: int, bracket: int = 0) -> tuple[int, ...]:
    """The steps of the rungs r·η^(k + s), k = 0, 1, ..., that lie below ``max_resource``.

    Args:
        max_resource: R, in steps.
        min_resource: r, in steps; > 0. A fractional rung is reached at the next whole step.
        reduction_factor: η.
        bracket: s.

    Example:
        >>> milestones(256, 1, 4)
        (1, 4, 16, 64)
        >>> milestones(10, 0.5, 3)
        (1, 2, 5)
    """
    end = math.ceil(max_resource)
    resource = _exact(min_resource) * reduction_factor**bracket
    steps: list[int] = []
    while (step := math.ceil(resource)) < end:
        if not steps or step > steps[-1]:
            steps.append(step)
        resource *= reduction_factor
    return tuple(steps)


def bracket_sizes(n_rounds: int, reduction_factor: int) -> list[int]:
    """Trials of each HyperBand bracket: ceil((K + 1) / (K - s + 1) · η^(K - s)) for s = 0, 1, ..., K.

    Example:
        >>> bracket_sizes(4, 3)
        [81, 34, 15, 8, 5]
    """
    return [-(-(n_rounds + 1) * reduction_factor**left // (left + 1)) for left in range(n_rounds, -1, -1)]


def to_json(value: float) -> float | str:
    """A value that strict JSON can hold; ``float`` reads it back."""
    return value if math.isfinite(value) else repr(value)


class Rung:
    """What was recorded at one rung, split into the best ``max(1, n // η)`` and the rest.

    Lower values are better, equal ones rank by trial number. An insertion costs O(log n): since the share of the
    best grows by one at most, whatever changes sides is on top of one of two heaps.

    Attributes:
        n: how many trials have been recorded.
        waiting: heap of the ``(value, trial)`` that paused here; its owner pushes to it and drops the stale ones.

    Example:
        >>> rung = Rung(2)
        >>> for trial, value in enumerate([0.5, 0.1, 0.9, 0.3]):
        ...     rung.record(value, trial)
        >>> rung.cutoff, rung.is_among_best(0.3, 3)
        (0.3, True)
    """

    __slots__ = ("_best", "_reduction_factor", "_rest", "n", "waiting")

    def __init__(self, reduction_factor: int, recorded: list[tuple[float, int]] | None = None) -> None:
        self._reduction_factor = reduction_factor
        ranked = sorted(recorded or ())
        self.n = len(ranked)
        n_best = max(1, self.n // reduction_factor)
        self._best = [(-value, -trial) for value, trial in ranked[:n_best]]
        heapify(self._best)
        self._rest = ranked[n_best:]
        self.waiting: list[tuple[float, int]] = []

    def record(self, value: float, trial: int) -> None:
        """Files a trial's value; a trial is filed once."""
        n = self.n = self.n + 1
        best = self._best
        if n == 1 or n // self._reduction_factor > len(best):
            value, trial = heappushpop(self._rest, (value, trial))
            heappush(best, (-value, -trial))
        else:
            value, trial = heappushpop(best, (-value, -trial))
            heappush(self._rest, (-value, -trial))

    @property
    def cutoff(self) -> float:
        """The worst value among the best; the rung must not be empty."""
        return -self._best[0][0]

    def is_among_best(self, value: float, trial: int) -> bool:
        """Whether a recorded trial is among the best ``max(1, n // η)``."""
        return (-value, -trial) >= self._best[0]

    def recorded(self) -> list[tuple[float, int]]:
        """All that was recorded, the best first."""
        return sorted([(-value, -trial) for value, trial in self._best] + self._rest)
