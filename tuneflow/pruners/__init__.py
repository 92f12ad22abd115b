"""Pruners: who goes on. Pure decisions over what trials report."""

from __future__ import annotations

from tuneflow.pruners.base import Continue, Decision, Exploit, NoPruner, Pause, Pruner, Stop

__all__ = ["Continue", "Decision", "Exploit", "NoPruner", "Pause", "Pruner", "Stop"]
