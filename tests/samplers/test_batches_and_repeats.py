"""ConcurrencyLimiter and Repeater: in tune.run, in a loop of one's own, on a plain Optuna study, and resumed."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

import tuneflow as tune
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners import HyperBand
from tuneflow.samplers.batching import BatchingSampler
from tuneflow.samplers.repeating import REPEAT_OF, RepeatingSampler
from tuneflow.search import BasicVariantGenerator, ConcurrencyLimiter, OptunaSearch, Repeater

SPACE = {"x": tune.uniform(0, 1), "k": tune.choice(["a", "b"])}
DISTRIBUTIONS = {"x": optuna.distributions.FloatDistribution(0, 1)}


class Watching(optuna.samplers.RandomSampler):
    """Draws at random, and keeps what it has seen and heard."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.seen: list[list[tuple[str, Any]]] = []
        self.heard: list[tuple[int, str, Any]] = []

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        self.seen.append([(other.state.name, other.values) for other in study.get_trials(deepcopy=False)])
        return {}

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.heard.append((trial.number, state.name, None if values is None else list(values)))


def train(config: dict[str, Any]) -> None:
    number = tune.get_trial().number
    for step in range(1, 1 + (number * 7) % 5):
        tune.report(loss=config["x"] + number, at=step)
    tune.report(loss=config["x"] + number, seed=tune.get_trial().seed)


