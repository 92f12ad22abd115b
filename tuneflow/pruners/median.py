"""Median stopping: a trial ends when it is worse than the median of the others."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from heapq import heappush, heappushpop
from typing import Any

from tuneflow.arguments import check_number, check_whole
from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners.base import CONTINUE, Decision, Pruner, Stop
from tuneflow.pruners.rungs import COMPLETE, STOP, to_json

__all__ = ["MedianStopping"]


class _Trial:
    """What one trial has reported: ``totals[i]`` is the sum of its values up to ``steps[i]``."""

    __slots__ = ("best", "last", "mean", "steps", "stop", "totals")

    def __init__(self) -> None:
        self.steps, self.totals = array("q"), array("d")
        self.last = -1
        self.mean = self.best = math.inf
        self.stop: Stop | None = None

    def add(self, step: int, value: float) -> None:
        total = self.totals[-1] + value if self.totals else value
        if total != total:
            total = math.inf  # +inf met -inf: one worst value makes the mean worst
        self.steps.append(step)
        self.totals.append(total)
        self.last, self.mean = step, total / len(self.steps)
        if value < self.best:
            self.best = value

    def mean_up_to(self, step: int) -> float | None:
        """The running mean over the reports up to ``step``; None before the first."""
        n = bisect_right(self.steps, step)
        return self.totals[n - 1] / n if n else None


class _Middle:
    """Numbers split at their median: ``low`` holds the lower half, negated, and the odd one."""

    __slots__ = ("high", "low")

    def __init__(self, ranked: list[float]) -> None:
        half = (len(ranked) + 1) // 2
        # A reversed sorted list negated is sorted, and a sorted list is a heap.
        self.low, self.high = [-value for value in reversed(ranked[:half])], ranked[half:]

    def __len__(self) -> int:
        return len(self.low) + len(self.high)

    def add(self, value: float) -> None:
        low, high = self.low, self.high
        if len(low) == len(high):
            heappush(low, -heappushpop(high, value))
        else:
            heappush(high, -heappushpop(low, -value))

    def median(self) -> float:
        if len(self.low) > len(self.high):
            return -self.low[0]
        # Halved before they are added, so that the sum cannot overflow.
        middle = 0.5 * -self.low[0] + 0.5 * self.high[0]
        return middle if middle == middle else math.inf  # between -inf and +inf nobody is strictly worse


class _Step:
    """One step at which some trial has reported.

    ``means`` holds the running mean up to here of every trial that has reported at or after this step, or is
    None where so few of them reported at this very step that keeping them would not pay.
    """

    __slots__ = ("means", "n_reports")

    def __init__(self) -> None:
        self.n_reports = 0
        self.means: _Middle | None = None


class MedianStopping(Pruner):
    """The median stopping rule (Golovin et al. 2017, Google Vizier, section 3.2.2).

    At a report at step t >= ``grace_period`` a trial stops iff its best value so far is strictly worse than the
    median of the running means up to t of the other trials that have reported at or after t. With fewer than
    ``min_samples_required`` of these it goes on. A trial whose first report came after t has no running mean up
    to t and is no such trial; one that jumped over t counts with the mean that it had there. Ended trials count.

    Infinite values are taken as they are: a mean over +inf is +inf, and a mean or median between -inf and +inf
    counts as +inf, so that nobody stops on account of it. NaN arrives as +inf.

    A decision costs O(log n) where trials report at common steps. At a step that few trials share, the means of
    the trials that passed it are looked up one by one, which is O(n); memory stays proportional to the number of
    reports either way.

    Args:
        grace_period: no trial stops before this step; may be 0 or fractional.
        min_samples_required: how many other trials it takes to stop one, >= 1.

    Raises:
        InvalidArgument: a value breaks its rule.
        InvalidArgumentType: a value is no number.

    Example:
        >>> pruner = MedianStopping(min_samples_required=1)
        >>> pruner.on_start(0, {}), pruner.on_start(1, {})
        (None, None)
        >>> pruner.on_report(0, 1, 0.5, False), pruner.on_report(1, 1, 0.6, False)
        (Continue(save=False), Stop(complete=False))
    """

    def __init__(self, grace_period: float = 1, min_samples_required: int = 3) -> None:
        self.grace_period = check_number("grace_period", grace_period, 0)
        self.min_samples_required = check_whole("min_samples_required", min_samples_required, 1)
        self._trials: dict[int, _Trial] = {}
        self._steps: dict[int, _Step] = {}
        self._kept: list[int] = []  # the steps that hold means, in order
        self._last = -1  # the greatest step that any trial has reported

    def __repr__(self) -> str:
        return f"MedianStopping(grace_period={self.grace_period}, min_samples_required={self.min_samples_required})"

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:
        self._trials[trial] = _Trial()

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        try:
            own = self._trials[trial]
        except KeyError:
            raise UsageError(f"trial {trial} is not running; call on_start({trial}, config) before on_report") from None
        if own.stop is not None:
            return own.stop if decided is None else decided
        kept = self._kept
        if own.steps and kept:
            index = bisect_right(kept, own.last)
            if index < len(kept) and kept[index] < step:
                self._pass_over(own.mean, index, step)
        decision: Decision = CONTINUE
        if step < self.grace_period:
            own.add(step, value)
        else:
            here = self._steps.get(step)
            if here is None:
                here = self._steps[step] = _Step()
            here.n_reports += 1
            means = here.means
            if means is None:
                means = self._gather(step, here)
            if len(means) >= self.min_samples_required and min(value, own.best) > means.median():
                decision = STOP
            own.add(step, value)
            means.add(own.mean)
        if step > self._last:
            self._last = step
        if decided is not None:
            decision = decided
        if isinstance(decision, Stop):
            own.stop = decision
        return decision

    def _gather(self, step: int, here: _Step) -> _Middle:
        """The means at a step that holds none; kept from now on where enough trials report at this step."""
        ranked: list[float] = []
        if step <= self._last:
            ranked = sorted(
                mean
                for other in self._trials.values()
                if other.last >= step and (mean := other.mean_up_to(step)) is not None
            )
        means = _Middle(ranked)
        if self._pays(here, len(ranked)):
            here.means = means
            insort(self._kept, step)
        return means

    def _pass_over(self, mean: float, index: int, step: int) -> None:
        """Adds the mean of a trial to the steps that it jumped over on its way to ``step``."""
        stop = bisect_left(self._kept, step)
        fading: list[int] = []
        for passed in self._kept[index:stop]:
            here = self._steps[passed]
            if here.means is not None:
                here.means.add(mean)
                if not self._pays(here, len(here.means)):
                    here.means = None
                    fading.append(passed)
        if fading:
            gone = set(fading)
            self._kept[index:stop] = [passed for passed in self._kept[index:stop] if passed not in gone]

    @staticmethod
    def _pays(here: _Step, n_means: int) -> bool:
        # Bounds the memory: what all steps hold together is at most 40 times the number of reports.
        return n_means <= 8 * here.n_reports + 32

    def state_dict(self) -> dict[str, Any]:
        """The whole state as JSON values; O(n) in the number of reports known."""
        return {
            "pruner": repr(self),
            "trials": [
                [
                    trial,
                    None if own.stop is None else own.stop.complete,
                    to_json(own.best),
                    own.steps.tolist(),
                    [to_json(total) for total in own.totals],
                ]
                for trial, own in self._trials.items()
            ],
            "kept": self._kept,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` returned.

        Raises:
            InvalidArgument: the state is that of a pruner with other settings.
        """
        if state["pruner"] != repr(self):
            raise InvalidArgument(f"the state of {state['pruner']} cannot be loaded into {self!r}; build that one")
        kept = list(state["kept"])
        means: list[list[float]] = [[] for _ in kept]
        self._trials, self._steps, self._kept, self._last = {}, {}, kept, -1
        for trial, complete, best, steps, totals in state["trials"]:
            own = self._trials[trial] = _Trial()
            own.steps.extend(steps)
            own.totals.extend(map(float, totals))
            own.best = float(best)
            if complete is not None:
                own.stop = COMPLETE if complete else STOP
            if not steps:
                continue
            own.last, own.mean = steps[-1], own.totals[-1] / len(steps)
            self._last = max(self._last, own.last)
            for step in steps[bisect_left(steps, self.grace_period) :]:
                self._steps.setdefault(step, _Step()).n_reports += 1
            for index in range(bisect_left(kept, steps[0]), bisect_right(kept, own.last)):
                mean = own.mean_up_to(kept[index])
                if mean is not None:
                    means[index].append(mean)
        for step, found in zip(kept, means, strict=True):
            self._steps[step].means = _Middle(sorted(found))
