"""Tuners of HyperModels, KerasTuner's way, over ``tune.run``."""

from __future__ import annotations

from tuneflow.tuners.base import HyperTuner
from tuneflow.tuners.named import BayesianOptimization, GridSearch, Hyperband, RandomSearch

__all__ = ["BayesianOptimization", "GridSearch", "HyperTuner", "Hyperband", "RandomSearch"]