def run(search_alg: Any, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {
        "metric": "loss", "mode": "min", "num_samples": 8, "seed": 3, "verbose": 0,
        "storage_path": "results", **arguments,
    }  # fmt: skip
    return tune.run(train, SPACE, search_alg=search_alg, **given)


# Limits


class Busy(tune.Callback):
    """The most trials that were under way at once, and how many were when each began."""

    def __init__(self) -> None:
        self.now: set[int] = set()
        self.at_start: list[int] = []

    def on_trial_start(self, trial: tune.Trial) -> None:
        self.at_start.append(len(self.now))
        self.now.add(trial.number)

    def on_trial_end(self, trial: tune.Trial) -> None:
        self.now.discard(trial.number)


def test_no_more_trials_at_a_time_than_the_limit() -> None:
    busy = Busy()
    analysis = run(ConcurrencyLimiter(OptunaSearch(), max_concurrent=1), callbacks=[busy])
    assert len(analysis.trials) == 8
    assert busy.at_start == [0] * 8
    free = run(OptunaSearch(), max_concurrent_trials=1)
    assert [trial.config for trial in analysis.trials] == [trial.config for trial in free.trials]


def simulated(search_alg: Any, **arguments: Any) -> tuple[tune.ExperimentAnalysis, Busy]:
    """Four slots on a virtual clock, where trials take different times."""
    busy = Busy()
    executor = tune.SimulatedExecutor(4, cost=lambda config, step: 1 + config["x"], max_steps=3)
    analysis = tune.run(
        lambda config, step: {"loss": config["x"]}, SPACE, metric="loss", mode="min", search_alg=search_alg,
        executor=executor, callbacks=[busy], verbose=0, **{"num_samples": 10, "seed": 3, **arguments},
    )  # fmt: skip
    return analysis, busy


def test_batches_start_together_and_know_all_before_and_none_of_their_own() -> None:
    watching = Watching()
    analysis, busy = simulated(ConcurrencyLimiter(watching, max_concurrent=4, batch=True))
    assert len(analysis.trials) == 10
    assert busy.at_start == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    for number, seen in enumerate(watching.seen):
        n_known = number // 4 * 4
        assert [state for state, _ in seen] == ["COMPLETE"] * n_known + ["RUNNING"] * (len(seen) - n_known)
    assert [number for number, _, _ in watching.heard] == list(range(8)), "by number, whichever ended first"


def test_a_batch_does_not_wait_for_what_is_paused() -> None:
    analysis, _ = simulated(
        ConcurrencyLimiter(OptunaSearch(), max_concurrent=2, batch=True), scheduler=HyperBand(3), num_samples=8
    )
    assert len(analysis.trials) == 8
    assert all(trial.status == "TERMINATED" for trial in analysis.trials)


def test_the_limit_stands_in_one_place() -> None:
    limiter = ConcurrencyLimiter(OptunaSearch(metric="loss", mode="min"), max_concurrent=2)
    with pytest.raises(InvalidArgument, match=r"max_concurrent_trials=3 of tune\.run and max_concurrent=2"):
        tune.run(train, SPACE, search_alg=limiter, max_concurrent_trials=3)
    with pytest.raises(InvalidArgument, match="metric is given twice"):
        run(limiter)


def test_a_limited_grid_is_a_grid() -> None:
    limiter = ConcurrencyLimiter(BasicVariantGenerator(), max_concurrent=2, batch=True)

    def report(config: dict[str, Any]) -> None:
        tune.report(loss=config["g"])

    analysis = tune.run(report, {"g": tune.grid_search([1, 2, 3])}, search_alg=limiter, verbose=0)
    assert [trial.config["g"] for trial in analysis.trials] == [1, 2, 3]


# Repeats


def test_repeats_share_their_configuration_and_differ_in_their_seed() -> None:
    analysis = run(Repeater(OptunaSearch(), repeat=3), points_to_evaluate=[{"x": 0.5}])
    configs = [trial.config for trial in analysis.trials]
    assert configs[0]["x"] == 0.5
    assert configs[0] == configs[1] == configs[2] != configs[3] == configs[4] == configs[5] != configs[6] == configs[7]
    assert len({trial.last_result["seed"] for trial in analysis.trials}) == 8


def test_the_sampler_learns_the_mean() -> None:
    watching = Watching()
    study = tune.create_study(SPACE, mode="min", sampler=Repeater(watching, repeat=3))
    trials = [study.ask() for _ in range(7)]
    assert [trial.user_attrs[REPEAT_OF] for trial in trials] == [0, 0, 0, 3, 3, 3, 6]
    study.tell(trials[2], 3.0)
    study.tell(trials[0], 1.0)
    assert watching.heard == []
    study.tell(trials[1], state=TrialState.FAIL)
    assert watching.heard == [(0, "COMPLETE", [2.0])], "the failed one is left out"
    trials[3].report(5.0, 1)
    for trial in trials[3:6]:
        study.tell(trial, state=TrialState.FAIL)
    assert watching.heard[1:] == [(3, "FAIL", None)]
    study.ask()
    study.ask()
    last = study.ask()
    assert last.user_attrs[REPEAT_OF] == last.number == 9
    seen = watching.seen[-1]
    assert seen[:7] == [
        ("COMPLETE", [2.0]), ("FAIL", None), ("FAIL", None), ("FAIL", None), ("FAIL", None), ("FAIL", None),
        ("RUNNING", None),
    ]  # fmt: skip
    assert study.trials[0].values == [1.0], "the study itself keeps what was told"


def test_points_of_the_user_s_begin_configurations_and_join_their_equals() -> None:
    study = tune.create_study(SPACE, mode="min", sampler=Repeater("random", repeat=2), seed=0)
    study.enqueue_trial({"x": 0.25, "k": "a"})
    study.enqueue_trial({"x": 0.75})
    study.enqueue_trial({"x": 0.25, "k": "a"})
    trials = [study.ask() for _ in range(5)]
    assert [trial.config["x"] for trial in trials][:4] == [0.25, 0.75, 0.25, 0.75]
    assert [trial.user_attrs[REPEAT_OF] for trial in trials] == [0, 1, 0, 1, 4]


def test_values_that_parameters_cannot_carry_are_repeated_too() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, mode="min", sampler=Repeater("random", repeat=2))
    study.enqueue_trial({"x": 1.0})  # an excluded bound, given by the user
    assert [study.ask().config["x"] for _ in range(2)] == [1.0, 1.0]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_define_by_run_objectives_are_repeated(n_jobs: int) -> None:
    study = tune.create_study(sampler=Repeater("tpe", repeat=2), seed=0)
    study.optimize(_suggests, n_trials=8, n_jobs=n_jobs)
    params = [trial.params for trial in study.trials]
    assert params[0::2] == params[1::2]
    assert len({tuple(one.values()) for one in params}) == 4


def _suggests(trial: Any) -> float:
    x = trial.suggest_float("x", 0, 1)
    return float(x if trial.suggest_categorical("k", ["a", "b"]) == "a" else x + trial.suggest_int("n", 1, 9))


