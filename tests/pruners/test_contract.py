"""Every pruner keeps the contract."""

from __future__ import annotations

from tuneflow.pruners import ASHA, HyperBand, MedianStopping, NoPruner, Pruner
from tuneflow.testing import PrunerContract


class TestNoPruner(PrunerContract):
    def make(self) -> Pruner:
        return NoPruner()


class TestASHAStopping(PrunerContract):
    def make(self) -> Pruner:
        return ASHA(9, reduction_factor=2)


class TestASHAStoppingBrackets(PrunerContract):
    def make(self) -> Pruner:
        return ASHA(9, min_resource=0, reduction_factor=3, brackets=3)


class TestASHAPromotion(PrunerContract):
    def make(self) -> Pruner:
        return ASHA(9, reduction_factor=3, promote=True)


class TestASHAPromotionBrackets(PrunerContract):
    def make(self) -> Pruner:
        return ASHA(8, reduction_factor=2, brackets=3, promote=True)


class TestHyperBand(PrunerContract):
    def make(self) -> Pruner:
        return HyperBand(9)


class TestHyperBandHalving(PrunerContract):
    def make(self) -> Pruner:
        return HyperBand(10, reduction_factor=2)


class TestMedianStopping(PrunerContract):
    is_rank_based = False

    def make(self) -> Pruner:
        return MedianStopping(grace_period=2, min_samples_required=2)
