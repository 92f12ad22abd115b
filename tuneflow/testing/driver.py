"""Drives a pruner as a study would, without one: no storage, no clock, no trial code.

The driver also checks the protocol of ``tuneflow.pruners.base`` on the pruner's side and raises
``ProtocolViolation`` where it is broken.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from tuneflow.pruners import Continue, Decision, Exploit, Pause, Pruner, Stop

__all__ = ["Driver", "Event", "ProtocolViolation", "Record", "replay"]

Event = tuple[Any, ...]
"""What happened: ``("start", trial)``, ``("resume", trial, decision)``, ``("report", trial, step, decision)``,
``("drop", trial)`` or ``("end", trial, state)``."""


class ProtocolViolation(AssertionError):
    """A pruner did what its protocol rules out."""


@dataclass(slots=True)
class Record:
    """What a storage would hold of one trial.

    Attributes:
        start_config: the configuration that it started with.
        config: the configuration in force.
        reports: (step, value, whether a checkpoint was there, decision), in order.
        state: how the trial ended, None while it has not.
        is_paused: it has left its slot and waits for ``next_resume``.
        is_dropped: ``take_dropped`` has handed it out.
        is_fresh: it was resumed and has not reported since, which no storage knows.
    """

    start_config: dict[str, Any]
    config: dict[str, Any]
    reports: list[tuple[int, float, bool, Decision]] = field(default_factory=list)
    state: TrialState | None = None
    is_paused: bool = False
    is_dropped: bool = False
    is_fresh: bool = False

    @property
    def step(self) -> int:
        """The last step reported; 0 before the first report."""
        return self.reports[-1][0] if self.reports else 0

    @property
    def is_running(self) -> bool:
        return self.state is None and not self.is_paused


def replay(pruner: Pruner, records: Mapping[int, Record]) -> None:
    """Rebuilds a pruner from stored trials: one after the other, in order of number, with the decisions taken.

    ``next_resume`` and ``on_resume`` are not replayed: a report after a pause implies them, and an ``Exploit`` that
    ``on_resume`` returned stands in the place of the pause.
    """
    for trial, record in sorted(records.items()):
        pruner.on_start(trial, record.start_config)
        for step, value, checkpoint, decision in record.reports:
            if pruner.on_report(trial, step, value, checkpoint, decided=decision) != decision:
                raise ProtocolViolation(f"trial {trial}, step {step}: a decision taken before was not returned")
        if record.state is not None:
            pruner.on_end(trial, record.state)


def _no_config(_trial: int) -> dict[str, Any]:
    return {}


def _one_step(_trial: int, _step: int) -> int:
    return 1


class Driver:
    """Asks, reports and ends trials as a study does, with ``n_slots`` at a time.

    Args:
        pruner: a pruner that is bound.
        value: the value of a trial at a step; lower is better, NaN is passed on as +inf.
        n_trials: how many trials there will be.
        n_slots: how many run at once.
        n_steps: a trial that is let go on ends as complete after so many steps.
        config: the configuration of a new trial.
        stride: by how many steps the next report of a trial at a step is further.
        has_checkpoints: what is told to ``on_report``.
        is_slow: a trial that was stopped reports once more before it ends.

    Attributes:
        records: every trial by number.
        events: everything that happened, in order.

    Example:
        >>> from tuneflow.pruners import ASHA
        >>> driver = Driver(ASHA(4, reduction_factor=2, promote=True), lambda trial, step: trial, n_trials=4, n_slots=2)
        >>> driver.run(random.Random(0))
        >>> sorted(driver.ended(TrialState.COMPLETE))
        [0]
    """

    def __init__(
        self,
        pruner: Pruner,
        value: Callable[[int, int], float],
        *,
        n_trials: int,
        n_slots: int,
        n_steps: int = 1_000,
        config: Callable[[int], dict[str, Any]] = _no_config,
        stride: Callable[[int, int], int] = _one_step,
        has_checkpoints: bool = True,
        is_slow: bool = False,
    ) -> None:
        self.pruner, self.value, self.config, self.stride = pruner, value, config, stride
        self.n_trials, self.n_slots, self.n_steps = n_trials, n_slots, n_steps
        self.has_checkpoints, self.is_slow = has_checkpoints, is_slow
        self.records: dict[int, Record] = {}
        self.events: list[Event] = []
        self._running: list[int] = []

    @property
    def running(self) -> list[int]:
        """The trials that hold a slot, in order of number."""
        return sorted(self._running)

    @property
    def is_done(self) -> bool:
        """Whether all trials there will be have ended."""
        return len(self.records) == self.n_trials and all(record.state is not None for record in self.records.values())

    def ended(self, state: TrialState) -> list[int]:
        """Numbers of the trials that ended in ``state``."""
        return [trial for trial, record in self.records.items() if record.state == state]

    def fork(self, pruner: Pruner) -> Driver:
        """The same situation with another pruner, which must be in the state of this one's; ``events`` is empty."""
        other = Driver(
            pruner,
            self.value,
            n_trials=self.n_trials,
            n_slots=self.n_slots,
            n_steps=self.n_steps,
            config=self.config,
            stride=self.stride,
            has_checkpoints=self.has_checkpoints,
            is_slow=self.is_slow,
        )
        other._running = list(self._running)
        for trial, record in self.records.items():
            other.records[trial] = Record(
                record.start_config,
                dict(record.config),
                list(record.reports),
                record.state,
                record.is_paused,
                record.is_dropped,
                record.is_fresh,
            )
        return other

    def run(self, random_: random.Random, *, failure_rate: float = 0.0) -> None:
        """Runs to the end: free slots are filled, then a random running trial reports, or any live one fails.

        Args:
            random_: chooses; the same choices against the same decisions give the same run.
            failure_rate: probability that a turn is a failure, of a running or a paused trial.

        Raises:
            ProtocolViolation: no trial runs, and none will.
        """
        while not self.is_done:
            self.turn(random_, failure_rate=failure_rate)

    def turn(self, random_: random.Random, *, failure_rate: float = 0.0) -> None:
        """Fills the free slots and lets one trial report or fail; nothing where all trials have ended."""
        self.fill()
        if not self._running:
            if not self.is_done:
                stuck = [trial for trial, record in self.records.items() if record.state is None]
                raise ProtocolViolation(f"nothing runs, and trials {stuck} are neither resumed nor dropped")
            return
        if random_.random() < failure_rate:
            live = [trial for trial, record in self.records.items() if record.state is None]
            self.end(random_.choice(live), TrialState.FAIL)
        else:
            self.report(random_.choice(self.running))

    def fill(self) -> None:
        """Gives the free slots to trials that may go on, else to new ones."""
        self.end_dropped()
        while len(self._running) < self.n_slots:
            more = len(self.records) < self.n_trials
            trial = self.pruner.next_resume(more)
            self.end_dropped()
            if trial is not None:
                self._resume(trial)
            elif more:
                self._start()
            else:
                return

    def _start(self) -> None:
        trial = len(self.records)
        config = self.config(trial)
        self.records[trial] = Record(config, dict(config))
        self._running.append(trial)
        self.events.append(("start", trial))
        self.pruner.on_start(trial, self.records[trial].config)

    def _resume(self, trial: int) -> None:
        record = self.records.get(trial)
        if record is None or record.state is not None or not record.is_paused or record.is_dropped:
            what = "unknown" if record is None else "running" if record.is_running else "dropped or ended"
            raise ProtocolViolation(f"next_resume handed out trial {trial}, which is {what}")
        record.is_paused, record.is_fresh = False, True
        self._running.append(trial)
        decision = self.pruner.on_resume(trial)
        self.events.append(("resume", trial, decision))
        if isinstance(decision, Exploit):
            # A storage keeps what became of the pause in the pause's place; a rebuild folds in nothing else.
            step, value, checkpoint, _ = record.reports[-1]
            record.reports[-1] = step, value, checkpoint, decision
            self._exploit(trial, decision)
        elif not isinstance(decision, Continue):
            raise ProtocolViolation(f"on_resume({trial}) returned {decision}; Continue or Exploit is due")

    def _exploit(self, trial: int, decision: Exploit) -> None:
        donor = self.records.get(decision.donor)
        if donor is None or decision.donor == trial or not donor.reports:
            raise ProtocolViolation(f"trial {trial} was told to copy trial {decision.donor}, which has nothing to copy")
        if decision.checkpoint is not None:
            raise ProtocolViolation("Exploit.checkpoint is for the Study to fill in")
        self.records[trial].config = dict(decision.config)

    def end_dropped(self) -> None:
        """Ends as pruned what the pruner has dropped."""
        for trial in self.pruner.take_dropped():
            record = self.records.get(trial)
            if record is None or record.state is not None or not record.is_paused or record.is_dropped:
                raise ProtocolViolation(f"take_dropped handed out trial {trial}, which is not paused")
            record.is_dropped = True
            self.events.append(("drop", trial))
            self.end(trial, TrialState.PRUNED)

    def report(self, trial: int) -> Decision:
        """The next report of a running trial, and what follows from its decision."""
        record = self.records[trial]
        step = record.step + self.stride(trial, record.step)
        value = self.value(trial, step)
        value = math.inf if math.isnan(value) else value
        decision = self.pruner.on_report(trial, step, value, self.has_checkpoints)
        record.reports.append((step, value, self.has_checkpoints, decision))
        record.is_fresh = False
        self.events.append(("report", trial, step, decision))
        if isinstance(decision, Stop):
            if self.is_slow:
                late = self.pruner.on_report(trial, step + 1, value, self.has_checkpoints)
                if not isinstance(late, Stop):
                    raise ProtocolViolation(f"trial {trial} was stopped; its next report was answered {late}")
            self.end(trial, TrialState.COMPLETE if decision.complete else TrialState.PRUNED)
        elif isinstance(decision, Pause):
            record.is_paused = True
            self._running.remove(trial)
        elif isinstance(decision, Exploit):
            self._exploit(trial, decision)
        if record.is_running and step >= self.n_steps:
            self.end(trial, TrialState.COMPLETE)
        return decision

    def end(self, trial: int, state: TrialState) -> None:
        """Ends a trial, running or paused."""
        record = self.records[trial]
        record.state = state
        record.is_paused = False
        if trial in self._running:
            self._running.remove(trial)
        self.events.append(("end", trial, state.name))
        self.pruner.on_end(trial, state)
