"""Workers and drivers are killed at random moments, again and again: nothing is lost, doubled or changed by that."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal._storage import JournalOperation

import tuneflow as tune
from tests.runner.dying import Deaths, in_child
from tuneflow.pruners import ASHA, PBT, HyperBand, MedianStopping
from tuneflow.stoppers import ExperimentPlateauStopper, TrialPlateauStopper
from tuneflow.storage import Journal, JournalBackend

DRIVER = Path(__file__).with_name("chaos_driver.py")


def run_through(folder: Path, n_kills: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), str(n_kills), "1", "60", "0.03"],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def record_of(folder: Path) -> list[Any]:
    study = optuna.load_study(study_name=None, storage=tune.open_storage(folder / "study.log"))
    return [
        (trial.number, trial.params, trial.state.name, trial.values, sorted(trial.intermediate_values.items()))
        for trial in study.trials
    ]


@pytest.mark.timeout(240)
def test_sixty_trials_through_twenty_deaths_of_the_driver(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert run_through(calm, 0)["status"] == 0
    told = run_through(killed, 20)
    assert (told["status"], told["drivers"]) == (0, 20)
    assert told["workers"] >= 5
    first, second = record_of(calm), record_of(killed)
    assert len(second) == 60
    assert {state for _, _, state, _, _ in second} <= {"COMPLETE", "PRUNED"}
    assert second == first  # trial by trial: the best value too
    for number, _, _, _, reports in second:
        rows = (killed / f"{number:05d}" / "result.json").read_text().splitlines()
        iterations = [json.loads(row)["training_iteration"] for row in rows]
        assert iterations == [step for step, _ in reports] == list(range(1, len(reports) + 1))


def train(config: dict[str, float]) -> None:
    for step in range(9):
        tune.report(loss=(config["x"] - 0.3) ** 2 + 1 / (step + 1))


class Dies(tune.Callback):
    def __init__(self, report: int) -> None:
        self.n_left = report

    def on_trial_report(self, trial: object, result: object) -> None:
        self.n_left -= 1
        if self.n_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, name: str, scheduler: Any = None, space: Any = None, **given: Any) -> list[Any]:
    analysis = tune.run(
        train, space or {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=8, scheduler=scheduler,
        max_concurrent_trials=2, storage_path=folder, name=name, verbose=0, seed=3, deterministic=True, **given,
    )  # fmt: skip
    return [(trial.config, [result["loss"] for result in trial.results]) for trial in analysis.trials]


@pytest.mark.filterwarnings("ignore:trial .* goes on without a checkpoint")
@pytest.mark.parametrize("scheduler", [ASHA(9, reduction_factor=3), HyperBand(9), MedianStopping()], ids=repr)
def test_a_driver_that_dies_at_any_report_changes_nothing(tmp_path: Path, scheduler: Any) -> None:
    calm = run(tmp_path, "calm", copy.deepcopy(scheduler))
    for report in (1, 3, 8, 15):
        name = f"dies{report}"
        in_child(lambda name=name, report=report: run(
            tmp_path, name, copy.deepcopy(scheduler), callbacks=[Dies(report)])
        )  # fmt: skip
        assert run(tmp_path, name, copy.deepcopy(scheduler), resume=True) == calm


@pytest.mark.parametrize("space", [{}, {"g": tune.grid_search([1, 2])}], ids=["sampled", "grid"])
def test_a_trial_that_died_before_it_had_its_parameters_gets_them(
    tmp_path: Path, space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"x": tune.uniform(0, 1), "y": tune.randn(0, 1), **space}
    calm = run(tmp_path, "calm", space=space)

    def dies() -> None:
        monkeypatch.setattr(Journal, "set_trial_param", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        run(tmp_path, "dies", space=space)

    in_child(dies)
    assert run(tmp_path, "dies", space=space, resume="auto") == calm


def train_saving(config: dict[str, float]) -> None:
    checkpoint = tune.get_checkpoint()
    start, weight = (0, 0.0) if checkpoint is None else json.loads((checkpoint.path / "state").read_text())
    for step in range(start + 1, 10):
        weight += config["x"] - config["y"] ** 2

        def save(folder: Path, state: tuple[int, float] = (step, weight)) -> None:
            (folder / "state").write_text(json.dumps(state))

        tune.report({"loss": weight / step}, checkpoint=save)


def settles(config: dict[str, float]) -> None:
    for step in range(1, 10):
        tune.report(loss=round(max(config["x"], 1 / step), 2))


def evaluate(config: dict[str, float]) -> dict[str, float]:
    return {"loss": config["x"] - config["y"] ** 2}


def pbt(**given: Any) -> PBT:
    return PBT({"x": tune.uniform(0, 1)}, perturbation_interval=2, **given)


BOTH = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
CHOICES = {"x": tune.choice([1, 2]), "y": tune.choice([1, 2])}
CASES: dict[str, tuple[Any, Any, Callable[[], Any], dict[str, Any]]] = {
    "pbt": (train_saving, BOTH, lambda: pbt(population_size=4), {"search_alg": "random"}),
    "pbt-sync": (train_saving, BOTH, lambda: pbt(population_size=4, synchronous=True), {"search_alg": "random"}),
    "tpe": (evaluate, BOTH, lambda: None, {"search_alg": "tpe"}),
    "qmc": (evaluate, BOTH, lambda: None, {"search_alg": "qmc"}),
    "nsgaii": (evaluate, BOTH, lambda: None, {"search_alg": optuna.samplers.NSGAIISampler(population_size=2, seed=1)}),
    "grid": (evaluate, CHOICES, lambda: None, {"search_alg": "grid", "num_samples": -1}),
    "bruteforce": (evaluate, CHOICES, lambda: None, {"search_alg": "bruteforce", "num_samples": -1}),
    "stopped": (settles, BOTH, lambda: None, {"stop": [{"training_iteration": 6}, {"loss": 2.0}]}),
    "stopped-paused": (
        train_saving,
        BOTH,
        lambda: ASHA(9, reduction_factor=3, promote=True),
        {"stop": {"training_iteration": 3}},
    ),
    "plateau": (settles, BOTH, lambda: None, {"stop": TrialPlateauStopper("loss", 0.001, 3, 3)}),
    "all-stopped": (
        settles,
        BOTH,
        lambda: None,
        {"stop": ExperimentPlateauStopper("loss", 0.012, 8, "min", 3), "num_samples": 20, "search_alg": "tpe"},
    ),
}


def record_of_run(folder: Path, name: str, case: str, resume: Any = False) -> list[Any]:
    trainable, space, scheduler, given = CASES[case]
    settings = {"num_samples": 4, "executor": "inline", "deterministic": True, "seed": 3, "verbose": 0, **given}
    tune.run(
        trainable, space, metric="loss", mode="min", scheduler=scheduler(), storage_path=folder, name=name,
        resume=resume, **settings,
    )  # fmt: skip
    rows = [
        [json.loads(row)["loss"] for row in (folder / name / f"{number:05d}" / "result.json").read_text().splitlines()]
        for number, *_ in record_of(folder / name)
    ]
    return [record_of(folder / name), rows]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:trial .* goes on without a")
@pytest.mark.parametrize(
    ("case", "n_kills"),
    [
        ("pbt", 17),
        ("pbt-sync", 7),
        ("tpe", 17),
        ("qmc", 13),
        ("nsgaii", 13),
        ("grid", 5),
        ("bruteforce", 5),
        ("stopped", 31),
        ("stopped-paused", 17),
        ("plateau", 31),
        ("all-stopped", 17),
    ],
)
def test_a_driver_that_dies_after_any_record_changes_nothing(
    case: str, n_kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = Deaths(monkeypatch)
    calm = record_of_run(tmp_path, "calm", case)
    n_records, before = deaths.n_written, len(calm[0])
    assert len(record_of_run(tmp_path, "calm", case, resume=True)[0]) == before
    for index in deaths.spread(n_kills, n_records, lambda index: record_of_run(tmp_path, f"dies{index}", case)):
        assert record_of_run(tmp_path, f"dies{index}", case, resume="auto") == calm


def entries_of(folder: Path) -> list[Any]:
    study = optuna.load_study(study_name=None, storage=tune.open_storage(folder / "study.log"))
    return [trial.system_attrs["tuneflow:entered"] for trial in study.trials]


def is_new(record: dict[str, Any]) -> bool:
    return bool(record["op_code"] == JournalOperation.CREATE_TRIAL)


def is_report(record: dict[str, Any]) -> bool:
    return bool(record["op_code"] == JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE)


def is_exploit(record: dict[str, Any]) -> bool:
    return any(isinstance(value, dict) for value in record.get("user_attr", {}).values())


SLOTTED: dict[str, tuple[Callable[[], Any], dict[str, Any], Callable[[dict[str, Any]], bool], tuple[int, ...]]] = {
    "asha": (
        lambda: ASHA(9, reduction_factor=3, promote=True),
        {"search_alg": "tpe", "num_samples": 16},
        is_new,
        (5, 8, 12, 13, 16),
    ),
    "hyperband": (
        lambda: HyperBand(9, reduction_factor=3),
        {"search_alg": "random", "num_samples": 20, "max_concurrent_trials": 3},
        is_new,
        (10,),
    ),
    "pbt": (
        lambda: pbt(population_size=4),
        {"search_alg": "random", "num_samples": 8, "max_concurrent_trials": 3},
        is_exploit,
        (1, 2, 4, 6),
    ),
    "pbt-sync": (
        lambda: pbt(population_size=4, synchronous=True),
        {"search_alg": "random", "num_samples": 12},
        is_exploit,
        (1, 4, 9),
    ),
    "all-stopped": (
        lambda: None,
        {
            "stop": ExperimentPlateauStopper("loss", 0.2, 12, "min", 3),
            "search_alg": "random",
            "num_samples": 30,
            "max_concurrent_trials": 3,
        },
        is_report,
        (9, 35, 36, 37, 38, 39),
    ),
}


@pytest.mark.filterwarnings("ignore:trial .* goes on without a checkpoint")
@pytest.mark.parametrize("case", SLOTTED)
def test_a_driver_of_several_slots_that_dies_before_a_trial_has_entered_its_slot_changes_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot is one that another trial has ended in, or one that a paused trial has left."""
    scheduler, given, is_fatal, deaths = SLOTTED[case]
    settings = {"max_concurrent_trials": 2, "seed": 5, "deterministic": True, "verbose": 0, **given}

    def record(name: str, resume: Any = False) -> list[Any]:
        tune.run(
            train_saving, BOTH, metric="loss", mode="min", scheduler=scheduler(), storage_path=tmp_path, name=name,
            resume=resume, resources_per_trial={"cpu": 0.4}, **settings,
        )  # fmt: skip
        return [record_of(tmp_path / name), entries_of(tmp_path / name)]

    append = JournalBackend.append_logs

    def die_after(n_fatal: int, name: str) -> None:
        left = n_fatal

        def counting(backend: JournalBackend, records: list[dict[str, Any]]) -> None:
            nonlocal left
            append(backend, records)
            left -= sum(map(is_fatal, records))
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(JournalBackend, "append_logs", counting)
        record(name)

    calm = record("calm")
    for n_fatal in deaths:
        in_child(lambda n_fatal=n_fatal: die_after(n_fatal, f"dies{n_fatal}"))
        assert record(f"dies{n_fatal}", resume="auto") == calm, n_fatal


