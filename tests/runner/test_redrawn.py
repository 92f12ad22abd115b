"""Studies that are defined by run: what a killed driver had not drawn yet is drawn as it would have been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuneflow as tune
from tests.runner.dying import Deaths
from tuneflow.pruners import ASHA
from tuneflow.samplers.seeding import is_reseedable

N_TRIALS = 10


def branches(trial: tune.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    y = trial.suggest_int("y", 1, 5) if trial.suggest_categorical("kind", ["a", "b"]) == "a" else 3
    z = trial.suggest_float("z", 0, 1, step=0.05)
    for step in range(1, 5):
        trial.report(x + z + y / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x + z


def two(trial: tune.Trial) -> tuple[float, float]:
    x = trial.suggest_float("x", 0, 1)
    return x + trial.suggest_float("y", 0, 1), 1 - x


def tpe(**given: Any) -> optuna.samplers.TPESampler:
    return optuna.samplers.TPESampler(n_startup_trials=3, **given)


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[], dict[str, Any]]]] = {
    "random": (branches, lambda: {"sampler": "random"}),
    "tpe": (branches, lambda: {"sampler": tpe(), "pruner": ASHA(4, reduction_factor=2)}),
    "tpe-promote": (branches, lambda: {"sampler": tpe(), "pruner": ASHA(4, reduction_factor=2, promote=True)}),
    "tpe-group": (branches, lambda: {"sampler": tpe(multivariate=True, group=True)}),
    "fixed": (branches, lambda: {"sampler": optuna.samplers.PartialFixedSampler({"x": 0.3}, tpe())}),
    "qmc": (branches, lambda: {"sampler": "qmc"}),
    "cmaes": (branches, lambda: {"sampler": "cmaes"}),
    "nsgaii": (two, lambda: {"sampler": "nsgaii", "directions": ["minimize", "minimize"]}),
}


def run(path: Path, case: str) -> list[Any]:
    objective, make = CASES[case]
    study = tune.create_study(study_name="s", storage=path, load_if_exists=True, seed=3, **make())
    study.optimize(objective, n_trials=N_TRIALS - len(study.trials), show_progress_bar=False)
    found = [(trial.number, trial.params, trial.state.name, trial.values) for trial in study.trials]
    study.close()
    return found


@pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:trial .* goes on without a checkpoint"
)
@pytest.mark.parametrize("case", CASES)
def test_a_driver_that_dies_after_any_record_changes_no_parameter(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = Deaths(monkeypatch)
    calm = run(tmp_path / "calm.log", case)
    assert len({tuple(params.items()) for _, params, *_ in calm}) > N_TRIALS - 2
    for index in deaths.spread(15, deaths.n_written, lambda index: run(tmp_path / f"dies{index}.log", case)):
        assert run(tmp_path / f"dies{index}.log", case) == calm, index


def test_a_sampler_around_another_is_as_repeatable_as_that() -> None:
    around = optuna.samplers.PartialFixedSampler
    assert is_reseedable(around({"x": 1}, tpe()))
    assert not is_reseedable(around({"x": 1}, type("Own", (optuna.samplers.BaseSampler,), {
        "infer_relative_search_space": None, "sample_relative": None, "sample_independent": None,
    })()))  # fmt: skip


def test_parameters_do_not_depend_on_the_trials_beside_it() -> None:
    def drawn(is_interleaved: bool) -> list[dict[str, Any]]:
        study = tune.create_study(sampler="random", seed=1)
        trials = [study.ask(), study.ask()]
        order = [0, 1, 0, 1] if is_interleaved else [0, 0, 1, 1]
        names = {0: iter("xy"), 1: iter("xy")}
        for index in order:
            trials[index].suggest_float(next(names[index]), 0, 1)
        return [trial.params for trial in trials]

    assert drawn(True) == drawn(False)
