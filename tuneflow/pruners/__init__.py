"""Pruners: who goes on. Pure decisions over what trials report."""

from __future__ import annotations

from tuneflow.pruners.adapted import AdaptedPruner
from tuneflow.pruners.asha import ASHA
from tuneflow.pruners.base import Continue, Decision, Exploit, NoPruner, Pause, Pruner, Stop
from tuneflow.pruners.hyperband import HyperBand
from tuneflow.pruners.median import MedianStopping
from tuneflow.pruners.pb2 import PB2
from tuneflow.pruners.pbt import PBT
from tuneflow.pruners.replay import PBTReplay

__all__ = [
    "ASHA",
    "PB2",
    "PBT",
    "AdaptedPruner",
    "Continue",
    "Decision",
    "Exploit",
    "HyperBand",
    "MedianStopping",
    "NoPruner",
    "PBTReplay",
    "Pause",
    "Pruner",
    "Stop",
]


def __getattr__(name: str) -> object:
    """Optuna's own pruner classes, so that ``tuneflow.pruners.MedianPruner`` reads as in Optuna."""
    import optuna.pruners

    if name.startswith("_") or not hasattr(optuna.pruners, name):
        raise AttributeError(f"module 'tuneflow.pruners' has no attribute {name!r}")
    return getattr(optuna.pruners, name)
