"""One seed for all the generators that training code draws from."""

from __future__ import annotations

import contextlib
import random

from tuneflow.errors import MissingLibrary
from tuneflow.registry import resolve

__all__ = ["seed_everything"]


def seed_everything(seed: int) -> int:
    """Seeds Python's, NumPy's and, where torch is installed, torch's global generators, those of CUDA included.

    Args:
        seed: in [0, 2**32).

    Returns:
        The seed.
    """
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # training code draws from the global generator: that is the point
    with contextlib.suppress(MissingLibrary):
        resolve("generators", "torch")(seed)
    return seed
