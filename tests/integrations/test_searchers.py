"""What all samplers over other libraries have in common: history, seeds, pausing, runs, refusals."""

from __future__ import annotations

import doctest
import pickle
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow import registry
from tuneflow.errors import InvalidArgument
from tuneflow.pruners import ASHA, PBT, HyperBand, MedianStopping
from tuneflow.samplers import is_reseedable
from tuneflow.samplers.foreign import ForeignSampler, Model
from tuneflow.search import AxSearch, BayesOptSearch, HyperOptSearch, NevergradSearch

SPACE = {"x": tune.uniform(-1, 1), "y": tune.loguniform(1e-3, 1.0), "n": tune.randint(1, 5)}
NAMES = ["hyperopt", "nevergrad", "bayesopt", "rustuna", "rustuna-cmaes", "ax"]

QUICK: dict[str, dict[str, Any]] = {"bayesopt": {"random_search_steps": 8}, "ax": {"initialization_budget": 100}}

every_library = pytest.mark.parametrize("name", NAMES)


def loss(config: dict[str, Any]) -> float:
    return config["x"] ** 2 + config["y"] + abs(config["n"] - 2)


def made(name: str, **arguments: Any) -> ForeignSampler:
    sampler = registry.resolve("sampler", name)(**{"space": None, "seed": 0, **QUICK.get(name, {}), **arguments})
    assert isinstance(sampler, ForeignSampler)
    return sampler


@pytest.mark.parametrize(
    "module",
    [
        "tuneflow.samplers.axes",
        *(f"tuneflow_integrations.{n}" for n in ("hyperopt", "nevergrad", "bayesopt", "rustuna", "ax")),
    ],
)
def test_the_examples_in_the_documentation(module: str) -> None:
    tested = doctest.testmod(import_module(module))
    assert tested.attempted > 2
    assert tested.failed == 0


