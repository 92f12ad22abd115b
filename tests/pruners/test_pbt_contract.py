"""PBT in its three forms, and PB2, keep the contract of all pruners."""

from __future__ import annotations

import numpy as np
import pytest

from tuneflow.pruners import PB2, PBT, Pruner
from tuneflow.testing import PrunerContract


def drawn(rng: np.random.Generator) -> float:
    return float(rng.random())


class TestAsynchronous(PrunerContract):
    def make(self) -> Pruner:
        return PBT({"x": drawn}, perturbation_interval=3)


class TestPopulation(PrunerContract):
    def make(self) -> Pruner:
        return PBT({"x": drawn}, population_size=4, perturbation_interval=2, burn_in=3)


class TestSynchronous(PrunerContract):
    def make(self) -> Pruner:
        return PBT({"x": drawn}, population_size=5, perturbation_interval=3, synchronous=True)


class TestPB2(PrunerContract):
    is_rank_based = False
    n_steps = 6

    def make(self) -> Pruner:
        pytest.importorskip("sklearn")
        return PB2(bounds={"x": (0.0, 1.0)}, population_size=4, perturbation_interval=2, window=8)
