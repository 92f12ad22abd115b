"""Says once that a stop criterion names a key that no result holds: most often a slip of the pen."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.base import Callback
from tuneflow.callbacks.flattening import flatten
from tuneflow.errors import TuneflowWarning

if TYPE_CHECKING:
    from tuneflow.stoppers import Stopper
    from tuneflow.trial import Trial

__all__ = ["UnseenKeys"]

_PATIENCE = 200


class UnseenKeys(Callback):
    """Warns about the keys that a stopper waits for in vain, once: after 200 results, or by ``warn`` at the end.

    A trial that only such a key would end never ends by itself: waiting for the end of the run would be too long.

    Args:
        stopper: the run's; None for none.
    """

    def __init__(self, stopper: Stopper | None) -> None:
        self._stopper = stopper
        self._seen: dict[str, None] = {}
        self._n_results = 0
        self._has_warned = False

    @property
    def is_waiting(self) -> bool:
        """Whether there is a key that no result has held so far."""
        return not self._has_warned and self._stopper is not None and bool(self._stopper.unseen)

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        if not self.is_waiting:
            return
        self._seen.update(dict.fromkeys(map(str, flatten(result))))
        self._n_results += 1
        if self._n_results == _PATIENCE:
            self.warn(stacklevel=2)

    def warn(self, *, stacklevel: int) -> None:
        """Warns if there is such a key and nothing was said so far."""
        if self._stopper is None or not self.is_waiting or not self._seen:
            return
        self._has_warned = True
        warnings.warn(
            TuneflowWarning(
                f"stop names {', '.join(sorted(self._stopper.unseen))}, which no result held so far; the results hold: "
                f"{', '.join(self._seen)}"
            ),
            stacklevel=stacklevel + 1,
        )
