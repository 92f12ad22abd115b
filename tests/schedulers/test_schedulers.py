"""Tune's schedulers: its names, arguments and defaults, what they make, and whole runs with them."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuneflow as tune
from tuneflow import pruners, schedulers
from tuneflow.errors import (
    InvalidArgument,
    InvalidArgumentType,
    MetricMissing,
    MissingLibrary,
    TrialsFailed,
    UnknownName,
)
from tuneflow.schedulers import (
    PB2,
    ASHAScheduler,
    AsyncHyperBandScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    TrialScheduler,
    create_scheduler,
)

LR = {"lr": [0.1, 0.01, 0.001]}

# Ray Tune 2.60's arguments, in order, with their defaults; those that are steps here and seconds there stand apart.
FIRST = {"time_attr": "training_iteration", "metric": None, "mode": None}
RAYS: dict[type, dict[str, Any]] = {
    AsyncHyperBandScheduler: {
        **FIRST, "max_t": 100, "grace_period": 1, "reduction_factor": 4, "brackets": 1, "stop_last_trials": True,
    },
    HyperBandScheduler: {**FIRST, "max_t": 81, "reduction_factor": 3, "stop_last_trials": True},
    MedianStoppingRule: {
        **FIRST, "grace_period": 1, "min_samples_required": 3, "min_time_slice": 0, "hard_stop": True,
    },
    PopulationBasedTraining: {
        **FIRST, "perturbation_interval": 5, "burn_in_period": 0, "hyperparam_mutations": None,
        "quantile_fraction": 0.25, "resample_probability": 0.25, "perturbation_factors": (1.2, 0.8),
        "custom_explore_fn": None, "log_config": True, "require_attrs": True, "synch": False,
    },
    PB2: {
        **FIRST, "perturbation_interval": 5, "hyperparam_bounds": None, "quantile_fraction": 0.25, "log_config": True,
        "require_attrs": True, "synch": False, "custom_explore_fn": None,
    },
}  # fmt: skip
NEEDED: dict[type, dict[str, Any]] = {
    PopulationBasedTraining: {"hyperparam_mutations": LR},
    PB2: {"hyperparam_bounds": {"lr": [0.0, 1.0]}},
}


def made(cls: type, **arguments: Any) -> Any:
    if cls is PB2:
        pytest.importorskip("sklearn")
    return cls(**NEEDED.get(cls, {}), **arguments)


def train(config: dict[str, Any]) -> None:
    """Six steps that can be gone on from; the loss is the learning rate."""
    trial = tune.get_trial()
    for step in range(trial.start_step + 1, 7):
        folder = Path(f"state-{trial.number}")
        folder.mkdir(exist_ok=True)
        tune.report({"loss": config["lr"], "tokens": 100 * step}, checkpoint=tune.Checkpoint.from_directory(folder))


def run(scheduler: Any, trainable: Any = train, config: Any = None, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {
        "executor": "inline", "storage_path": "results", "name": "e", "verbose": 0, "seed": 0, "metric": "loss",
        "mode": "min", "num_samples": 4, **arguments,
    }  # fmt: skip
    space = {"lr": tune.choice([0.1, 0.01, 0.001])} if config is None else config
    return tune.run(trainable, space, scheduler=scheduler, **given)


def test_asha_has_two_names() -> None:
    assert ASHAScheduler is AsyncHyperBandScheduler
    assert schedulers.__all__ == [*dict.fromkeys(schedulers.__all__)]
    assert all(hasattr(schedulers, name) for name in schedulers.__all__)


@pytest.mark.parametrize("cls", RAYS, ids=lambda cls: cls.__name__)
def test_the_arguments_are_tunes_in_tunes_order(cls: type) -> None:
    parameters = inspect.signature(cls).parameters.values()
    positional = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(positional.items()) == list(RAYS[cls].items())
    scheduler = made(cls)
    assert isinstance(scheduler, TrialScheduler)
    assert (scheduler.time_attr, scheduler.metric, scheduler.mode) == ("training_iteration", None, None)


@pytest.mark.parametrize(
    ("scheduler", "pruner"),
    [
        (ASHAScheduler(), pruners.ASHA(100)),
        (ASHAScheduler("steps", "loss", "min", 27, 3, 3, 2), pruners.ASHA(27, 3, 3, 2)),
        (ASHAScheduler(max_t=9, reduction_factor=3.0, promote=True), pruners.ASHA(9, 1, 3, promote=True)),
        (HyperBandScheduler(), pruners.HyperBand(81)),
        (HyperBandScheduler(max_t=16, reduction_factor=2), pruners.HyperBand(16, 2)),
        (MedianStoppingRule(), pruners.MedianStopping(1, 3)),
        (MedianStoppingRule(grace_period=4, min_samples_required=2), pruners.MedianStopping(4, 2)),
    ],
    ids=repr,
)
def test_a_scheduler_makes_a_new_pruner_each_time(scheduler: TrialScheduler, pruner: pruners.Pruner) -> None:
    one, other = scheduler.to_pruner(), scheduler.to_pruner(num_samples=7)
    assert repr(one) == repr(other) == repr(pruner)
    assert one is not other


def test_fifo_stops_nobody() -> None:
    assert FIFOScheduler().to_pruner(num_samples=3) is None
    analysis = run(FIFOScheduler(), metric=None, mode=None, num_samples=2)
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [6, 6]


@pytest.mark.parametrize("cls", RAYS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"time_attr": "time_total_s"}, InvalidArgument, "counts seconds.*use 'training_iteration'.*time_budget_s"),
        ({"time_attr": "timestamp"}, InvalidArgument, "counts seconds"),
        ({"time_attr": None}, InvalidArgumentType, "time_attr=None must be the name of a result"),
        ({"metric": ["a", "b"]}, InvalidArgumentType, r"metric=\['a', 'b'\] must be the name of a result"),
        ({"mode": "lowest"}, InvalidArgument, "mode='lowest' must be 'min' or 'max'"),
    ],
)
def test_what_all_refuse(cls: type, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made(cls, **arguments)


@pytest.mark.parametrize(
    ("cls", "arguments", "error", "message"),
    [
        (ASHAScheduler, {"max_t": 0}, InvalidArgument, "^max_t=0 must be > 0$"),
        (ASHAScheduler, {"max_t": 4, "grace_period": 5}, InvalidArgument, "^grace_period=5 must be <= max_t=4$"),
        (ASHAScheduler, {"reduction_factor": 1}, InvalidArgument, "^reduction_factor=1 must be >= 2$"),
        (ASHAScheduler, {"grace_period": "1"}, InvalidArgumentType, "^grace_period='1' must be a number"),
        (ASHAScheduler, {"brackets": 9}, InvalidArgument, "brackets=9 must be <= 4: grace_period=1 can be multiplied"),
        (
            ASHAScheduler,
            {"stop_last_trials": False},
            InvalidArgument,
            "stop_last_trials=False must be True.*raise max_t",
        ),
        (HyperBandScheduler, {"max_t": 2.5}, InvalidArgument, "^max_t=2.5 must be a whole number"),
        (HyperBandScheduler, {"stop_last_trials": False}, InvalidArgument, "stop_last_trials=False must be True"),
        (MedianStoppingRule, {"grace_period": -1}, InvalidArgument, "^grace_period=-1 must be >= 0"),
        (MedianStoppingRule, {"min_time_slice": 3}, InvalidArgument, "min_time_slice=3 must be 0.*leave it out"),
        (MedianStoppingRule, {"hard_stop": False}, InvalidArgument, r"hard_stop=False must be True.*promote=True"),
        (PopulationBasedTraining, {"log_config": False}, InvalidArgument, "log_config=False must be True"),
        (PopulationBasedTraining, {"require_attrs": False}, InvalidArgument, "require_attrs=False must be True"),
        (PopulationBasedTraining, {"burn_in_period": -1}, InvalidArgument, "^burn_in_period=-1 must be >= 0"),
        (PopulationBasedTraining, {"quantile_fraction": 0.6}, InvalidArgument, "^quantile_fraction=0.6 must lie in"),
        (PopulationBasedTraining, {"perturbation_interval": 0.5}, InvalidArgument, "not of seconds"),
        (PopulationBasedTraining, {"custom_explore_fn": 3}, InvalidArgumentType, "custom_explore_fn=3 must be a func"),
        (PB2, {"log_config": False}, InvalidArgument, "log_config=False must be True"),
        (PB2, {"custom_explore_fn": 3}, InvalidArgumentType, "custom_explore_fn=3 must be a func"),
    ],
)
def test_bad_values_are_refused_under_tunes_names(
    cls: type, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(cls, **arguments)


@pytest.mark.parametrize(
    ("mutations", "error", "message"),
    [
        (None, InvalidArgument, "nothing to mutate; pass hyperparam_mutations="),
        ({}, InvalidArgument, "nothing to mutate"),
        ({"a": {"lr": []}}, InvalidArgument, r"^hyperparam_mutations\['a/lr'\] is an empty list"),
        ({"lr": 3}, InvalidArgumentType, r"^hyperparam_mutations\['lr'\]=3 must be a domain"),
        (
            {"lr": tune.sample_from(lambda spec: 1)},
            InvalidArgumentType,
            "must be a domain, a list of values or a plain",
        ),
        ([1], InvalidArgumentType, r"^hyperparam_mutations=\[1\] must be a dict"),
    ],
)
def test_bad_mutations(mutations: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PopulationBasedTraining(hyperparam_mutations=mutations)


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        (None, InvalidArgument, "nothing to mutate; pass hyperparam_bounds="),
        ({"lr": [1, 0]}, InvalidArgument, r"^hyperparam_bounds\['lr'\]=\[1, 0\] must be finite"),
        ({"lr": "wide"}, InvalidArgumentType, r"^hyperparam_bounds\['lr'\]='wide' must be a bounded"),
        ([0, 1], InvalidArgumentType, r"^hyperparam_bounds=\[0, 1\] must be a dict"),
    ],
)
def test_bad_bounds(bounds: Any, error: type[Exception], message: str) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(error, match=message):
        PB2(hyperparam_bounds=bounds)


def test_pb2_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match=r"pip install 'tuneflow\[pb2\]'"):
        PB2(hyperparam_bounds={"lr": (0.0, 1.0)})


@pytest.mark.parametrize("cls", [PopulationBasedTraining, PB2])
def test_the_population_is_all_trials(cls: type) -> None:
    scheduler = made(cls)
    assert scheduler.to_pruner(num_samples=8).population_size == 8
    assert scheduler.to_pruner().population_size is scheduler.to_pruner(num_samples=-1).population_size is None
    synchronous = made(cls, synch=True)
    assert synchronous.to_pruner(num_samples=3).population_size == 3
    for unknown in (None, -1):
        with pytest.raises(InvalidArgument, match=r"synch=True waits for the whole population.*pass num_samples"):
            synchronous.to_pruner(num_samples=unknown)


def test_custom_explore_fn_takes_the_config_alone() -> None:
    seen: list[dict[str, Any]] = []

    def explore(config: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(config))
        return {**config, "lr": 7.0}

    pbt = PopulationBasedTraining(perturbation_interval=1, custom_explore_fn=explore).to_pruner()
    pbt.bind(None, np.random.default_rng(0))
    for trial in range(2):
        pbt.on_start(trial, {"lr": float(trial)})
    pbt.on_report(0, 1, 0.1, checkpoint=True)
    decision = pbt.on_report(1, 1, 0.2, checkpoint=True)
    assert decision == pruners.Exploit(donor=0, config={"lr": 7.0})
    assert seen == [{"lr": 0.0}]


@pytest.mark.parametrize("synch", [False, True])
def test_a_run_with_more_members_than_slots(synch: bool) -> None:
    """Inline there is one slot: only pausing members, whose population is known, can compete at all."""
    pbt = PopulationBasedTraining(
        metric="loss", mode="min", perturbation_interval=2, hyperparam_mutations=LR, resample_probability=0, synch=synch
    )
    grid = {"lr": tune.grid_search([0.1, 0.01, 0.001]), "copy": tune.choice([0])}
    analysis = run(pbt, config=grid, num_samples=2, metric=None, mode=None)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 6
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [6] * 6
    policies = [json.loads(path.read_text()) for path in Path("results/e").glob("*/pbt_policy.json")]
    assert policies
    assert max(donor for policy in policies for _, _, donor in policy if donor is not None) >= 2

    replay = PopulationBasedTrainingReplay(next(Path("results/e").glob("*/pbt_policy.json")))
    again = run(replay, config=replay.initial_config, num_samples=1, name="replay")
    assert again.trials[0].last_result["training_iteration"] == 6
    expected = [next(c["lr"] for at, c, _ in reversed(replay.schedule) if at < step) for step in range(1, 7)]
    results = [json.loads(line) for line in Path(again.trials[0].logdir, "result.json").read_text().splitlines()]
    assert [result["loss"] for result in results] == expected


@pytest.mark.parametrize(
    "text",
    [
        '[[0, {"lr": 0.1}, null], [10, {"lr": 0.08}, 3]]',
        '[0, {"lr": 0.1}, null]\n[10, {"lr": 0.08}, 3]\n',
        '\n[0, {"lr": 0.1}]\n\n{"step": 10, "config": {"lr": 0.08}, "donor": 3}',
        '{"schedule": [{"step": 0, "config": {"lr": 0.1}}, [10, {"lr": 0.08}, 3]]}',
    ],
)
def test_policy_files(text: str) -> None:
    Path("pbt_policy.json").write_text(text)
    replay = PopulationBasedTrainingReplay("pbt_policy.json")
    assert replay.schedule == [(0, {"lr": 0.1}, None), (10, {"lr": 0.08}, 3)]
    assert replay.initial_config == {"lr": 0.1}
    assert (replay.metric, replay.mode, replay.time_attr) == (None, None, "training_iteration")
    one, other = replay.to_pruner(num_samples=1), replay.to_pruner()
    assert one.schedule == other.schedule == replay.schedule
    assert one is not other
    with pytest.raises(InvalidArgument, match="num_samples=2 must be 1"):
        replay.to_pruner(num_samples=2)


@pytest.mark.parametrize("text", ['[3, {"lr": 0.1}, null]', '{"step": 3, "config": {"lr": 0.1}}'])
def test_a_policy_of_one_line(text: str) -> None:
    Path("policy").write_text(text)
    assert PopulationBasedTrainingReplay("policy").schedule == [(3, {"lr": 0.1}, None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "policy_file='~/policy': cannot be read .*; pass the path of a pbt_policy.json"),
        ("", "schedule is empty"),
        ("[]", "schedule is empty"),
        ("7", "schedule=7 must be a list"),
        ('[0, {"lr": 1}, null]\n[1, {"lr"', "policy_file='~/policy': line 2 is no JSON"),
        ('["old", "new", 5, 5, {}, {}]', r"schedule\[0\]=.* must be \(step, config, donor\)"),
        ('[5, {}, null]\n[5, {}, null]', "steps must grow"),
    ],
)  # fmt: skip
def test_what_is_no_policy_file(text: str | None, message: str) -> None:
    if text is not None:
        Path.home().joinpath("policy").write_text(text)
    with pytest.raises(InvalidArgument, match=message):
        PopulationBasedTrainingReplay("~/policy")


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("fifo", FIFOScheduler),
        ("ASHA", AsyncHyperBandScheduler),
        ("async_hyperband", AsyncHyperBandScheduler),
        ("asynchyperband", AsyncHyperBandScheduler),
        ("hyperband", HyperBandScheduler),
        ("median_stopping_rule", MedianStoppingRule),
        ("medianstopping", MedianStoppingRule),
        ("pbt", PopulationBasedTraining),
        ("pb2", PB2),
    ],
)
def test_by_name(name: str, cls: type) -> None:
    if cls is PB2:
        pytest.importorskip("sklearn")
    assert type(create_scheduler(name, **NEEDED.get(cls, {}))) is cls


def test_names_and_arguments_that_do_not_exist() -> None:
    with pytest.raises(UnknownName, match="unknown scheduler 'hb_bohb'; known are: asha"):
        create_scheduler("hb_bohb")
    with pytest.raises(InvalidArgumentType, match="'fifo' does not take max_t; it takes: nothing"):
        create_scheduler("fifo", max_t=3)
    with pytest.raises(
        InvalidArgumentType, match="does not take max_resource; it takes: time_attr, metric, mode, max_t"
    ):
        create_scheduler("hyperband", max_resource=9)


def test_steps_are_what_time_attr_counts() -> None:
    grid = {"lr": tune.grid_search([0.01, 0.1])}
    analysis = run(ASHAScheduler("tokens", max_t=400, grace_period=300), config=grid, num_samples=1)
    assert [trial.last_result["tokens"] for trial in analysis.trials] == [400, 300]
    assert [trial.state for trial in analysis.trials] == ["COMPLETE", "PRUNED"]


def test_a_result_without_the_time_attr_ends_the_run() -> None:
    with pytest.raises(MetricMissing, match=r"^time_attr 'epochs' was not .*: loss, tokens.* pass time_attr= one of"):
        run(ASHAScheduler("epochs"))


@pytest.mark.parametrize("value", [0.5, "3", None, float("nan")])
def test_a_time_attr_that_is_no_step_fails_the_trial(value: Any) -> None:
    def reports(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0, "epochs": value})

    with pytest.raises(TrialsFailed, match=r"time_attr='epochs' counts steps and must be an integer >= 0"):
        run(ASHAScheduler("epochs"), reports, num_samples=1)


def test_a_study_of_ones_own_takes_them_too() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, pruner=ASHAScheduler(max_t=4, reduction_factor=2), seed=0)
    trial = study.ask()
    assert [trial.report(0.5, step) for step in (1, 2, 4)][-1] == pruners.Stop(complete=True)
