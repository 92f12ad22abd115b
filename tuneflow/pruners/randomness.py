"""One stream of random numbers per decision, at the cost of a microsecond."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DecisionStreams"]

_BLOCK = 4  # Philox draws four words from one count


class DecisionStreams:
    """Independent generators, named by (trial, step), from one seed.

    Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") computes its output from a key and a
    counter. The seed is the key and (trial, step) the upper half of the counter, so that a stream is found by setting
    the counter of one generator; making a generator per decision takes ten times as long. Streams do not overlap
    before 2**128 draws.

    Args:
        seed: 0 <= seed < 2**64.

    Example:
        >>> streams = DecisionStreams(1)
        >>> first = streams(trial=3, step=10).random()
        >>> streams(trial=3, step=20).random() == first, streams(trial=3, step=10).random() == first
        (False, True)
    """

    def __init__(self, seed: int) -> None:
        import numpy as np

        self.seed = seed
        self._philox = np.random.Philox(key=seed)
        self._generator = np.random.Generator(self._philox)
        self._start = self._philox.state

    def __call__(self, trial: int, step: int) -> np.random.Generator:
        """The generator at the start of the stream of (trial, step), good until the next call."""
        start = self._start
        counter = start["state"]["counter"]
        counter[0] = counter[1] = 0
        counter[2] = trial
        counter[3] = step
        start["buffer_pos"] = _BLOCK
        start["has_uint32"] = 0
        self._philox.state = start
        return self._generator
