"""The contract that every pruner keeps, as a test class to subclass."""

from __future__ import annotations

import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from tuneflow.pruners import Pruner
from tuneflow.testing.driver import Driver, replay

__all__ = ["PrunerContract", "Situation"]

# The tests are inherited, so that one test runs as a method of many classes.
_settings = settings(
    max_examples=60,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)

_VALUES: dict[str, Callable[[random.Random], float]] = {
    "many ties": lambda random_: float(random_.randint(0, 2)),
    "few ties": lambda random_: float(random_.randint(-1_000, 1_000)),
    "infinite ones": lambda random_: random_.choice([-math.inf, math.inf, 0.0, 1.0, 2.0]),
    "NaN": lambda random_: random_.choice([math.nan, 0.0, 1.0]),
    "only NaN": lambda _random: math.nan,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a pruner is driven through: all of it follows from these numbers."""

    seed: int
    n_trials: int
    n_slots: int
    stride: int
    failure_rate: float
    values: str
    n_turns: int
    """Turns until something happens in the middle of the run."""

    def value(self, trial: int, step: int) -> float:
        return _VALUES[self.values](random.Random(f"{self.seed} {trial} {step}"))

    def steps_to_next(self, trial: int, step: int) -> int:
        return random.Random(f"{self.seed} {trial} {step} stride").randint(1, self.stride)


_situations = st.builds(
    Situation,
    seed=st.integers(0, 2**32),
    n_trials=st.integers(1, 24),
    n_slots=st.sampled_from([1, 2, 3, 8, 100]),
    stride=st.sampled_from([1, 1, 2, 5]),
    failure_rate=st.sampled_from([0.0, 0.0, 0.05, 0.4]),
    values=st.sampled_from(sorted(_VALUES)),
    n_turns=st.integers(0, 120),
)


class PrunerContract(ABC):
    """Tests that a pruner keeps the rules of ``tuneflow.pruners.base``; subclass it and say how to make one.

    Attributes:
        is_rank_based: decisions depend on the order of the values only. True for halving and PBT, False where
            values are averaged.
        n_steps: a trial that is let go on ends by itself after so many steps. Keep ``make`` in proportion.

    Example:
        >>> from tuneflow.pruners import ASHA
        >>> class TestMyPruner(PrunerContract):
        ...     def make(self) -> Pruner:
        ...         return ASHA(max_resource=9, reduction_factor=3)
    """

    is_rank_based: ClassVar[bool] = True
    n_steps: ClassVar[int] = 12

    @abstractmethod
    def make(self) -> Pruner:
        """A new pruner, not yet bound, always with the same settings."""

    def bind(self, pruner: Pruner, seed: int) -> None:
        """Binds a pruner; override it where the pruner needs a space."""
        import numpy as np

        pruner.bind(None, np.random.default_rng(seed))

    def config(self, trial: int) -> dict[str, Any]:
        """The configuration that a trial starts with."""
        return {"x": 0.1 + 0.8 / (1 + trial)}

    def made(self, seed: int = 0) -> Pruner:
        """A new pruner, bound."""
        pruner = self.make()
        self.bind(pruner, seed)
        return pruner

    def driver(
        self, situation: Situation, pruner: Pruner | None = None, value: Callable[[int, int], float] | None = None
    ) -> Driver:
        """A driver for the situation, at its start."""
        return Driver(
            self.made() if pruner is None else pruner,
            situation.value if value is None else value,
            n_trials=situation.n_trials,
            n_slots=situation.n_slots,
            n_steps=self.n_steps,
            config=self.config,
            stride=situation.steps_to_next,
            is_slow=situation.seed % 2 == 1,
        )

    def halfway(self, situation: Situation) -> tuple[Driver, random.Random]:
        """A driver ``situation.n_turns`` turns into the run, or at its end, and the state of its choices."""
        driver, random_ = self.driver(situation), random.Random(situation.seed)
        for _ in range(situation.n_turns):
            driver.turn(random_, failure_rate=situation.failure_rate)
        return driver, random_

    def check_same_future(self, situation: Situation, one: Driver, other: Driver, random_: random.Random) -> None:
        """Asserts that both decide alike to the end, and when more trials come after that."""
        n_before, again = len(one.events), random.Random()
        again.setstate(random_.getstate())
        for driver, chooses in ((one, random_), (other, again)):
            driver.run(chooses, failure_rate=situation.failure_rate)
            driver.n_trials += 5
            driver.run(chooses, failure_rate=situation.failure_rate)
        assert one.events[n_before:] == other.events

    def test_nothing_is_handed_out_before_a_trial_paused(self) -> None:
        pruner = self.made()
        assert pruner.next_resume() is None
        assert pruner.next_resume(more=False) is None
        assert pruner.take_dropped() == []
        pruner.on_start(0, self.config(0))
        assert pruner.next_resume(more=False) is None
        pruner.on_end(0, TrialState.FAIL)
        assert pruner.next_resume(more=False) is None
        assert pruner.take_dropped() == []

    @_settings
    @given(situation=_situations)
    def test_a_run_always_ends(self, situation: Situation) -> None:
        """At any parallelism, with failures and NaN; and a study that goes on after that ends again.

        The driver raises where a trial is resumed that is not paused, or twice, or dropped though it runs.
        """
        driver, random_ = self.driver(situation), random.Random(situation.seed)
        driver.run(random_, failure_rate=situation.failure_rate)
        assert len(driver.records) == situation.n_trials
        driver.n_trials += situation.n_trials
        driver.run(random_, failure_rate=situation.failure_rate)
        assert all(record.state is not None for record in driver.records.values())
        assert driver.pruner.next_resume(more=False) is None
        assert driver.pruner.take_dropped() == []

    @_settings
    @given(situation=_situations)
    def test_a_run_of_failures_ends(self, situation: Situation) -> None:
        driver = self.driver(situation)
        driver.run(random.Random(situation.seed), failure_rate=0.8)
        assert driver.is_done

    @_settings
    @given(situation=_situations)
    def test_decisions_are_repeatable(self, situation: Situation) -> None:
        runs, before = [], random.getstate()
        for _ in range(2):
            driver = self.driver(situation)
            driver.run(random.Random(situation.seed), failure_rate=situation.failure_rate)
            runs.append(driver.events)
        assert runs[0] == runs[1]
        assert random.getstate() == before, "the pruner drew from the global random state"

    @_settings
    @given(situation=_situations)
    def test_the_state_survives_json_and_goes_on_exactly(self, situation: Situation) -> None:
        driver, random_ = self.halfway(situation)
        state = driver.pruner.state_dict()
        stored = json.dumps(state, allow_nan=False)
        assert json.dumps(driver.pruner.state_dict(), allow_nan=False) == stored, "taking the state changed it"
        restored = self.made(seed=1)
        restored.load_state_dict(json.loads(stored))
        assert json.dumps(restored.state_dict(), allow_nan=False) == stored
        self.check_same_future(situation, driver, driver.fork(restored), random_)

    @_settings
    @given(situation=_situations)
    def test_a_pruner_rebuilt_from_the_stored_reports_decides_as_the_original(self, situation: Situation) -> None:
        driver, random_ = self.halfway(situation)
        driver.fill()
        while fresh := [trial for trial in driver.running if driver.records[trial].is_fresh]:
            # No storage knows that these were resumed; the driver that rebuilds would hand them out again.
            driver.report(fresh[0])
            driver.end_dropped()
        rebuilt = self.made()
        replay(rebuilt, driver.records)
        self.check_same_future(situation, driver, driver.fork(rebuilt), random_)

    @_settings
    @given(
        situation=_situations,
        rescale=st.sampled_from([lambda v: 3 * v + 1, lambda v: v**3, lambda v: v / 2048, lambda v: math.atan(v)]),
    )
    def test_only_ranks_count(self, situation: Situation, rescale: Callable[[float], float]) -> None:
        if not self.is_rank_based:
            pytest.skip("is_rank_based is False")

        def rescaled(trial: int, step: int) -> float:
            return rescale(situation.value(trial, step))

        plain, other = self.driver(situation), self.driver(situation, value=rescaled)
        for driver in (plain, other):
            driver.run(random.Random(situation.seed), failure_rate=situation.failure_rate)
        assert plain.events == other.events
