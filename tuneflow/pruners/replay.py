"""One trial through the configurations that a member of a PBT population went through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners.base import CONTINUE, Decision, Exploit, Pruner
from tuneflow.pruners.configs import copy_config

__all__ = ["PBTReplay", "lineage"]


class PBTReplay(Pruner):
    """Trains one trial through the schedule of a PBT member.

    At the first report at or past the step of an entry the trial goes on with the entry's configuration, from its own
    checkpoint: ``Exploit(donor=its own number, config)``. Where a report passes several entries, the last counts.

    An entry at step 0 is the configuration to start with: ``initial_config``, which whoever starts the trial gives it
    (``study.enqueue_trial(replay.initial_config)``, or as the whole ``config`` of a run). A trial that started with
    another one changes to it at its first report, since a pruner has no word before that.

    A member's own schedule says nothing of what its weights went through before it copied another's: ``lineage`` makes
    the schedule that leads to its weights.

    Args:
        schedule: ``(step, config, donor)`` per entry, steps growing, as in ``trial.schedule``; or what a
            ``pbt_policy.json`` holds: a list of such entries, as lists or as objects with these names, or an object
            with such a list under ``"schedule"``. Donors are for the reader; they play no part.

    Attributes:
        schedule: the entries, as ``(step, config, donor)``.

    Raises:
        InvalidArgument: the schedule is empty, its steps do not grow, or an entry is none.

    Example:
        >>> replay = PBTReplay([(0, {"lr": 0.1}, None), (10, {"lr": 0.08}, 3)])
        >>> replay.on_start(0, replay.initial_config)
        >>> replay.on_report(0, 9, 0.5, checkpoint=True)
        Continue(save=False)
        >>> replay.on_report(0, 10, 0.5, checkpoint=True)
        Exploit(donor=0, config={'lr': 0.08}, checkpoint=None)
    """

    needs_checkpoints: ClassVar[bool] = True

    def __init__(self, schedule: Sequence[Any] | Mapping[str, Any]) -> None:
        if isinstance(schedule, Mapping):
            schedule = schedule.get("schedule", ())
        if isinstance(schedule, str | bytes) or not isinstance(schedule, Sequence):
            raise InvalidArgument(f"schedule={schedule!r} must be a list of (step, config, donor)")
        self.schedule = [_entry(index, given) for index, given in enumerate(schedule)]
        if not self.schedule:
            raise InvalidArgument("schedule is empty; it must hold at least one (step, config, donor)")
        for (step, _, _), (following, _, _) in zip(self.schedule, self.schedule[1:], strict=False):
            if following <= step:
                raise InvalidArgument(f"schedule has step {following} after step {step}; steps must grow")
        self._trial: int | None = None
        self._next = 0

    @property
    def initial_config(self) -> dict[str, Any]:
        """A copy of the configuration at step 0; empty where the schedule starts later."""
        step, config, _ = self.schedule[0]
        return copy_config(config) if step == 0 else {}

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:
        if self._trial is not None and trial != self._trial:
            raise UsageError(
                f"PBTReplay trains one trial, and trial {self._trial} has it already; ask for one trial only "
                f"(num_samples=1), or make another PBTReplay for another study"
            )
        self._trial = trial
        if self.schedule[0][0] == 0 and config == self.schedule[0][1]:
            self._next = 1

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        due = self._next
        while due < len(self.schedule) and self.schedule[due][0] <= step:
            due += 1
        if due == self._next:
            return CONTINUE if decided is None else decided
        self._next = due
        return Exploit(trial, copy_config(self.schedule[due - 1][1])) if decided is None else decided

    def state_dict(self) -> dict[str, Any]:
        return {"trial": self._trial, "next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._trial, self._next = state["trial"], state["next"]


def lineage(schedules: Mapping[int, Sequence[Any]], trial: int) -> list[tuple[int, dict[str, Any], int | None]]:
    """The schedule that the weights of a PBT member went through: its donor's up to the copy, and so on back.

    Ray writes this one into its policy files. Donor and copy are taken to have been at the same step, as they are in a
    synchronous population.

    Args:
        schedules: the schedule of every member by trial number, each from its entry at step 0.
        trial: the member whose weights are to be had again.

    Example:
        >>> schedules = {0: [(0, {"lr": 0.1}, None)], 1: [(0, {"lr": 0.9}, None), (5, {"lr": 0.12}, 0)]}
        >>> lineage(schedules, 1)
        [(0, {'lr': 0.1}, None), (5, {'lr': 0.12}, 0)]
    """
    found: list[tuple[int, dict[str, Any], int | None]] = []
    before: float = math.inf
    member: int | None = trial
    while member is not None:
        entries = [_entry(index, given) for index, given in enumerate(schedules[member])]
        own = [entry for entry in entries if entry[0] < before]
        copies = [index for index, (_, _, donor) in enumerate(own) if donor is not None and donor != member]
        first = copies[-1] if copies else 0
        found[:0] = own[first:]
        before, _, member = own[first] if copies else (before, None, None)
    return found


def _entry(index: int, given: Any) -> tuple[int, dict[str, Any], int | None]:
    if isinstance(given, Mapping):
        given = [given.get("step"), given.get("config"), given.get("donor")]
    if isinstance(given, Sequence) and not isinstance(given, str | bytes) and 2 <= len(given) <= 3:
        step, config, donor = [*given, None][:3]
        is_step = isinstance(step, int) and not isinstance(step, bool) and step >= 0
        if is_step and isinstance(config, Mapping) and (donor is None or isinstance(donor, int)):
            return step, copy_config(config), donor
    raise InvalidArgument(
        f"schedule[{index}]={given!r} must be (step, config, donor): a step >= 0, a configuration as a dict and the "
        f"number of the trial that was copied, or None"
    )
