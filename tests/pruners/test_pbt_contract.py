from __future__ import annotations

from tuneflow.pruners import PBT, Pruner
from tuneflow.testing import PrunerContract

MUTATIONS = {"x": lambda rng: float(rng.random())}


class TestAsynchronous(PrunerContract):
    def make(self) -> Pruner:
        return PBT(MUTATIONS, perturbation_interval=3)


class TestPopulation(PrunerContract):
    def make(self) -> Pruner:
        return PBT(MUTATIONS, population_size=4, perturbation_interval=2, burn_in=3)


class TestSynchronous(PrunerContract):
    def make(self) -> Pruner:
        return PBT(MUTATIONS, population_size=5, perturbation_interval=3, synchronous=True)