# Both, anywhere


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from([0.5, 2.0, None])), max_size=25),
)
@settings(max_examples=40)
def test_on_a_plain_optuna_study_in_any_order(batch: int, repeat: int, moves: list[tuple[bool, int, Any]]) -> None:
    watching = Watching()
    sampler = BatchingSampler(RepeatingSampler(watching, repeat), batch)
    study = optuna.create_study(sampler=sampler)
    live: list[optuna.Trial] = []
    for asks, which, value in moves:
        if asks or not live:
            live.append(study.ask(DISTRIBUTIONS))
        elif value is None:
            study.tell(live.pop(which % len(live)), state=TrialState.FAIL)
        else:
            study.tell(live.pop(which % len(live)), value)
    trials = study.trials
    for trial in trials:
        assert trial.params == trials[trial.user_attrs[REPEAT_OF]].params
    numbers = [number for number, _, _ in watching.heard]
    assert len(numbers) == len(set(numbers)), "told once"
    for number, state, values in watching.heard:
        group = [trial for trial in trials if trial.user_attrs[REPEAT_OF] == number]
        told = [trial.value for trial in group if trial.value is not None]
        assert len(group) == repeat
        assert all(trial.state.is_finished() for trial in group)
        assert (state, values) == (("COMPLETE", [sum(told) / len(told)]) if told else ("FAIL", None))
    for seen in watching.seen:
        assert all(state in ("RUNNING", "COMPLETE", "FAIL") for state, _ in seen)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "nsgaii", "qmc", "grid", "bruteforce"])
def test_any_sampler_can_be_inside(sampler: str) -> None:
    space = {"x": tune.quniform(0, 1, 0.25), "k": tune.choice(["a", "b"])}
    wrapped = ConcurrencyLimiter(Repeater(sampler, repeat=2), max_concurrent=4, batch=True)
    study = tune.create_study(space, mode="min", sampler=wrapped, seed=0)
    for _ in range(12):
        trial = study.ask()
        study.tell(trial, trial.config["x"])
    params = [trial.params for trial in study.trials]
    assert params[0::2] == params[1::2]
    pickle.loads(pickle.dumps(study.sampler))


@pytest.mark.parametrize(
    "search_alg",
    [
        Repeater("tpe", repeat=3),
        ConcurrencyLimiter("tpe", 2, batch=True),
        ConcurrencyLimiter(Repeater("cmaes", 2), 4, batch=True),
    ],
    ids=["repeated", "in batches", "both"],
)
def test_the_same_seed_gives_the_same_run_resumed_or_not(search_alg: Any, tmp_path: Path) -> None:
    arguments = {"num_samples": 14, "deterministic": True, "storage_path": tmp_path}
    whole = run(search_alg, name="whole", **arguments)
    again = run(search_alg, name="again", **arguments)
    run(search_alg, name="parts", **{**arguments, "num_samples": 8})
    parts = run(search_alg, name="parts", resume=True, **arguments)
    configs = [trial.config for trial in whole.trials]
    assert [trial.config for trial in again.trials] == configs
    assert [trial.config for trial in parts.trials][:8] == configs[:8]
    assert [trial.config for trial in parts.trials] == configs


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ConcurrencyLimiter("tpe", 0), InvalidArgument, "max_concurrent=0 must be >= 1"),
        (lambda: ConcurrencyLimiter("tpe", "2"), InvalidArgumentType, "max_concurrent='2' must be a number"),
        (lambda: ConcurrencyLimiter(3, 2), InvalidArgumentType, "neither a name nor an optuna sampler"),
        (lambda: Repeater("tpe", 0), InvalidArgument, "repeat=0 must be >= 1"),
        (lambda: Repeater("tpe", 2, set_index=True), InvalidArgument, "tune.get_trial\\(\\).seed"),
        (lambda: Repeater(ConcurrencyLimiter("tpe", 2, batch=True), 2), InvalidArgument, "ConcurrencyLimiter\\(Rep"),
        (lambda: run(ConcurrencyLimiter("no such", 2)), InvalidArgument, "unknown search_alg 'no such'"),
        (lambda: run(Repeater(OptunaSearch(seed=1), 2)), InvalidArgument, "the seed is given twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_limits_are_those_of_what_is_inside() -> None:
    limited = ConcurrencyLimiter(OptunaSearch(metric="loss", mode="min"), 2)
    assert ConcurrencyLimiter(limited, 5).max_concurrent == 2
    assert Repeater(limited, 3).max_concurrent == 6, "two configurations at a time"
    assert (Repeater(limited, 3).metric, Repeater(limited, 3).mode) == ("loss", "min")
    assert Repeater("tpe", 3).max_concurrent == 0
