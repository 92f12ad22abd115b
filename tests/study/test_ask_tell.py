"""Ask, report, tell: what a loop of one's own may rely on."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow.errors import (
    InvalidArgument,
    InvalidArgumentType,
    MetricMissing,
    TuneflowError,
    TuneflowWarning,
    UnknownName,
    UsageError,
)
from tuneflow.pruners import ASHA, Continue, MedianStopping, NoPruner, Stop


def test_a_declared_space_gives_nested_natural_values() -> None:
    study = tune.create_study(
        {
            "model": {"layers": tune.randint(1, 4), "units": [tune.choice([8, 16]), 32]},
            "lr": tune.loguniform(1e-4, 1e-1),
        },
        seed=1,
    )
    trial = study.ask()
    assert set(trial.config) == {"model", "lr"}
    assert trial.config["model"]["layers"] in (1, 2, 3)
    assert trial.config["model"]["units"][1] == 32
    assert trial.params["model/layers"] == trial.config["model"]["layers"]
    study.tell(trial, 1.0)
    assert study.best_config == trial.config
    assert study.best_params == trial.params


def test_suggest_can_be_mixed_with_a_declared_space() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)})
    trial = study.ask()
    y = trial.suggest_float("y", 2, 3)
    assert trial.config == {"x": trial.params["x"], "y": y}
    assert trial.suggest_float("x", 0, 1) == trial.params["x"]
    study.tell(trial, 0.0)
    assert set(study.best_config) == {"x", "y"}


def test_values_may_be_numpy_and_torch_scalars_or_dicts() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", mode="min")
    trial = study.ask()
    trial.report({"loss": torch.tensor(0.5), "accuracy": 1}, 1)
    trial.report(np.float32(0.25), 2)
    assert study.tell(trial, {"loss": np.float64(0.125)}).value == 0.125
    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.25}


def test_a_missing_metric_lists_what_was_reported() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss")
    trial = study.ask()
    with pytest.raises(MetricMissing, match=r"'loss' was not reported.*acc, time") as caught:
        trial.report({"acc": 1, "time": 2}, 1)
    assert isinstance(caught.value, KeyError)
    assert caught.value.reported == ["acc", "time"]
    with pytest.raises(UsageError, match="metric="):
        tune.create_study().ask().report({"loss": 1}, 1)


@pytest.mark.parametrize(("told", "reason"), [(math.nan, "NaN"), (None, "not a number"), ("high", "not a number")])
def test_a_value_that_is_none_marks_the_trial_failed_and_says_why(told: Any, reason: str) -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)})
    with pytest.warns(TuneflowWarning, match=f"trial 0 is marked failed: .*{reason}"):
        frozen = study.tell(study.ask(), told)
    assert frozen.state is TrialState.FAIL
    assert reason in frozen.user_attrs["tuneflow:reason"]


def test_infinite_values_are_kept() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)})
    assert study.tell(study.ask(), math.inf).value == math.inf


def test_misuse_raises() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)})
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(UsageError, match="told already, as COMPLETE"):
        study.tell(trial, 1.0)
    assert study.tell(trial, 2.0, skip_if_finished=True).value == 1.0
    with pytest.raises(InvalidArgument, match="no trial 7"):
        study.tell(7, 1.0)
    with pytest.raises(UsageError, match="has ended"):
        trial.report(1.0, 3)
    study.enqueue_trial({"x": 0.5})
    with pytest.raises(UsageError, match="WAITING"):
        study.tell(1, 1.0)
    other = tune.create_study({"x": tune.uniform(0, 1)}).ask()
    with pytest.raises(InvalidArgument, match="another study"):
        study.tell(other, 1.0)
    with pytest.raises(InvalidArgument, match="leave them out"):
        study.tell(study.ask(), 1.0, state=TrialState.FAIL)
    with pytest.raises(UsageError, match="another process"):
        pickle.dumps(study.ask())


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy])
def test_a_study_says_how_it_is_kept(take):
    with pytest.raises(UsageError, match="create it with storage= and open it again with load_study"):
        take(tune.create_study())


def test_a_storage_of_several_studies_asks_for_a_name(tmp_path):
    for name in ("a", "b"):
        tune.create_study(storage=tmp_path / "s.log", study_name=name, load_if_exists=True)
    with pytest.raises(InvalidArgument, match="several studies, name one of them: a, b"):
        tune.load_study(study_name=None, storage=tmp_path / "s.log")


def test_telling_by_number_and_by_state() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)})
    numbers = [study.ask().number for _ in range(3)]
    study.tell(numbers[2], 3.0)
    study.tell(numbers[0], state=TrialState.FAIL)
    study.tell(numbers[1], state=TrialState.PRUNED)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "PRUNED", "COMPLETE"]


def test_a_pruning_stop_makes_the_trial_pruned_whatever_is_told() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, pruner=ASHA(9, reduction_factor=3))
    good, bad = study.ask(), study.ask()
    assert good.report(0.1, 1) == Continue()
    assert bad.report(0.9, 1) == Stop()
    assert bad.should_prune()
    assert bad.report(0.0, 2).should_stop, "a report after a stop is tolerated"
    assert study.tell(bad, 0.0).state is TrialState.PRUNED
    assert good.report(0.1, 9) == Stop(complete=True)
    assert not good.should_prune()
    assert study.tell(good).values == [0.1]


def test_maximising_turns_the_sign_for_the_pruner() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, metric="acc", mode="max", pruner=ASHA(9, reduction_factor=3))
    first, second = study.ask(), study.ask()
    first.report({"acc": 0.9}, 1)
    assert second.report({"acc": 0.1}, 1) == Stop()
    third = study.ask()
    assert third.report({"acc": math.nan}, 1) == Stop(), "NaN is the worst"


def test_steps_must_grow() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, pruner=MedianStopping())
    trial = study.ask()
    trial.report(1.0)
    trial.report(1.0)
    assert list(study.trials[0].intermediate_values) == [1, 2]
    with pytest.warns(TuneflowWarning, match="steps must grow"):
        trial.report(5.0, 2)
    assert study.trials[0].intermediate_values[2] == 1.0
    with pytest.raises(TuneflowError, match="step=-1 must be >= 0"):
        trial.report(1.0, -1)
    with pytest.raises(TypeError, match="must be an integer"):
        trial.report(1.0, 2.5)  # type: ignore[arg-type]


def test_several_objectives() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, metric=["loss", "time"], mode=["min", "min"])
    study.tell(study.ask(), (1.0, 2.0))
    study.tell(study.ask(), {"loss": 2.0, "time": 1.0})
    assert {tuple(trial.values) for trial in study.best_trials} == {(1.0, 2.0), (2.0, 1.0)}
    with pytest.warns(TuneflowWarning, match=r"1 value\(s\) were told for 2"):
        study.tell(study.ask(), 1.0)
    with pytest.raises(InvalidArgument, match="pruner_metric="):
        tune.create_study(metric=["loss", "time"], pruner=ASHA(9))
    pruned = tune.create_study(
        {"x": tune.uniform(0, 1)}, metric=["a", "b"], mode=["min", "max"], pruner=ASHA(9, reduction_factor=3),
        pruner_metric="b",
    )  # fmt: skip
    first, second = pruned.ask(), pruned.ask()
    first.report({"b": 0.9}, 1)
    assert second.report({"b": 0.1}, 1) == Stop(), "b is maximised"


def test_constraints_reach_the_sampler() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, seed=3)
    for _ in range(40):
        trial = study.ask()
        trial.set_constraint("x is large", 0.5 - trial.config["x"])
        study.tell(trial, trial.config["x"])
    late = [trial.params["x"] for trial in study.trials[20:]]
    assert np.mean([x >= 0.5 for x in late]) > 0.5
    assert study.best_value >= 0.5


def test_enqueued_points_come_first_and_the_rest_is_sampled() -> None:
    study = tune.create_study({"a": tune.randint(0, 10), "b": {"c": tune.uniform(0, 1)}}, seed=0)
    study.enqueue_trial({"a": 10, "b": {"c": 0.5}})
    study.enqueue_trial({"b/c": 0.25})
    first, second = study.ask(), study.ask()
    assert first.config == {"a": 10, "b": {"c": 0.5}}, "the excluded bound is taken from a user"
    assert second.config["b"]["c"] == 0.25
    with pytest.raises(ValueError, match="nonsense"):
        study.enqueue_trial({"nonsense": 1})
    with pytest.raises(ValueError, match="a="):
        study.enqueue_trial({"a": 11})


def test_the_same_seed_gives_the_same_study() -> None:
    def run(seed: int, sampler: Any) -> list[Any]:
        study = tune.create_study(
            {"x": tune.uniform(-1, 1), "k": tune.choice(["a", "b", "c", "b"])}, seed=seed, sampler=sampler
        )
        for _ in range(25):
            trial = study.ask()
            study.tell(trial, trial.config["x"] ** 2)
        return [trial.params for trial in study.trials]

    for sampler in ("tpe", "random", "cmaes", "qmc", "nsgaii"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert run(0, sampler) == run(0, sampler), sampler
            if sampler != "qmc":
                assert run(0, sampler) != run(1, sampler), sampler


def test_each_trial_has_a_seed_of_its_own() -> None:
    seeds = [[tune.create_study(seed=seed).ask().seed, tune.create_study(seed=seed).ask().seed] for seed in (0, 1)]
    assert seeds[0][0] == seeds[0][1] != seeds[1][0]
    study = tune.create_study(seed=0)
    assert len({study.ask().seed for _ in range(50)}) == 50


def test_any_python_value_can_be_a_choice() -> None:
    values = [torch.optim.SGD, (1, 2), {"a": 1}, True, 1]
    study = tune.create_study({"v": tune.choice(values)}, sampler="random", seed=0)
    seen = [study.ask().config["v"] for _ in range(60)]
    assert any(value is True for value in seen)
    assert any(value == 1 and value is not True for value in seen)
    assert any(value is torch.optim.SGD for value in seen)
    assert study.trials[0].user_attrs["config"]


def test_the_study_stays_a_real_optuna_study() -> None:
    study = tune.create_study({"x": tune.uniform(-1, 1), "y": tune.uniform(-1, 1)}, seed=0, pruner="median")
    for _ in range(12):
        trial = study.ask()
        for step in range(4):
            if trial.report(trial.config["x"] ** 2 + 1 / (step + 1), step).should_stop:
                break
        study.tell(trial, trial.config["x"] ** 2)
    assert isinstance(study.optuna, optuna.Study)
    assert set(optuna.importance.get_param_importances(study.optuna)) == {"x", "y"}
    assert optuna.visualization.plot_intermediate_values(study.optuna).data
    assert len(study.trials_dataframe()) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "minimum", "metric": "m"}, "mode='minimum' must be 'min' or 'max'"),
        ({"direction": "min!"}, "direction='min!' must be 'minimize' or 'maximize'"),
        ({"mode": "min", "direction": "minimize"}, "mode and direction say the same thing"),
        ({"sampler": "tpee"}, "unknown sampler 'tpee'; known are: .*cmaes.*tpe"),
        ({"pruner": "ashaa"}, "unknown pruner 'ashaa'; known are: .*median"),
        ({"pruner": "asha"}, r"ASHA\(max_resource="),
        ({"seed": -1}, "seed=-1 must be an integer >= 0"),
        ({"space": {"x": 3, "y": tune.sample_from(lambda spec: spec.config.y)}}, "y"),
        ({"metric": ["a", "b"], "mode": ["min"]}, r"2 metric\(s\) and 1 direction"),
    ],
)
def test_bad_arguments_are_found_at_creation(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TuneflowError, match=message) as caught:
        tune.create_study(**arguments)
    assert isinstance(caught.value, ValueError)


def test_one_of_tunes_schedulers_brings_its_metric_and_mode() -> None:
    from tuneflow.schedulers import ASHAScheduler

    study = tune.create_study(pruner=ASHAScheduler(metric="acc", mode="max", max_t=9))
    assert (study.objectives.name, study.direction.name) == ("acc", "MAXIMIZE")
    with pytest.raises(InvalidArgument, match=r"mode='min' and mode='max' of .* differ"):
        tune.create_study(metric="acc", mode="min", pruner=ASHAScheduler(metric="acc", mode="max", max_t=9))


def test_names_that_are_not_known_are_structured() -> None:
    with pytest.raises(UnknownName) as caught:
        tune.create_study(sampler="annealing")
    assert "random" in caught.value.known
    assert pickle.loads(pickle.dumps(caught.value)).known == caught.value.known


def test_studies_are_loaded_from_a_journal(tmp_path: Path) -> None:
    space = {"x": tune.uniform(0, 1)}
    path = tmp_path / "study.log"
    study = tune.create_study(space, storage=path, study_name="s", seed=1, metric="loss", mode="max")
    trial = study.ask()
    trial.report({"loss": 1.0}, 1)
    study.tell(trial, 2.0)
    with pytest.raises(InvalidArgument, match="load_if_exists=True"):
        tune.create_study(space, storage=path, study_name="s", mode="max")
    loaded = tune.load_study(study_name=None, storage=path, space=space)
    assert loaded.best_value == 2.0
    assert loaded.seed == study.seed == 1
    assert loaded.direction.name == "MAXIMIZE"
    assert loaded.ask().config != trial.config
    with pytest.raises(InvalidArgument, match="it holds: s"):
        tune.load_study(study_name="t", storage=path)


def test_the_trial_folder_is_temporary_in_memory_and_lasts_otherwise(tmp_path: Path) -> None:
    study = tune.create_study()
    folder = study.ask().dir
    assert folder.is_dir()
    root = study.folders.root
    del study
    import gc

    gc.collect()
    assert not root.exists()
    lasting = tune.create_study(storage=tmp_path / "s.log")
    assert lasting.ask().dir.is_relative_to(tmp_path)


def test_no_pruner_lets_everything_run() -> None:
    study = tune.create_study(pruner=NoPruner())
    trial = study.ask()
    assert all(trial.report(float("inf"), step) == Continue() for step in range(5))


def test_a_metric_may_be_nested() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, metric="val/loss", mode="min")
    trial = study.ask()
    trial.report({"val": {"loss": 1.0}}, 1)
    study.tell(trial, {"val": {"loss": 0.5}})
    assert (study.trials[0].intermediate_values, study.best_value) == ({1: 1.0}, 0.5)
    with pytest.raises(MetricMissing, match=r"'val/loss' was not reported; the report holds: val\."):
        study.ask().report({"val": {"acc": 1.0}}, 1)
    flat = study.ask()
    flat.report({"val/loss": 0.25, "val": {"loss": 1.0}}, 1)
    assert flat.last_value == 0.25


@pytest.mark.parametrize("sampler", [None, "random", "tpe"])
def test_the_cells_of_a_grid_take_turns_in_a_loop_of_ones_own(sampler: str | None, tmp_path: Path) -> None:
    space = {"g": tune.grid_search([10, 20]), "h": tune.grid_search(["a", "b"]), "x": tune.uniform(0, 1)}
    cells = [(10, "a"), (20, "a"), (10, "b"), (20, "b")]
    storage = str(tmp_path / "study.log")
    study = tune.create_study(space, sampler=sampler, storage=storage, study_name="s", seed=0)
    study.enqueue_trial({"g": 20, "h": "b"})
    seen = [study.ask().config for _ in range(5)]
    assert [(config["g"], config["h"]) for config in seen] == [cells[3], *cells[:3], cells[0]]
    again = tune.load_study(study_name="s", storage=storage, space=space)
    assert [again.ask().config["g"] for _ in range(2)] == [20, 10]
    study = tune.create_study(space, sampler=sampler, seed=0)
    study.optimize(lambda trial: trial.config["x"], n_trials=4)
    assert [(trial.params["g"], trial.params["h"]) for trial in study.trials] == cells


def test_the_grid_sampler_and_a_grid() -> None:
    with pytest.raises(InvalidArgument, match="grid_search entries, which take turns"):
        tune.create_study({"g": tune.grid_search([1, 2])}, sampler="grid")


def test_a_value_where_a_distribution_belongs() -> None:
    with pytest.raises(InvalidArgumentType, match=r"fixed_distributions\['x'\]=1 must be .* study.enqueue_trial"):
        tune.create_study({}).ask({"x": 1})


@pytest.mark.parametrize("storage", [None, "study.log", "sqlite:///study.db"])
@pytest.mark.parametrize("name", ["best_trial", "best_value", "best_config", "best_params"])
def test_a_study_without_a_completed_trial_has_no_best_one(storage: str | None, name: str) -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, storage=storage)
    study.tell(study.ask(), state=TrialState.PRUNED)
    with pytest.raises(ValueError, match=r"^No trials are completed yet \(there are 1 PRUNED\); tell one"):
        getattr(study, name)
