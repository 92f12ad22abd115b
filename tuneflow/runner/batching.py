"""The Loop that starts new trials in batches."""

from __future__ import annotations

from tuneflow.runner.loop import Loop
from tuneflow.trial import Trial

__all__ = ["BatchingLoop"]


class BatchingLoop(Loop):
    """Starts a batch of ``rules.batch_size`` new trials once no trial runs any more.

    Trials that go on (retried, resumed, promoted) take slots at any time. Those that pause leave their slot and are not
    waited for: a pruner may want the next batch before it lets them go on.
    """

    def _next_trial(self) -> Trial | None:
        is_between = self.n_started % self.rules.batch_size == 0
        if not is_between or not self._runs:
            return super()._next_trial()
        n_trials = self.rules.n_trials
        return self.study.resume(n_trials is None or self.n_started < n_trials, busy=self._runs)