class Notebook(Model):
    """Writes down what a model is told, and passes it on."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.seen: list[tuple[int, float]] = []

    def observe(self, seen: Any) -> None:
        self.seen.append((seen.number, seen.loss))
        self.model.observe(seen)

    def suggest(self, number: int, running: Any) -> dict[str, Any]:
        return self.model.suggest(number, running)

    def reseed(self, seed: int) -> None:
        self.model.reseed(seed)


def noted(sampler: ForeignSampler) -> list[Notebook]:
    """The models that a sampler makes from now on."""
    notebooks: list[Notebook] = []
    original = sampler.make_model

    def make_model(space: Any) -> Model:
        notebooks.append(Notebook(original(space)))
        return notebooks[-1]

    sampler.make_model = make_model  # type: ignore[method-assign]
    return notebooks


@every_library
def test_a_plain_study_of_optunas_define_by_run(name: str) -> None:
    sampler = made(name)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.optimize(lambda trial: -((trial.suggest_float("x", -1, 1) - 0.5) ** 2), n_trials=12)
    assert study.best_value > -0.3
    assert is_reseedable(sampler)


@every_library
def test_every_trial_is_told_once_and_pruned_ones_teach_their_last_report(name: str) -> None:
    sampler = made(name, space=tune.space.Space(SPACE))
    notebooks = noted(sampler)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    distributions = tune.space.Space(SPACE).distributions
    for number in range(6):
        trial = study.ask(distributions)
        if number == 1:
            trial.report(3.0, step=0)
            trial.report(4.0, step=2)
            study.tell(trial, state=TrialState.PRUNED)
        elif number == 2:
            study.tell(trial, state=TrialState.FAIL)
        elif number == 3:
            study.tell(trial, state=TrialState.PRUNED)  # before it reported
        else:
            study.tell(trial, float(number))
    study.ask(distributions)
    (notebook,) = notebooks
    assert notebook.seen == [(0, 0.0), (1, -4.0), (4, -4.0), (5, -5.0)]


@every_library
def test_a_paused_trial_teaches_and_what_it_reports_later_replaces_that(name: str) -> None:
    sampler = made(name, space=tune.space.Space(SPACE))
    notebooks = noted(sampler)
    study = tune.create_study(SPACE, sampler=sampler, pruner=ASHA(9, reduction_factor=3, promote=True))
    started = [study.ask() for _ in range(3)]
    for trial, value in zip(started, (3.0, 1.0, 2.0), strict=True):
        trial.report(value, 1, checkpoint={})
        assert trial.is_paused
    assert [started[1].number] == [study.ask().number], "the best goes on"
    study.ask()
    (notebook,) = notebooks
    assert notebook.seen == [(0, 3.0), (1, 1.0), (2, 2.0)]
    started[1].report(0.5, 3, checkpoint={})
    study.ask()
    study.ask()
    assert notebook.seen[3:] == [(1, 0.5)]


@every_library
def test_the_same_seed_gives_the_same_configurations(name: str) -> None:
    def configs(seed: int) -> list[Any]:
        study = tune.create_study(SPACE, sampler=name, seed=seed)
        for _ in range(4 if name == "ax" else 6):  # before Ax fits a model, which takes seconds
            trial = study.ask()
            study.tell(trial, loss(trial.config))
        return [trial.params for trial in study.trials]

    first = configs(7)
    assert configs(7) == first
    assert configs(8) != first
    plain = [made(name, seed=5), made(name, seed=5)]
    studies = [optuna.create_study(sampler=sampler) for sampler in plain]
    for study in studies:
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=6)
    assert [t.params for t in studies[0].trials] == [t.params for t in studies[1].trials]


@every_library
def test_a_sampler_that_was_pickled_goes_on(name: str) -> None:
    sampler = made(name)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    study.sampler = copied = pickle.loads(pickle.dumps(sampler))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert [seen.number for seen in copied._ledger.observations] == [0, 1, 2, 3, 4]


@every_library
def test_another_study_starts_over(name: str) -> None:
    sampler = made(name)
    for _ in range(2):
        study = optuna.create_study(sampler=sampler, study_name="same")
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        assert [seen.number for seen in sampler._ledger.observations] == [0, 1]


@every_library
def test_a_run_with_points_and_hyperband_whose_stopped_trials_teach(name: str) -> None:
    def train(config: dict[str, Any]) -> None:
        checkpoint = tune.get_checkpoint()
        done = 0 if checkpoint is None else int((Path(checkpoint.path) / "step").read_text())
        for step in range(done + 1, 10):
            saved = str(step)
            tune.report(
                {"loss": loss(config) + 1 / step},
                checkpoint=lambda folder, text=saved: (folder / "step").write_text(text),
            )

    sampler = made(name)
    analysis = tune.run(
        train, SPACE, search_alg=sampler, scheduler=HyperBand(9), metric="loss", mode="min", num_samples=12, seed=1,
        points_to_evaluate=[{"x": 0.25}], executor="inline", verbose=0, storage_path="results", name="e",
    )  # fmt: skip
    assert len(analysis.trials) == 12
    assert analysis.trials[0].config["x"] == 0.25
    lengths = {trial.last_result["training_iteration"] for trial in analysis.trials}
    assert min(lengths) < 9 == max(lengths), "some were stopped, some went on"
    observations = sampler._ledger.observations
    short = [trial for trial in analysis.trials[:9] if trial.last_result["training_iteration"] < 9]
    assert short
    for trial in short:
        last = [seen.loss for seen in observations if seen.number == int(trial.trial_id)][-1]
        assert last == trial.last_result["loss"]


@pytest.mark.parametrize(
    "searcher",
    [HyperOptSearch(), NevergradSearch(), BayesOptSearch(random_search_steps=4), AxSearch()],
    ids=lambda searcher: type(searcher).__name__,
)
def test_a_run_with_tunes_name(searcher: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=loss(config))

    runs = [
        tune.run(
            train, SPACE, search_alg=searcher, metric="loss", mode="min", num_samples=4, seed=1, executor="inline",
            verbose=0, storage_path="results", name=name,
        )
        for name in ("first", "again")
    ]  # fmt: skip
    first, again = ([trial.config for trial in run.trials] for run in runs)
    assert first == again
    assert len(set(map(repr, first))) > 1


PRUNERS: dict[str, Callable[[], Any]] = {
    "asha": lambda: ASHA(9, reduction_factor=3),
    "promotion": lambda: ASHA(9, reduction_factor=3, promote=True),
    "hyperband": lambda: HyperBand(9),
    "median": MedianStopping,
    "pbt": lambda: PBT({"y": tune.loguniform(1e-3, 1.0)}, population_size=5, perturbation_interval=3),
    "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(n_startup_steps=2),
    "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=2), patience=1),
    "threshold": lambda: optuna.pruners.ThresholdPruner(upper=2.0),
}


@pytest.mark.parametrize("pruner", PRUNERS)
@every_library
def test_any_pruner(name: str, pruner: str) -> None:
    sampler = made(name, space=tune.space.Space(SPACE))
    notebooks = noted(sampler)
    study = tune.create_study(SPACE, sampler=sampler, pruner=PRUNERS[pruner](), seed=0)
    n_new = 0
    while (trial := study.ask(new=n_new < 10)) is not None:
        n_new += trial.last_step is None
        state = trial.checkpoint or {"n": trial.start_step}
        while state["n"] < 9:
            state["n"] += 1
            step = (trial.last_step or 0) + 1
            decision = trial.report(loss(trial.config) + 1 / step, step, checkpoint=state)
            if decision.should_stop:
                break
            if isinstance(decision, tune.pruners.Exploit):
                state = decision.checkpoint
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
    assert len(study.trials) == 10
    assert all(trial.state.is_finished() for trial in study.trials)
    stopped = {trial.number for trial in study.trials if trial.state is TrialState.PRUNED}
    assert stopped or pruner not in ("asha", "promotion", "hyperband")
    study.ask()
    (notebook,) = notebooks
    assert stopped <= {number for number, _ in notebook.seen}


@every_library
def test_several_objectives_are_refused(name: str) -> None:
    study = tune.create_study(SPACE, mode=["min", "min"], sampler=name)
    with pytest.raises(
        InvalidArgument, match=r"Sampler optimises one objective and the study has 2; use sampler='tpe'"
    ):
        study.ask()


@every_library
def test_a_grid_is_refused(name: str) -> None:
    config = {"x": tune.grid_search([0.1, 0.2]), "y": tune.uniform(0, 1)}
    with pytest.raises(InvalidArgument, match=f"search_alg='{name}' cannot be combined with grid_search"):
        tune.run(lambda config: 0.0, config, search_alg=name, metric="loss", mode="min", verbose=0)
    assert not Path("tuneflow_results").exists()


@every_library
def test_a_missing_library_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry._entries["sampler"][name]
    monkeypatch.setitem(registry._entries["sampler"], name, entry._replace(target="no_such_library_of_anybodys:make"))
    with pytest.raises(tune.errors.MissingLibrary, match=rf"pip install 'tuneflow\[{entry.extra}\]'"):
        tune.create_study(SPACE, sampler=name)


@every_library
def test_what_is_looked_at_does_not_grow_with_the_history(name: str) -> None:
    """No ended trial is looked at twice: not its parameters, not its values."""
    sampler = made(name)
    study = optuna.create_study(sampler=sampler)
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    for k in range(30):
        params = {"x": k / 30, "y": k * 7 % 30 / 30}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=k / 30))
    study.ask(space)
    ((model, n_told),) = sampler._models.values()
    sampler._ledger.observations[:] = [None] * 30  # type: ignore[list-item]
    trial = study.ask(space)
    assert 0 <= trial.params["x"] <= 1
    assert n_told == 30
    assert list(sampler._models.values()) == [(model, 30)]