def test_a_grid_that_is_exhausted_lets_paused_trials_go_on(tmp_path: Path) -> None:
    analysis = tune.run(
        train_saving, CHOICES, metric="loss", mode="min", scheduler=ASHA(9, reduction_factor=2, promote=True),
        search_alg="grid", num_samples=-1, executor="inline", verbose=0, storage_path=tmp_path, name="grid",
    )  # fmt: skip
    assert {state for _, _, state, _, _ in record_of(analysis.folder)} == {"COMPLETE", "PRUNED"}


def test_what_failed_of_an_exhausted_grid_is_tried_again(tmp_path: Path) -> None:
    good = tmp_path / "good"

    def breaks_once(config: dict[str, Any]) -> dict[str, Any]:
        if config["x"] == 2 and not good.exists():
            raise RuntimeError("broken")
        return {"loss": config["x"]}

    for resume in (False, "errored"):
        analysis = tune.run(
            breaks_once, {"x": tune.choice([1, 2, 3])}, metric="loss", mode="min", search_alg="grid", num_samples=-1,
            executor="inline", verbose=0, storage_path=tmp_path, name="grid", resume=resume,
            raise_on_failed_trial=False,
        )  # fmt: skip
        good.touch()
    assert sorted(trial.config["x"] for trial in analysis.trials if trial.status == "TERMINATED") == [1, 2, 3]
    assert len(analysis.trials) == 4


@pytest.mark.parametrize("is_reopened", [False, True])
@pytest.mark.parametrize("sampler", ["grid", "bruteforce"])
def test_a_point_of_the_users_is_tried_after_all_others(sampler: str, is_reopened: bool, tmp_path: Path) -> None:
    def create() -> tune.Study:
        return tune.create_study(
            {"x": tune.choice([1, 2])}, sampler=sampler, storage=tmp_path / "s.log", study_name="s", load_if_exists=True
        )

    study = create()
    study.optimize(lambda trial: trial.config["x"], show_progress_bar=False)
    assert len(study.trials) == 2
    if is_reopened:
        study.close()
        study = create()
    study.enqueue_trial({"x": 2})
    study.optimize(lambda trial: trial.config["x"] / 4, show_progress_bar=False)
    assert [trial.value for trial in study.trials][2:] == [0.5]
