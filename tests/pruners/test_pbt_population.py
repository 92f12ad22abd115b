"""Populations that are larger than the slots: pausing, resuming, deciding together, and being rebuilt."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from tuneflow.pruners.base import CONTINUE, PAUSE, Continue, Decision, Exploit, Pause, Pruner
from tuneflow.pruners.pbt import PBT

INTERVAL = 3


class Loop:
    """Slots that run trials in turn, one report each, and keep what a storage would.

    A trial's value at a step is a fixed random number that its config shifts. ``speeds``: reports per turn by trial.
    """

    def __init__(self, pruner: Pruner, n_trials: int, n_slots: int, max_step: int, seed: int = 0) -> None:
        self.pruner, self.n_trials, self.n_slots, self.max_step, self.seed = pruner, n_trials, n_slots, max_step, seed
        self.n_started = 0
        self.running: list[int] = []
        self.turn = 0
        self.step: dict[int, int] = {}
        self.config: dict[int, dict[str, Any]] = {}
        self.ended: dict[int, TrialState] = {}
        self.paused: set[int] = set()
        self.saved: dict[int, int] = {}  # step of the latest checkpoint
        self.reports: dict[int, list[tuple[int, float, Decision]]] = {}
        self.start_config: dict[int, dict[str, Any]] = {}
        self.log: list[Any] = []
        self.fails: set[tuple[int, int]] = set()
        self.exploits: list[tuple[int, int, int, int]] = []  # trial, step, donor, step of the donor's checkpoint

    def value(self, trial: int, step: int) -> float:
        return random.Random(f"{self.seed}-{trial}-{step}").random() + self.config[trial]["x"]

    def exploit(self, trial: int, decision: Exploit) -> None:
        assert decision.donor in self.saved, "the donor has no checkpoint"
        assert decision.donor not in self.ended
        self.exploits.append((trial, self.step[trial], decision.donor, self.saved[decision.donor]))
        self.config[trial] = dict(decision.config)

    def ask(self) -> bool:
        """Fills a slot. False where nothing can run now."""
        more = self.n_started < self.n_trials
        trial = self.pruner.next_resume(more)
        if trial is not None:
            assert trial in self.paused
            self.paused.remove(trial)
            decision = self.pruner.on_resume(trial)
            self.log.append(("resume", trial, decision))
            if isinstance(decision, Exploit):
                self.exploit(trial, decision)
            value = self.reports[trial][-1][1]
            self.reports[trial].append((self.step[trial], value, decision))
        elif more:
            trial = self.n_started
            self.n_started += 1
            self.step[trial], self.reports[trial] = 0, []
            self.config[trial] = {"x": random.Random(trial).random()}
            self.start_config[trial] = dict(self.config[trial])
            self.pruner.on_start(trial, dict(self.config[trial]))
            self.log.append(("start", trial))
        else:
            return False
        self.running.append(trial)
        return True

    def end(self, trial: int, state: TrialState) -> None:
        self.running.remove(trial)
        self.ended[trial] = state
        self.saved.pop(trial, None)
        self.pruner.on_end(trial, state)
        self.log.append(("end", trial))

    def tick(self) -> bool:
        """One report of the next slot. False where all is done."""
        while len(self.running) < self.n_slots and self.ask():
            pass
        if not self.running:
            return False
        trial = self.running[self.turn % len(self.running)]
        self.turn += 1
        step = self.step[trial] = self.step[trial] + 1
        if (trial, step) in self.fails:
            self.end(trial, TrialState.FAIL)
            return True
        value = self.value(trial, step)
        decision = self.pruner.on_report(trial, step, value, True)
        self.reports[trial].append((step, value, decision))
        self.log.append(("report", trial, step, decision))
        if isinstance(decision, Pause):
            self.saved[trial] = step
            self.running.remove(trial)
            self.paused.add(trial)
        elif isinstance(decision, Continue) and decision.save:
            self.saved[trial] = step
        elif isinstance(decision, Exploit):
            self.exploit(trial, decision)
        if step >= self.max_step and trial in self.running:
            self.end(trial, TrialState.COMPLETE)
        return True

    def run(self) -> Loop:
        while self.tick():
            pass
        assert not self.paused, "members wait for ever"
        assert len(self.ended) == self.n_trials
        return self

    def rebuilt(self, pruner: Pruner) -> None:
        """Folds what is stored into a new pruner, one trial after the other."""
        for trial in range(self.n_started):
            pruner.on_start(trial, dict(self.start_config[trial]))
            for step, value, decision in self.reports[trial]:
                assert pruner.on_report(trial, step, value, True, decision) == decision
            if trial in self.ended:
                pruner.on_end(trial, self.ended[trial])


def make(population_size: int | None = None, synchronous: bool = False, **arguments: Any) -> PBT:
    pbt = PBT(
        {"x": lambda rng: float(rng.random())},
        population_size=population_size,
        perturbation_interval=INTERVAL,
        synchronous=synchronous,
        **arguments,
    )
    pbt.bind(None, np.random.default_rng(11))
    return pbt


def test_a_population_larger_than_the_slots_competes_at_equal_steps() -> None:
    loop = Loop(make(8), n_trials=8, n_slots=2, max_step=30)
    while loop.tick():
        live = [trial for trial in loop.step if trial not in loop.ended]
        if live and loop.n_started < 8:
            assert max(loop.step[trial] for trial in live) <= INTERVAL  # missing members start first
        if live and not loop.ended:
            assert max(loop.step[t] for t in live) - min(loop.step[t] for t in live) <= 2 * INTERVAL
    assert len(loop.ended) == 8
    assert loop.exploits
    assert all(abs(step - donor_step) <= INTERVAL for _, step, _, donor_step in loop.exploits)


def test_missing_members_start_first_then_the_one_with_the_fewest_steps_goes_on() -> None:
    pbt = make(3)
    for trial, step in [(0, 3), (1, 7), (2, 3)]:
        pbt.on_start(trial, {"x": 0.0})
        assert pbt.on_report(trial, step, float(trial), True) == PAUSE
        if trial < 2:
            assert pbt.next_resume() is None
    assert [pbt.next_resume() for _ in range(4)] == [0, 2, 1, None]
    assert pbt.on_resume(0) == CONTINUE
    assert isinstance(pbt.on_resume(2), Exploit)  # it decides when it goes on, with its own score
    assert pbt.on_report(0, 6, 0.0, True) == PAUSE  # 1 is handed out but has not gone on yet
    assert pbt.on_resume(1) == CONTINUE
    assert pbt.on_report(2, 6, 0.0, True) == PAUSE  # 0 is paused
    assert pbt.next_resume() == 0
    assert pbt.on_resume(0) == CONTINUE
    assert pbt.on_resume(2) == CONTINUE  # adopted without having been handed out
    assert pbt.next_resume() is None
    assert pbt.on_report(1, 9, 0.5, True) != PAUSE  # nobody waits any more


def test_missing_members_are_not_waited_for_when_no_more_will_come() -> None:
    pbt = make(4)
    for trial in range(2):
        pbt.on_start(trial, {"x": 0.0})
        pbt.on_report(trial, 3, float(trial), True)
    assert pbt.next_resume(more=True) is None
    assert pbt.next_resume(more=False) == 0


def test_with_a_slot_for_everybody_nobody_pauses() -> None:
    loop = Loop(make(4), n_trials=4, n_slots=4, max_step=12).run()
    assert not [entry for entry in loop.log if entry[0] == "resume"]
    assert loop.exploits


def test_trials_beyond_the_size_begin_a_population_of_their_own() -> None:
    loop = Loop(make(4), n_trials=8, n_slots=2, max_step=12).run()
    assert loop.exploits
    assert all(trial // 4 == donor // 4 for trial, _, donor, _ in loop.exploits)
    starts = [entry[1] for entry in loop.log if entry[0] == "start"]
    fourth = loop.log.index(("start", 4))
    assert starts == list(range(8))
    assert [entry for entry in loop.log[:fourth] if entry[0] == "end"], "a member waited while a new trial started"


def test_synchronous_members_decide_together() -> None:
    loop = Loop(make(6, synchronous=True), n_trials=6, n_slots=2, max_step=12).run()
    rounds: dict[int, list[str]] = {}
    position: dict[int, int] = {}
    for entry in loop.log:
        if entry[0] == "report":
            position[entry[1]] = entry[2]
        elif entry[0] == "resume":
            step = position[entry[1]]
            assert min(position.values()) >= step  # all have arrived
            rounds.setdefault(step, []).append("exploit" if isinstance(entry[2], Exploit) else "go on")
    assert rounds == {step: ["exploit"] * 2 + ["go on"] * 4 for step in (3, 6, 9, 12)}
    # Donors still stood where they were ranked.
    assert all(step == donor_step for _, step, _, donor_step in loop.exploits)


def test_a_synchronous_round_ranks_by_score() -> None:
    pbt = make(4, synchronous=True)
    for trial, value in enumerate([0.3, 0.9, 0.1, 0.5]):
        pbt.on_start(trial, {"x": float(trial)})
        assert pbt.next_resume() is None
        assert pbt.on_report(trial, 3, value, True) == PAUSE
    handed = [pbt.next_resume() for _ in range(5)]
    assert handed == [1, 0, 2, 3, None]
    decision = pbt.on_resume(1)
    assert isinstance(decision, Exploit)
    assert decision.donor == 2
    assert [pbt.on_resume(trial) for trial in (0, 2, 3)] == [CONTINUE] * 3
    assert pbt.on_report(1, 6, 0.0, True) == PAUSE
    assert pbt.next_resume() is None  # the others are still on their way


def test_a_failed_or_ended_member_never_blocks_a_round() -> None:
    pbt = make(4, synchronous=True)
    for trial in range(4):
        pbt.on_start(trial, {"x": 0.0})
    for trial in range(2):
        pbt.on_report(trial, 3, float(trial), True)
    pbt.on_end(2, TrialState.FAIL)
    assert pbt.next_resume() is None
    pbt.on_end(3, TrialState.COMPLETE)
    assert [pbt.next_resume(), pbt.next_resume(), pbt.next_resume()] == [1, 0, None]


def test_a_donor_that_ends_after_the_round_opened_is_not_copied() -> None:
    pbt = make(3, synchronous=True)
    for trial in range(3):
        pbt.on_start(trial, {"x": 0.0})
        pbt.on_report(trial, 3, float(trial), True)
    assert pbt.next_resume() == 2
    pbt.on_end(0, TrialState.FAIL)
    assert pbt.on_resume(2) == CONTINUE
    assert pbt.next_resume() == 1


def test_synchronous_after_a_burn_in_goes_on() -> None:
    loop = Loop(make(4, synchronous=True, burn_in=7), n_trials=4, n_slots=1, max_step=20).run()
    assert min(step for _, step, _, _ in loop.exploits) == 9


def test_a_synchronous_population_in_a_plain_loop_with_more_slots_than_members_goes_on() -> None:
    # New trials fill the slots of those that wait; they must not be waited for in their turn.
    loop = Loop(make(3, synchronous=True), n_trials=30, n_slots=5, max_step=9).run()
    assert all(trial // 3 == donor // 3 for trial, _, donor, _ in loop.exploits)


arguments = st.fixed_dictionaries(
    {
        "population_size": st.integers(1, 6),
        "synchronous": st.booleans(),
        "burn_in": st.sampled_from([0, 4]),
        "quantile_fraction": st.sampled_from([0.25, 0.5]),
    }
)
loops = st.fixed_dictionaries(
    {
        "n_trials": st.integers(1, 9),
        "n_slots": st.integers(1, 4),
        "max_step": st.integers(1, 14),
        "seed": st.integers(0, 9),
    }
)
fails = st.sets(st.tuples(st.integers(0, 8), st.integers(1, 14)), max_size=3)


@settings(max_examples=60, deadline=None)
@given(arguments, loops, fails)
def test_every_population_comes_to_its_end(
    arguments: dict[str, Any], loops: dict[str, Any], fails: set[tuple[int, int]]
) -> None:
    loop = Loop(make(**arguments), **loops)
    loop.fails = fails
    loop.run()
    if arguments["synchronous"]:
        assert all(step == donor_step for _, step, _, donor_step in loop.exploits)


@settings(max_examples=60, deadline=None)
@given(arguments, loops, fails, st.integers(0, 60), st.booleans())
def test_a_handed_over_or_rebuilt_pruner_goes_on_as_the_original(
    arguments: dict[str, Any], loops: dict[str, Any], fails: set[tuple[int, int]], cut: int, rebuild: bool
) -> None:
    loop = Loop(make(**arguments), **loops)
    loop.fails = fails
    for _ in range(cut):
        if not loop.tick():
            break
    other = copy.copy(loop)
    for name, value in vars(loop).items():
        if name != "pruner":
            setattr(other, name, copy.deepcopy(value))
    other.pruner = make(**arguments)
    if rebuild:
        other.rebuilt(other.pruner)
    else:
        other.pruner.load_state_dict(json.loads(json.dumps(loop.pruner.state_dict(), allow_nan=False)))
        assert other.pruner.state_dict() == loop.pruner.state_dict()
    assert other.run().log == loop.run().log


@pytest.mark.parametrize("rebuild", [False, True])
def test_without_a_size_a_rebuilt_pruner_goes_on_as_the_original(rebuild: bool) -> None:
    loop = Loop(make(), n_trials=20, n_slots=7, max_step=15)
    for _ in range(150):
        loop.tick()
    other = Loop(make(), n_trials=20, n_slots=7, max_step=15)
    for name, value in vars(loop).items():
        if name != "pruner":
            setattr(other, name, copy.deepcopy(value))
    if rebuild:
        other.rebuilt(other.pruner)
    else:
        other.pruner.load_state_dict(json.loads(json.dumps(loop.pruner.state_dict(), allow_nan=False)))
    before = len(loop.log)
    assert other.run().log == loop.run().log
    assert any(isinstance(entry[-1], Exploit) for entry in loop.log[before:])
