"""Pruners: who goes on. Pure decisions over what trials report."""

from __future__ import annotations

from tuneflow.pruners.adapted import AdaptedPruner
from tuneflow.pruners.asha import ASHA
from tuneflow.pruners.base import Continue, Decision, Exploit, NoPruner, Pause, Pruner, Stop
from tuneflow.pruners.hyperband import HyperBand
from tuneflow.pruners.median import MedianStopping

__all__ = [
    "ASHA",
    "AdaptedPruner",
    "Continue",
    "Decision",
    "Exploit",
    "HyperBand",
    "MedianStopping",
    "NoPruner",
    "Pause",
    "Pruner",
    "Stop",
]
