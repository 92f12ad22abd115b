"""Hyperparameters that a model's own code declares, KerasTuner's way, and the objective they are tuned for."""

from __future__ import annotations

from tuneflow.hyperparameters.declared import HyperParameters
from tuneflow.hyperparameters.differences import differences
from tuneflow.hyperparameters.discovery import discover
from tuneflow.hyperparameters.kinds import parameter_from
from tuneflow.hyperparameters.numeric import Float, Int
from tuneflow.hyperparameters.objective import Objective, objective_from
from tuneflow.hyperparameters.parameters import Boolean, Choice, Condition, Fixed, Parameter

__all__ = [
    "Boolean",
    "Choice",
    "Condition",
    "Fixed",
    "Float",
    "HyperParameters",
    "Int",
    "Objective",
    "Parameter",
    "differences",
    "discover",
    "objective_from",
    "parameter_from",
]
