"""The driver and the contract suite find pruners that break the rules."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from optuna.trial import TrialState

from tuneflow.errors import UsageError
from tuneflow.pruners import ASHA, Decision, Exploit, MedianStopping, NoPruner, Pruner, Stop
from tuneflow.pruners.base import CONTINUE, PAUSE
from tuneflow.testing import Driver, ProtocolViolation, PrunerContract, replay


def drive(pruner: Pruner, n_trials: int = 4, n_slots: int = 2, **options: Any) -> Driver:
    driver = Driver(pruner, lambda trial, step: float(trial), n_trials=n_trials, n_slots=n_slots, n_steps=5, **options)
    driver.run(random.Random(0))
    return driver


class Pausing(Pruner):
    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        return PAUSE


class Resuming(NoPruner):
    def next_resume(self, more: bool = True) -> int | None:
        return None if more else 3


class ResumingTheSameTwice(Pausing):
    def next_resume(self, more: bool = True) -> int | None:
        return None if more else 0


class Dropping(NoPruner):
    def __init__(self) -> None:
        self.started = -1

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:
        self.started = trial

    def take_dropped(self) -> list[int]:
        return [self.started] if self.started == 2 else []


class Relenting(NoPruner):
    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        return Stop() if step == 2 else CONTINUE


class CopyingItself(NoPruner):
    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        return Exploit(trial, {})


@pytest.mark.parametrize(
    ("pruner", "message", "options"),
    [
        (Pausing(), "nothing runs", {}),
        (Resuming(), "trial 3, which is running", {}),
        (ResumingTheSameTwice(), "trial 0, which is running", {"n_slots": 4}),
        (Dropping(), "trial 2, which is not paused", {}),
        (Relenting(), "was stopped; its next report was answered Continue", {"is_slow": True}),
        (CopyingItself(), "nothing to copy", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Pruner) else "",
)
def test_violations_are_found(pruner: Pruner, message: str, options: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation, match=message):
        drive(pruner, **options)


def test_a_run_without_a_pruner_is_complete() -> None:
    driver = drive(NoPruner())
    assert driver.is_done
    assert driver.ended(TrialState.COMPLETE) == [0, 1, 2, 3]
    assert all([step for step, *_ in record.reports] == [1, 2, 3, 4, 5] for record in driver.records.values())
    assert driver.running == []


def test_no_more_than_the_slots_run() -> None:
    driver = Driver(ASHA(9, promote=True), lambda trial, step: float(trial), n_trials=9, n_slots=3)
    random_ = random.Random(0)
    while not driver.is_done:
        driver.turn(random_, failure_rate=0.2)
        assert len(driver.running) <= 3
    driver.turn(random_)  # does nothing any more
    assert driver.is_done


def test_a_pruner_that_overrules_a_decision_cannot_be_replayed() -> None:
    driver = drive(MedianStopping(min_samples_required=1))
    assert Stop() in [decision for record in driver.records.values() for *_, decision in record.reports]
    with pytest.raises(ProtocolViolation, match="a decision taken before was not returned"):
        replay(Pausing(), driver.records)


class Counting(NoPruner):
    """Pauses nobody, but its decisions hang on what it was asked between."""

    def __init__(self) -> None:
        self.asked = 0

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        self.asked += 1
        return decided or (Stop() if self.asked % 7 == 0 else CONTINUE)


class Forgetful(ASHA):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "members": []}


class Averse(NoPruner):
    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        return decided or (Stop() if value > 1.5 else CONTINUE)


class ContractOfCounting(PrunerContract):
    def make(self) -> Pruner:
        return Counting()


class ContractOfForgetful(PrunerContract):
    def make(self) -> Pruner:
        return Forgetful(9)


class ContractOfAverse(PrunerContract):
    def make(self) -> Pruner:
        return Averse()


class ContractOfPausing(PrunerContract):
    def make(self) -> Pruner:
        return Pausing()


@pytest.mark.parametrize(
    ("contract", "broken"),
    [
        (ContractOfCounting(), "test_the_state_survives_json_and_goes_on_exactly"),
        (ContractOfForgetful(), "test_the_state_survives_json_and_goes_on_exactly"),
        (ContractOfAverse(), "test_only_ranks_count"),
        (ContractOfPausing(), "test_a_run_always_ends"),
        (ContractOfPausing(), "test_a_pruner_rebuilt_from_the_stored_reports_decides_as_the_original"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_suite_fails_pruners_that_break_the_contract(contract: PrunerContract, broken: str) -> None:
    with pytest.raises((AssertionError, UsageError)):
        getattr(contract, broken)()
