"""Searching with any model: results, files, resuming, failures, bad input."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tests.hypermodel.models import Counter, Valley
from tuneflow.errors import (
    InvalidArgument,
    InvalidArgumentType,
    MetricMissing,
    TrialFailed,
    TrialsFailed,
    TuneflowWarning,
    UsageError,
)
from tuneflow.pruners import PBT, HyperBand, MedianStopping
from tuneflow.trainable.hypermodel_saving import PickleSaver

HERE = Path(__file__).parent


class Simple(tune.HyperModel):
    """``fit`` is given."""

    def __init__(self, fit: Any, build: Any = None) -> None:
        super().__init__()
        self._fit, self._build = fit, build

    def build(self, hp: Any) -> Any:
        return {"x": hp.Float("x", 0.0, 1.0)} if self._build is None else self._build(hp)

    def fit(self, hp: Any, model: Any, *args: Any, callbacks: Any = None, **kwargs: Any) -> Any:
        return self._fit(hp, model, callbacks, *args, **kwargs)


def tuner(model: Any, objective: Any = "loss", kind: Any = tune.RandomSearch, **arguments: Any) -> Any:
    return kind(model, objective, **{"max_trials": 3, "seed": 0, "verbose": 0, **arguments})


def folders(made: Any) -> list[str]:
    return sorted(path.parent.name for path in Path(made.project_dir).glob("*/model"))


# Results


def test_the_best_epochs_model_is_what_comes_back() -> None:
    made = tuner(Valley(), max_trials=4)
    made.search()
    best, second = made.get_best_models(2)
    assert (best["epoch"], second["epoch"]) == (2, 2)
    first, other = made.get_best_hyperparameters(2)
    assert (best["x"], second["x"]) == (first["x"], other["x"])
    assert first["x"] < other["x"]
    assert made.study.best_value == 1.0 + first["x"]
    assert made.study.best_params == first.values
    assert made.analysis.get_best_trial(scope="all").config == first.values
    assert len(made.get_best_hyperparameters(9)) == 4
    assert (made.hypermodel.build(first)["x"], made.remaining_trials) == (first["x"], 0)


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (0.25, 0.25),
        ({"loss": 0.5, "other": 2}, 0.5),
        (type("History", (), {"history": {"loss": [3.0, 1.0, 2.0], "acc": [0, 1, 2]}})(), 1.0),
    ],
    ids=["number", "dict", "history"],
)
def test_what_fit_may_return(returned: Any, value: float) -> None:
    made = tuner(Simple(lambda *_: returned), max_trials=1)
    made.search()
    assert made.study.best_value == value
    assert folders(made) == ["00000"], "a fit that reports no epoch has its last model saved"


def test_maximising() -> None:
    made = tuner(Simple(lambda hp, *_: {"accuracy": hp["x"]}), "accuracy", max_trials=5)
    made.search()
    values = [trial.value for trial in made.study.trials]
    assert made.get_best_hyperparameters()[0]["x"] == max(values)
    assert made.study.direction.name == "MAXIMIZE"


def test_executions_are_averaged_and_the_best_of_all_is_kept() -> None:
    losses = iter([4.0, 2.0, 3.0, 9.0, 8.0, 7.0])

    def fit(hp: Any, model: Any, callbacks: Any) -> float:
        model["loss"] = next(losses)
        callbacks[-1].on_epoch_end(0, {"loss": model["loss"]})
        return model["loss"]

    made = tuner(Simple(fit), max_trials=2, executions_per_trial=3)
    made.search()
    assert [trial.value for trial in made.study.trials] == [3.0, 8.0]
    assert [model["loss"] for model in made.get_best_models(2)] == [2.0, 7.0]
    assert [list(trial.intermediate_values) for trial in made.study.trials] == [[1, 2, 3]] * 2


def test_search_passes_its_arguments_on_and_copies_callbacks() -> None:
    class Own:
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.epochs.append(epoch)

    got = []

    def fit(hp: Any, model: Any, callbacks: Any, *args: Any, **kwargs: Any) -> float:
        for callback in callbacks:
            callback.on_epoch_end(0, {"loss": 1.0})
        got.append((args, kwargs, callbacks[0].epochs, len(callbacks)))
        return 1.0

    own = Own()
    tuner(Simple(fit), max_trials=2).search(1, x=2, callbacks=[own])
    assert got == [((1,), {"x": 2}, [0], 2)] * 2
    assert own.epochs == []


def test_an_object_with_build_or_a_function_will_do() -> None:
    class Model:
        def __init__(self, x: float) -> None:
            self.x = x

        def fit(self, target: float, callbacks: Any = None) -> float:
            return abs(self.x - target)

    class Plain:
        def build(self, hp: Any) -> Model:
            return Model(hp.Float("x", 0.0, 1.0))

    for model in (Plain(), lambda hp: Model(hp.Float("x", 0.0, 1.0))):
        made = tuner(model, saver=(lambda model, folder: None, lambda model, folder: None), overwrite=True)
        made.search(0.5)
        assert made.study.best_value == abs(made.study.best_params["x"] - 0.5)
    with pytest.raises(InvalidArgumentType, match="is a class; pass an object"):
        tuner(Plain)
    with pytest.raises(InvalidArgumentType, match="a method build"):
        tuner(3)


def test_a_pair_of_functions_saves_and_loads() -> None:
    def save(model: Any, folder: str) -> None:
        Path(folder, "mine.txt").write_text(str(model["epoch"]))

    def load(model: Any, folder: str) -> None:
        model["epoch"] = int(Path(folder, "mine.txt").read_text())

    made = tuner(Valley(), max_trials=1, saver=(save, load))
    made.search()
    assert made.get_best_models()[0]["epoch"] == 2
    with pytest.raises(InvalidArgumentType, match="pair of functions"):
        tuner(Valley(), saver=3)


def test_what_was_given_goes_first_and_the_rest_may_stay_as_it_is() -> None:
    given = tune.HyperParameters()
    given.Fixed("x", 0.125)

    def fit(hp: Any, *_: Any) -> float:
        return hp["x"] + hp.Int("late", 1, 100)

    made = tuner(Simple(fit), hyperparameters=given)
    made.search()
    values = [hp.values for hp in made.get_best_hyperparameters(3)]
    assert {value["x"] for value in values} == {0.125}
    assert len({value["late"] for value in values}) > 1
    made = tuner(Simple(fit), hyperparameters=given, tune_new_entries=False, overwrite=True)
    made.search()
    assert [hp.values for hp in made.get_best_hyperparameters(3)] == [{"x": 0.125, "late": 1}] * 3
    made = tuner(Simple(fit), hyperparameters=given, allow_new_entries=False, overwrite=True)
    with pytest.raises(InvalidArgument, match="'late' is not among those given"):
        made.search()
    other = tune.HyperParameters()
    other.Int("n", 1, 2)
    with pytest.raises(InvalidArgument, match="build declares x"):
        tuner(Simple(fit), hyperparameters=other, allow_new_entries=False, overwrite=True)


# The disk


def test_only_the_best_models_stay() -> None:
    made = tuner(Valley(), max_trials=8, keep_models=2)
    made.search()
    order = sorted(made.study.trials, key=lambda trial: trial.value)
    assert folders(made) == sorted(f"{trial.number:05d}" for trial in order[:2])
    assert not list(Path(made.project_dir).glob("*/checkpoint_*")), "ended trials need none"
    assert not (Path(made.project_dir) / "call.pkl").exists(), "the data are not copied"
    with pytest.raises(UsageError, match="keep_models=2"):
        made.get_best_models(3)
    none = tuner(Valley(), max_trials=2, keep_models=0, project_name="none")
    none.search()
    assert folders(none) == []


def test_a_model_that_cannot_be_pickled_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"saver=\(save, load\)"):
        tuner(Simple(lambda *_: 1.0, lambda hp: {"x": hp.Int("x", 1, 2), "lock": threading.Lock()})).search()


# Going on


def test_a_second_search_goes_on_and_says_so(capsys) -> None:
    log = Path("log")
    tuner(Counter(log=str(log)), max_trials=2).search()
    before = log.read_text()
    again = tuner(Counter(log=str(log)), max_trials=5, verbose=1)
    assert "Going on with the project in" in (said := capsys.readouterr().out)
    assert "2 trials done" in said
    assert len(again.get_best_hyperparameters(9)) == 2, "what was found is there before any search"
    again.search()
    assert log.read_text().startswith(before)
    assert len(log.read_text().splitlines()) == 5 * 4
    whole = tuner(Counter(), max_trials=5, project_name="whole")
    whole.search()
    assert [trial.params for trial in again.study.trials] == [trial.params for trial in whole.study.trials]
    again.search()
    assert len(again.study.trials) == 5
    anew = tuner(Counter(), max_trials=1, overwrite=True)
    assert not Path(anew.project_dir).exists()
    anew.search()
    assert len(anew.study.trials) == 1


def test_overwrite_deletes_nothing_else() -> None:
    Path("tuneflow_results/mine").mkdir(parents=True)
    Path("tuneflow_results/mine/thesis.txt").write_text("years of work")
    with pytest.raises(InvalidArgument, match="no project of a tuner"):
        tuner(Counter(), project_name="mine", overwrite=True)
    assert Path("tuneflow_results/mine/thesis.txt").exists()


def test_a_changed_space_or_objective_says_what_changed() -> None:
    def build(low: int, name: str = "n") -> Any:
        return lambda hp: hp.Int(name, low, 9)

    def fit(hp: Any, *_: Any) -> float:
        return hp.Float("late", 0.0, 1.0)

    tuner(Simple(fit, build(1))).search()
    with pytest.raises(InvalidArgument, match=r"n was Int\(min_value=1.*and is Int\(min_value=2.*overwrite=True"):
        tuner(Simple(fit, build(2)))
    with pytest.raises(InvalidArgument, match=r"n is gone.*m is new"):
        tuner(Simple(fit, build(1, "m")))
    with pytest.raises(InvalidArgument, match=r"optimises 'loss' \(min\), not 'acc' \(max\)"):
        tuner(Simple(fit, build(1)), "acc")

    changed = tuner(Simple(lambda hp, *_: hp.Float("late", 0.0, 2.0), build(1)), max_trials=4)
    with pytest.raises(InvalidArgument, match=r"'late' is declared as Float.*max_value=2.0.*max_value=1.0.* before"):
        changed.search()

    def both(hp: Any) -> None:
        build(1)(hp)
        hp.Float("late", 0.0, 1.0)

    again = tuner(Simple(fit, both), max_trials=5)
    again.search()
    assert len(again.study.trials) == 5, "what fit declared may be declared by build"


def test_a_killed_search_goes_on_where_it_was_cut() -> None:
    code = (
        "from tests.hypermodel.models import Dying; import tuneflow as tune\n"
        "from tuneflow.checkpoint import SaveRhythm; SaveRhythm.first_s = 0.0; SaveRhythm.share = 1.0\n"
        "tuner = tune.RandomSearch(Dying(log='log'), 'loss', max_trials=4, seed=0)\n"
        "tuner.search()\n"
        "assert [model['trained'] for model in tuner.get_best_models(4)] == [4] * 4\n"
        "print(len(tuner.study.trials))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ["PYTHONPATH"]])}
    command = [sys.executable, "-c", code]
    first = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert first.returncode == -9, first.stderr
    assert len(Path("log").read_text().splitlines()) == 4 + 4 + 3
    second = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert second.returncode == 0, second.stderr
    assert "2 trials done, 1 cut or paused" in second.stdout
    epochs = [int(line.split()[1]) for line in Path("log").read_text().splitlines()]
    cut = epochs[8:-4]
    assert epochs[:8] == [0, 1, 2, 3] * 2, "what had finished was not run again"
    assert cut[:3] == [0, 1, 2]
    assert cut[3] in (1, 2), "from the last checkpoint, and not from zero"
    assert cut[3:] == list(range(cut[3], 4))
    assert epochs[-4:] == [0, 1, 2, 3]


# Pruners


def test_hyperband_trains_a_promoted_configuration_on() -> None:
    made = tuner(Counter(log="log"), kind=tune.Hyperband, max_trials=None, max_epochs=9, factor=3)
    assert made.max_trials == 9 + 5 + 3
    made.search()
    lines = [line.split() for line in Path("log").read_text().splitlines()]
    by_trial: dict[str, list[int]] = {}
    for x, epoch in lines:
        by_trial.setdefault(x, []).append(int(epoch))
    assert all(epochs == list(range(len(epochs))) for epochs in by_trial.values()), "no epoch was trained twice"
    lengths = [len(by_trial[f"{trial.params['x']:.6f}"]) for trial in made.study.trials]
    assert sorted(lengths) == [1] * 6 + [3] * 2 + [3] * 4 + [9] * 5
    best = made.get_best_models()[0]
    assert best["trained"] == 9
    states = {trial.state.name for trial in made.study.trials}
    assert states == {"COMPLETE", "PRUNED"}


def test_a_best_model_that_a_kill_took_is_saved_anew() -> None:
    class Taking(tune.Callback):
        def on_trial_pause(self, trial: Any) -> None:
            shutil.rmtree(trial.dir / "model")

    made = tuner(Valley(), kind=tune.HyperTuner, pruner=HyperBand(4, reduction_factor=2), callbacks=[Taking()])
    with pytest.warns(TuneflowWarning, match="counts its epochs from 0"):
        made.search()
    best = made.get_best_models()[0]
    assert best["epoch"] is not None


def test_a_loop_that_counts_anew_goes_on_all_the_same_and_is_told() -> None:
    def fit(hp: Any, model: Any, callbacks: Any, epochs: int, **_: Any) -> float:
        for epoch in range(epochs):
            model["n"] = model.get("n", 0) + 1
            callbacks[-1].on_epoch_end(epoch, {"loss": hp["x"] / model["n"]})
        return hp["x"] / model["n"]

    made = tuner(Simple(fit), kind=tune.Hyperband, max_trials=3, max_epochs=3, factor=3)
    with pytest.warns(TuneflowWarning, match="counts its epochs from 0; they are counted on"):
        made.search()
    longest = max(made.study.trials, key=lambda trial: len(trial.intermediate_values))
    assert longest.intermediate_values == {n: longest.params["x"] / n for n in (1, 2, 3)}
    assert made.get_best_models()[0]["n"] == 3


def test_a_pruner_stops_a_fit_and_finally_runs() -> None:
    left = []

    def fit(hp: Any, model: Any, callbacks: Any) -> float:
        try:
            for epoch in range(6):
                callbacks[-1].on_epoch_end(epoch, {"loss": hp["x"]})
        finally:
            left.append(epoch)
        return hp["x"]

    pruner = MedianStopping(grace_period=1, min_samples_required=2)
    made = tuner(Simple(fit), kind=tune.HyperTuner, sampler="random", pruner=pruner, max_trials=8)
    made.search()
    states = [trial.state.name for trial in made.study.trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert all((epoch == 5) == (state == "COMPLETE") for epoch, state in zip(left, states, strict=True))
    assert len(made.get_best_hyperparameters(8)) == 8
    kept = [trial.state.name for trial in made.study.trials]
    assert kept.count("PRUNED") > 0
    with pytest.raises(InvalidArgument, match="cannot be combined with a pruner"):
        tuner(Simple(fit), kind=tune.HyperTuner, pruner=pruner, executions_per_trial=2, overwrite=True)


def test_a_population_copies_weights_and_hyperparameters() -> None:
    def fit(hp: Any, model: Any, callbacks: Any, **kwargs: Any) -> None:
        for epoch in range(kwargs.get("initial_epoch", 0), 6):
            model["w"] = model.get("w", 0.0) + hp["x"]
            callbacks[-1].on_epoch_end(epoch, {"score": model["w"]})

    pruner = PBT({"x": tune.uniform(0, 1)}, perturbation_interval=2, population_size=4, synchronous=True)
    made = tuner(Simple(fit), "score", kind=tune.HyperTuner, sampler="random", pruner=pruner, max_trials=4)
    made.search()
    copied = [key for trial in made.study.trials for key in trial.user_attrs if key.startswith("tuneflow:decision")]
    exploits = [
        trial.user_attrs[key] for trial in made.study.trials for key in trial.user_attrs
        if key.startswith("tuneflow:decision") and isinstance(trial.user_attrs[key], dict)
    ]  # fmt: skip
    assert copied
    assert exploits
    values = [trial.value for trial in made.study.trials]
    alone = [6 * trial.params["x"] for trial in made.study.trials]
    assert min(values) > min(alone), "the worst has gone on from a better one"


# Processes


def test_two_processes_find_the_same_and_know_of_late_hyperparameters() -> None:
    made = tuner(Counter(epochs=3), max_trials=6, kind=tune.Hyperband, max_epochs=3)
    made.search(n_jobs=2, resources={"cpu": 1})
    tune.shutdown_workers()
    assert len(made.study.trials) == 6
    assert made.get_best_models()[0]["trained"] == 3
    assert {len(trial.intermediate_values) for trial in made.study.trials} == {1, 3}
    with pytest.raises(InvalidArgument, match="n_jobs=0"):
        made.search(n_jobs=0)


# Failures and bad input


def test_failed_trials_are_tried_again_and_too_many_in_a_row_end_the_search() -> None:
    calls = []

    def fit(hp: Any, *_: Any) -> float:
        calls.append(hp["x"])
        if len(calls) % 2:
            raise RuntimeError("no luck")
        return 1.0

    made = tuner(Simple(fit), max_retries_per_trial=1)
    made.search()
    assert [trial.state.name for trial in made.study.trials] == ["COMPLETE"] * 3
    assert calls[::2] == calls[1::2], "with the same hyperparameters"

    def broken(*_: Any) -> float:
        raise RuntimeError("no luck")

    made = tuner(Simple(broken), max_trials=9, overwrite=True)
    with pytest.raises(TrialsFailed, match="no luck") as caught:
        made.search()
    assert len(made.study.trials) == 3
    assert isinstance(caught.value.errors[2], TrialFailed)
    assert made.get_best_hyperparameters() == []


def test_a_trial_that_fails_now_and_then_costs_nothing_else() -> None:
    def fit(hp: Any, *_: Any) -> float:
        if hp["x"] > 0.5:
            raise RuntimeError("no luck")
        return hp["x"]

    made = tuner(Simple(fit), max_trials=12, max_consecutive_failed_trials=9)
    made.search()
    states = {trial.state.name for trial in made.study.trials}
    assert states == {"COMPLETE", "FAIL"}
    assert len(made.study.trials) == 12


def test_nan_is_a_failed_trial() -> None:
    made = tuner(Simple(lambda *_: math.nan), max_trials=1)
    with pytest.warns(TuneflowWarning, match="NaN"):
        made.search()
    assert made.study.trials[0].state.name == "FAIL"
    assert folders(made) == []


def epochs_without_it(hp: Any, model: Any, callbacks: Any) -> None:
    for epoch in range(2):
        callbacks[-1].on_epoch_end(epoch, {"acc": 0.5, "lr": 0.1})


def redeclared(hp: Any, *_: Any) -> float:
    hp.Float("x", 0.0, 2.0)
    return 1.0


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (lambda *_: None, InvalidArgument, "fit returned None and no callback was told of an epoch"),
        (epochs_without_it, MetricMissing, "objective 'loss' was not reported; the report holds: acc, lr"),
        (lambda *_: {"acc": 1.0}, MetricMissing, "objective 'loss' was not reported; the report holds: acc"),
        (lambda *_: "done", InvalidArgumentType, "fit returned 'done'; it must return a number"),
        (lambda *_: {"loss": "low"}, InvalidArgumentType, "fit returned loss='low', which is not a number"),
        (redeclared, InvalidArgument, "'x' is declared as Float.*max_value=2.0.*was declared as Float.*max_value=1.0"),
    ],
)
def test_mistakes_in_fit_end_the_search_at_once(fit: Any, error: type[Exception], message: str) -> None:
    made = tuner(Simple(fit), max_trials=9)
    with pytest.raises(error, match=message):
        made.search()
    assert len(made.study.trials) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_trials": 0}, "max_trials=0 must be an integer >= 1"),
        ({"executions_per_trial": 0}, "executions_per_trial=0"),
        ({"max_retries_per_trial": -1}, "max_retries_per_trial=-1"),
        ({"max_consecutive_failed_trials": 0}, "max_consecutive_failed_trials=0"),
        ({"keep_models": -1}, "keep_models=-1"),
        ({"tune_new_entries": False}, "need hyperparameters="),
        ({"objective": "speed"}, r'Objective\("speed", "min"\)'),
        ({"sampler": "tpe"}, "brings its own sampler"),
        ({"project_name": "a/b"}, "must be a folder name"),
    ],
)
def test_arguments_that_break_a_rule(arguments: dict[str, Any], message: str) -> None:
    objective = arguments.pop("objective", "loss")
    with pytest.raises(InvalidArgument, match=message):
        tuner(Valley(), objective, **arguments)


def test_nothing_to_show_before_a_search() -> None:
    made = tuner(Valley())
    for read in (lambda: made.study, lambda: made.analysis):
        with pytest.raises(UsageError, match="call search first"):
            read()
    assert made.get_best_models() == []
    assert made.remaining_trials == 3


def test_a_name_declared_in_two_ways_is_found_before_any_trial() -> None:
    def build(hp: Any) -> None:
        hp.Int("n", 1, 3)
        hp.Choice("n", [1, 2, 3])

    with pytest.raises(InvalidArgument, match=r"'n' is declared as Choice\(.*was declared as Int\("):
        tuner(Simple(lambda *_: 1.0, build))
    assert not Path("tuneflow_results").exists()


# tune.run


def test_tune_run_takes_a_hypermodel() -> None:
    analysis = tune.run(
        Counter(), metric="loss", mode="min", num_samples=3, executor="inline", name="own", seed=0, verbose=0
    )
    assert [len(trial.results) for trial in analysis.trials] == [4] * 3
    assert set(analysis.best_config) == {"x"}
    with pytest.raises(InvalidArgument, match="needs metric= and mode="):
        tune.run(Counter())
    with pytest.raises(InvalidArgument, match="leave config out"):
        tune.run(Counter(), {"x": tune.uniform(0, 1)}, metric="loss", mode="min")


def test_an_interrupted_search_says_how_to_go_on(capsys) -> None:
    def fit(*_: Any) -> float:
        raise KeyboardInterrupt

    made = tuner(Simple(fit))
    with pytest.raises(KeyboardInterrupt):
        made.search()
    assert f"Go on with the same script; the project is in {made.project_dir}" in capsys.readouterr().err
    again = tuner(Simple(lambda *_: 1.0), max_trials=2)
    again.search()
    assert [trial.state.name for trial in again.study.trials] == ["COMPLETE"] * 2


# The other tuners


def test_grid_search_takes_each_combination_once_and_goes_on(tmp_path) -> None:
    def build(hp: Any) -> None:
        hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["b"]):
            hp.Int("n", 1, 3)

    def fit(hp: Any, *_: Any) -> float:
        return hp.Float("late", 0.0, 1.0, step=0.5)

    part = tuner(Simple(fit, build), kind=tune.GridSearch, max_trials=5)
    part.search()
    assert len(part.study.trials) == 5
    whole = tuner(Simple(fit, build), kind=tune.GridSearch, max_trials=None)
    whole.search()
    tried = [json.dumps(trial.params) for trial in whole.study.trials]
    assert len(tried) == len(set(tried)) == 3 + 9
    assert tried[0] == '{"kind": "a", "late": 0.0}'
    whole.search()
    assert len(whole.study.trials) == 12


def test_bayesian_optimization_beats_chance_and_says_what_has_no_effect() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("scipy")

    def build(hp: Any) -> None:
        hp.Float("x", 0.0, 1.0)
        with hp.conditional_scope("kind", ["b"]) if hp.Choice("kind", ["a", "b"]) == "b" else hp.name_scope("s"):
            hp.Int("n", 1, 3)

    def fit(hp: Any, *_: Any) -> float:
        return (hp["x"] - 0.3) ** 2

    with pytest.warns(TuneflowWarning, match="beta=2.6 has no effect"):
        made = tuner(Simple(fit, build), kind=tune.BayesianOptimization, num_initial_points=4, beta=2.6, max_trials=8)
    made.search()
    assert made.study.best_value < 0.01
    with pytest.raises(InvalidArgument, match="num_initial_points=0"):
        tuner(Simple(fit, build), kind=tune.BayesianOptimization, num_initial_points=0, overwrite=True)


def test_hyperband_and_its_siblings_refuse_what_they_bring() -> None:
    with pytest.raises(InvalidArgument, match="brings its own pruner"):
        tuner(Valley(), kind=tune.Hyperband, pruner=HyperBand(9))
    with pytest.raises(InvalidArgument, match="hyperband_iterations=0"):
        tuner(Valley(), kind=tune.Hyperband, hyperband_iterations=0)


def test_the_same_seed_finds_the_same_and_zero_is_a_seed() -> None:
    found = []
    for seed in (0, 0, 1):
        made = tuner(Valley(), seed=seed, overwrite=True)
        made.search()
        found.append([trial.params for trial in made.study.trials])
    assert found[0] == found[1] != found[2]


def test_a_model_that_others_may_have_written_is_not_read_in_silence(tmp_path: Path) -> None:
    saver = PickleSaver()
    saver.save({"weights": [1, 2]}, tmp_path)
    assert saver.load({}, tmp_path) == {"weights": [1, 2]}
    (tmp_path / "model.pkl").chmod(0o666)
    with pytest.warns(TuneflowWarning, match="can be written to by other users"):
        assert saver.load({}, tmp_path) == {"weights": [1, 2]}
