"""An Optuna pruner in the place of one of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from tuneflow.pruners.base import CONTINUE, Decision, Pruner, Stop

__all__ = ["AdaptedPruner"]

_STOP = Stop()


class AdaptedPruner(Pruner):
    """Asks an Optuna pruner after each report.

    Optuna's pruners read the trials from the storage each time and so cost as much as the study is long; their
    state is the storage, so there is nothing to rebuild.

    Args:
        prune: says of a trial's number whether Optuna's pruner would stop it now.
    """

    reads_storage: ClassVar[bool] = True

    def __init__(self, prune: Callable[[int], bool]) -> None:
        self._prune = prune

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        if decided is not None:
            return decided
        return _STOP if self._prune(trial) else CONTINUE
