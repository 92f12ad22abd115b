"""A thousand things go wrong in one run, in virtual time: nothing hangs, and everything that began ends."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

import tuneflow as tune
from tuneflow.creation import build_study
from tuneflow.errors import TuneflowWarning
from tuneflow.pruners import ASHA, PBT, HyperBand
from tuneflow.pruners.base import Exploit, Pause
from tuneflow.runner.loop import Loop
from tuneflow.runner.rules import Rules
from tuneflow.runner.simulated import SimulatedExecutor
from tuneflow.trainable.messages import Failed, Finished, Lost, Reported, Saved

SPACE = {"x": tune.uniform(0, 1), "lr": tune.loguniform(1e-4, 1e-1)}


class Chaos(SimulatedExecutor):
    """Lets a share of all events go wrong: trials are killed, raise, run out of memory, or cannot save."""

    def __init__(self, *args, share, limit, **kwargs):
        super().__init__(*args, **kwargs)
        self.random = np.random.default_rng(kwargs["seed"])
        self.share, self.limit = share, limit
        self.seen = Counter()

    def start(self, assignment):
        self.seen["resume" if assignment.checkpoint is not None or assignment.attempt > 1 else "start"] += 1
        super().start(assignment)

    def poll(self, timeout_s):
        self.seen["poll"] += 1
        assert self.seen["poll"] < self.limit, f"it does not end: {self.seen}"
        return [self._spoil(event) for event in super().poll(timeout_s)]

    def reply(self, trial, message):
        decision = getattr(message, "decision", None)
        self.seen["pause"] += isinstance(decision, Pause)
        self.seen["exploit"] += isinstance(decision, Exploit)
        super().reply(trial, message)

    def _spoil(self, event):
        if self.random.random() >= self.share:
            self.seen["lost"] += isinstance(event, Lost)
            return event
        trial, attempt = event.trial, event.attempt
        if isinstance(event, Saved):
            self.seen["unsaved"] += 1
            return event._replace(content=None, error="no space left")
        if isinstance(event, Finished):
            self.seen["lost"] += 1
            return Lost(trial, attempt, "died while it ended", "", False)
        if not isinstance(event, Reported):
            return event
        self.kill(trial)
        kind = self.random.integers(3)
        self.seen["failed" if kind else "lost"] += 1
        if kind == 0:
            return Lost(trial, attempt, "killed", "", bool(self.random.integers(2)))
        return Failed(trial, attempt, ValueError("no luck"), "ValueError: no luck", "", kind == 2)


def survive(pruner, n_trials, *, seed, share, max_failures, **kwargs):
    executor = Chaos(
        8, lambda config, step, rng: config["x"] + rng.random() / step, seed=seed, share=share, limit=60_000,
        straggle=0.5, drop_rate=0.01, death_rate=0.001, startup=0.5, checkpoint_cost=0.2, **kwargs,
    )  # fmt: skip
    study = build_study(SPACE, sampler="random", pruner=pruner, seed=seed, clock=executor.clock)
    loop = Loop(study, executor, lambda config: None, Rules(n_trials=n_trials, max_failures=max_failures))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TuneflowWarning)
        loop.run()
    assert len(study.trials) == n_trials
    assert all(trial.state.is_finished() for trial in study.trials), "a trial was left behind"
    assert study.n_paused == 0
    assert executor.free() == executor.total()
    assert still_known(pruner.state_dict()) == [], "the pruner still waits for somebody"
    return study, executor.seen, loop


def still_known(state):
    """Trials that a pruner takes to be alive: its own, and those of its populations."""
    return state.get("members", []) + [
        member for _, inner in state.get("populations", []) for member in inner["members"]
    ]


def wrong(seen):
    return seen["lost"] + seen["failed"] + seen["unsaved"]


@pytest.mark.parametrize("max_failures", [0, 1, 50])
def test_hyperband_ends_every_bracket(max_failures):
    study, seen, loop = survive(
        HyperBand(27), 600, seed=max_failures, share=0.03, max_failures=max_failures, max_steps=27
    )
    assert wrong(seen) + seen["pause"] + seen["resume"] > 1000
    states = Counter(trial.state.name for trial in study.trials)
    assert states["PRUNED"] > 100
    assert states["COMPLETE"] > (10 if max_failures else 3)
    assert states["FAIL"] == len(loop.errors)


def test_promotion_ends_every_trial():
    study, seen, _ = survive(ASHA(81, reduction_factor=3, promote=True), 400, seed=5, share=0.05, max_failures=1)
    assert wrong(seen) + seen["pause"] + seen["resume"] > 1000
    assert any(trial.state.name == "COMPLETE" for trial in study.trials)


@pytest.mark.parametrize("max_failures", [2, 1000])
def test_synchronous_pbt_ends_every_population(max_failures):
    pruner = PBT({"lr": tune.loguniform(1e-4, 1e-1)}, population_size=24, perturbation_interval=5, synchronous=True)
    study, seen, _ = survive(
        pruner, 24, seed=max_failures, share=0.05, max_failures=max_failures, max_steps=150 if max_failures > 2 else 600
    )
    states = Counter(trial.state.name for trial in study.trials)
    if max_failures > 2:
        assert wrong(seen) + seen["pause"] + seen["resume"] + seen["exploit"] > 1000
        assert states["COMPLETE"] == 24
        assert all(len(trial.intermediate_values) == 150 for trial in study.trials)
    else:
        assert states["FAIL"] > 12  # the others were never kept waiting


def test_a_population_of_two_workers_ends():
    pruner = PBT({"lr": tune.loguniform(1e-4, 1e-1)}, population_size=10, perturbation_interval=4)
    study, seen, _ = survive(pruner, 10, seed=1, share=0.05, max_failures=1000, max_steps=60)
    assert seen["pause"] > 20
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
