"""What goes wrong on simulated workers: slow jobs, dropped jobs, machines that die.

Every draw is derived from (seed, what it is for), never from the order in which things happen, so that one more or one
fewer event leaves all the others as they were.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from tuneflow.errors import InvalidArgument
from tuneflow.samplers.seeding import derive

__all__ = ["Luck", "check_rate"]

_SLOWNESS, _DROP, _DEATH = 1, 2, 3
_NORMAL = NormalDist()


def check_rate(name: str, rate: float) -> float:
    """Returns ``rate`` if it is a probability in [0, 1).

    Raises:
        InvalidArgument: it is not.
    """
    if not 0.0 <= rate < 1.0:
        raise InvalidArgument(f"{name}={rate} must be in [0, 1): it is the probability per unit of virtual time")
    return float(rate)


class Luck:
    """The randomness of one simulated cluster.

    A job is one stay of a trial in a slot. It takes ``1 + |z|`` times as long as it should, z ~ N(0, ``straggle``), and
    is dropped with probability ``drop_rate`` per unit of time (Li et al. 2020, arXiv 1810.05934, appendix A.1).

    Args:
        seed: what every draw is derived from.
        straggle: standard deviation of z.
        drop_rate: probability per unit of virtual time that a running job is dropped.
        death_rate: probability per unit of virtual time that a worker dies.
    """

    def __init__(self, seed: int, *, straggle: float, drop_rate: float, death_rate: float) -> None:
        self._seed = seed
        self._straggle = straggle
        self._drop_hazard = -math.log1p(-drop_rate)
        self._death_hazard = -math.log1p(-death_rate)

    def slowness(self, trial: int, attempt: int, stay: int) -> float:
        """How many times as long as it should a job takes; >= 1."""
        if not self._straggle:
            return 1.0
        return 1.0 + abs(self._straggle * _NORMAL.inv_cdf(self._uniform(_SLOWNESS, trial, attempt, stay)))

    def drop_after(self, trial: int, attempt: int, stay: int) -> float:
        """Virtual time after which a job is dropped; infinite where jobs are not."""
        return self._exponential(self._drop_hazard, _DROP, trial, attempt, stay)

    def death_after(self, worker: int) -> float:
        """Virtual time after which a worker dies; infinite where workers do not."""
        return self._exponential(self._death_hazard, _DEATH, worker)

    def _exponential(self, hazard: float, *path: int) -> float:
        return -math.log(self._uniform(*path)) / hazard if hazard else math.inf

    def _uniform(self, *path: int) -> float:
        """In (0, 1), both ends excluded."""
        return (derive(self._seed, *path) + 0.5) / 2**32
