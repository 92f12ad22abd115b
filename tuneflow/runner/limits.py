"""When a run is over, and how long it may wait for events."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from tuneflow.clock import Clock
from tuneflow.errors import TuneflowWarning
from tuneflow.runner.attempt import Attempt
from tuneflow.runner.endings import Endings
from tuneflow.runner.executor import Executor
from tuneflow.runner.rules import Rules
from tuneflow.study import Study

__all__ = ["Limits"]

_IDLE_S = 0.5


class Limits:
    """Watches over the limits of one run.

    Args:
        rules: say what they are.
        study: may be told to stop.
        endings: know whether the run is ending already.
        executor: runs the trials.
        clock: where times come from.
    """

    def __init__(self, rules: Rules, study: Study, endings: Endings, executor: Executor, clock: Clock) -> None:
        self._rules, self._study, self._endings, self._clock = rules, study, endings, clock
        self._is_inline = executor.is_inline
        self._idle_s = None if executor.is_virtual else _IDLE_S
        self._deadline_s: float | None = None
        self._is_ended_by_rule = False

    def begin(self) -> None:
        """The run begins; says which limits on a trial are none where it runs."""
        if self._rules.timeout_s is not None:
            self._deadline_s = self._clock.monotonic() + self._rules.timeout_s
        limits = {"trial_timeout_s": self._rules.trial_timeout_s, "memory_bytes": self._rules.request.memory_bytes}
        asked = [f"{name}={value}" for name, value in limits.items() if value]
        if asked and self._is_inline:
            warnings.warn(
                f"{' and '.join(asked)} cannot be kept to inline, where a trial runs on the caller's own thread; run "
                f"it in worker processes, executor='processes'",
                TuneflowWarning,
                stacklevel=3,
            )

    # The run

    @property
    def is_over(self) -> bool:
        """Whether nothing starts any more."""
        if self._endings.is_final or self._study.is_stopped or self.is_out_of_time:
            return True
        if self._rules.stopper is not None and self._rules.stopper.stop_all():
            self.end_by_rule()
        return self._is_ended_by_rule

    @property
    def is_out_of_time(self) -> bool:
        """Whether ``timeout_s`` is over."""
        return self._deadline_s is not None and self._clock.monotonic() >= self._deadline_s

    @property
    def is_ended_by_rule(self) -> bool:
        """Whether a stopper has ended the run."""
        return self._is_ended_by_rule

    def end_by_rule(self) -> None:
        """A stopper ends the run, or has ended an earlier one that this goes on with: nothing new starts."""
        self._is_ended_by_rule = self._endings.is_final = True

    @property
    def has_to_close(self) -> bool:
        """Whether a trial still has to come to its next result and end with it.

        It was at work when a stopper ended the run, and then its driver went.
        """
        is_cut = self._endings.fatal is not None or self._study.is_stopped or self.is_out_of_time
        return self._is_ended_by_rule and not is_cut and self._study.has_interrupted

    # Its trials

    def deadline_s(self, runs: Iterable[Attempt]) -> float | None:
        """The first moment at which an attempt has run too long: all have the same limit, so the oldest's."""
        if self._rules.trial_timeout_s is None:
            return None
        oldest = next(iter(runs), None)
        return None if oldest is None else oldest.deadline_s

    def wait_s(self, runs: Iterable[Attempt]) -> float | None:
        """How long to wait for events; None for any time."""
        moments = [moment for moment in (self.deadline_s(runs), self._deadline_s) if moment is not None]
        if not moments:
            return self._idle_s
        left_s = max(0.0, min(moments) - self._clock.monotonic())
        return left_s if self._idle_s is None else min(left_s, self._idle_s)
