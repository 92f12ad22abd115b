"""tune.run at its edges: names in messages, what a trial says of itself, what is shown, what is saved at the end."""

from __future__ import annotations

import gc
import io
import os
import time
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuneflow as tune
from tuneflow.callbacks import Progress, ProgressReporter, ProgressTable
from tuneflow.errors import (
    ExperimentExists,
    InvalidArgument,
    InvalidArgumentType,
    MetricMissing,
    TuneflowWarning,
    UsageError,
)
from tuneflow.schedulers import PopulationBasedTraining


def train(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(loss=config.get("x", 0.0) / step, extra=step)


def run(trainable: Any = train, config: Any = None, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {"executor": "inline", "verbose": 0, "name": "e", "storage_path": "results", **arguments}
    return tune.run(trainable, {"x": tune.uniform(0, 1)} if config is None else config, **given)


# Messages speak of the caller's arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"time_budget_s": 0}, InvalidArgument, "time_budget_s=0 must be > 0 seconds"),
        ({"time_budget_s": "1h"}, InvalidArgumentType, "time_budget_s='1h' must be a number of seconds"),
        ({"scheduler": "asha", "metric": "loss", "mode": "min"}, InvalidArgument, "scheduler='asha' needs to know"),
        ({"scheduler": "x", "metric": "loss", "mode": "min"}, InvalidArgument, "unknown scheduler 'x'"),
        ({"search_alg": 3, "metric": "loss", "mode": "min"}, InvalidArgumentType, "search_alg=3 is neither a name"),
        ({"max_concurrent_trials": "2"}, InvalidArgumentType, "max_concurrent_trials='2' must be a number"),
        ({"num_samples": 2.0}, InvalidArgument, "num_samples=2.0 must be a whole number, or -1"),
        (
            {"config": {"x": tune.sample_from(lambda spec: spec.config.x)}},
            InvalidArgument,
            "each other's values: x -> x",
        ),
        ({"verbose": None}, InvalidArgument, "verbose=None must be 0"),
        ({"progress_reporter": "x"}, InvalidArgumentType, "progress_reporter='x' must be a tuneflow"),
        ({"max_failures": None}, InvalidArgumentType, "max_failures=None must be a number"),
        ({"checkpoint_freq": "1"}, InvalidArgumentType, "checkpoint_freq='1' must be a number"),
        ({"keep_checkpoints_num": "1"}, InvalidArgumentType, "keep_checkpoints_num='1' must be a number"),
        ({"resources_per_trial": 2}, InvalidArgumentType, "resources_per_trial=2 must be a dict"),
        ({"metric": 3, "mode": "min"}, InvalidArgumentType, "metric=3 must be text"),
        ({"checkpoint_score_attr": 5}, InvalidArgumentType, "checkpoint_score_attr=5 must be the name of a result"),
        ({"points_to_evaluate": {"x": 1}}, InvalidArgumentType, "points_to_evaluate=.* must be a list"),
        ({"callbacks": 3}, InvalidArgumentType, "callbacks=3 must be a list"),
        ({"loggers": 3}, InvalidArgumentType, "loggers=3 must be a list"),
        ({"executor": "threads"}, InvalidArgument, "known are: inline, processes, ray, simulated"),
        ({"storage_path": 3}, InvalidArgumentType, "storage_path=3 must be the path of a folder"),
        ({"storage_path": ""}, InvalidArgument, "leave it out for ./tuneflow_results"),
        ({"storage_path": "file"}, InvalidArgument, "storage_path='file': 'file' is a file, not a folder"),
        ({"storage_path": "file/a/b"}, InvalidArgument, "storage_path='file/a/b': 'file' is a file, not a folder"),
        ({"storage_path": "link/a"}, InvalidArgument, "'link' is a link that leads nowhere"),
    ],
)
def test_messages_name_what_the_caller_wrote(arguments: Any, error: type[Exception], message: str) -> None:
    Path("file").write_text("")
    Path("link").symlink_to("nowhere")
    with pytest.raises(error, match=message):
        run(**arguments)
    assert not Path("results").exists()


def test_a_name_that_is_kept_for_later_is_not_blamed_on_a_library_that_is_there(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("ray.py").write_text("")
    with pytest.raises(UsageError, match=r"executor 'ray' is a name kept for later"):
        run(executor="ray")


def test_optimize_speaks_of_its_own_arguments() -> None:
    study = tune.create_study()
    with pytest.raises(InvalidArgument, match="timeout=-1 must be"):
        study.optimize(float, timeout=-1)
    with pytest.raises(InvalidArgument, match="resources has unknown entries tpu"):
        study.optimize(float, n_trials=1, resources={"tpu": 1})


def test_a_missing_metric_lists_what_the_user_reported() -> None:
    with pytest.raises(MetricMissing, match=r"the report holds: loss, extra\. Report"):
        run(metric="accuracy", mode="max")


@pytest.mark.parametrize("storage", ["gone.log", "journal:gone.log", "sqlite:///gone.db"])
def test_a_mistyped_path_is_not_made_into_a_study(storage: str) -> None:
    Path("study.log").write_text("")
    with pytest.raises(InvalidArgument, match=r"there is no file 'gone\.\w+'; '\.' holds: study\.log"):
        tune.load_study(study_name="s", storage=storage)
    assert [path.name for path in Path().iterdir()] == ["study.log"]


def test_a_stop_key_in_vain_is_said_while_the_run_goes_on() -> None:
    class Endless(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": 0.5, "done": self.iteration == 300}

    said_at: list[int] = []

    class Listening(tune.Callback):
        def on_trial_report(self, trial: tune.Trial, result: dict[str, Any]) -> None:
            if caught.list and not said_at:
                said_at.append(result["training_iteration"])

    with pytest.warns(TuneflowWarning, match="stop names accuracy") as caught:
        run(Endless, {}, stop={"accuracy": 0.9}, callbacks=[Listening()])
    assert said_at == [201]
    assert len(caught) == 1


def test_numbers_and_times_may_be_of_other_kinds() -> None:
    analysis = run(num_samples=np.int64(2), time_budget_s=timedelta(minutes=1))
    assert len(analysis.trials) == 2
    assert analysis.experiment["num_samples"] == 2
    assert len(run(num_samples=-1, time_budget_s=timedelta(seconds=0.2), name="timed").trials) > 2


def test_a_run_that_was_refused_leaves_its_name_free() -> None:
    Path("results/e").mkdir(parents=True)
    Path("results/e/.lock").write_text("")
    assert len(run().trials) == 1
    with pytest.raises(ExperimentExists):
        run()


# What a trial says of itself


def test_what_has_ended_is_done(tmp_path: Path) -> None:
    def fails(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        if tune.get_trial().number == 1:
            raise ValueError("boo")

    ends: list[bool] = []

    class Listening(tune.Callback):
        def on_trial_end(self, trial: tune.Trial) -> None:
            assert trial.last_result is not None
            ends.append(trial.last_result["done"])

    analysis = run(fails, num_samples=3, raise_on_failed_trial=False, callbacks=[Listening()])
    for opened in (analysis, tune.ExperimentAnalysis("results/e")):
        assert [trial.last_result["done"] for trial in opened.trials] == [True] * 3
        assert opened.dataframe()["done"].tolist() == [True] * 3
        assert [trial.status for trial in opened.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert ends == [True] * 3


class Sized(tune.Trainable):
    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> dict[str, float]:
        return {"cpu": config["cpus"]}

    def step(self) -> dict[str, Any]:
        return {"loss": tune.get_trial().resources["cpu"], "done": True}


def test_a_class_asks_for_resources_by_the_configuration() -> None:
    analysis = run(Sized, {"cpus": 2, "x": tune.uniform(0, 1)}, executor="processes")
    assert analysis.trials[0].last_result["loss"] == 2
    for opened in (analysis, tune.ExperimentAnalysis("results/e")):
        assert opened.trials[0].resources == {"cpu": 2.0, "gpu": 0.0}
    given = run(Sized, {"cpus": 2}, executor="processes", name="f", resources_per_trial={"cpu": 1})
    assert given.trials[0].resources["cpu"] == 1, "what the run says counts"


class Saves(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x = 0

    def step(self) -> dict[str, Any]:
        self.x += 1
        return {"loss": 1.0 / self.x, "done": self.x == 3}

    def save_checkpoint(self, checkpoint_dir: Any) -> None:
        Path(checkpoint_dir, "x").write_text(str(self.x))

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        self.x = int(Path(checkpoint_dir, "x").read_text())


@pytest.mark.parametrize(("stop", "last"), [(None, "3"), ({"training_iteration": 2}, "2")])
def test_checkpoint_at_end(stop: Any, last: str) -> None:
    (trial,) = run(Saves, {}, stop=stop, checkpoint_at_end=True).trials
    assert trial.checkpoint is not None
    assert (trial.checkpoint.path / "x").read_text() == last
    assert run(Saves, {}, stop=stop, name="f").trials[0].checkpoint is None, "and not without it"


# What is shown


def test_constants_get_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    space = {"x": tune.uniform(0, 1), "net": {"width": 64, "depth": tune.choice([1, 2])}, "sizes": [1, 2]}
    run(config=space, metric="loss", mode="min", verbose=2)
    shown = capsys.readouterr().out
    (header,) = [line for line in shown.splitlines() if "Trial name" in line]
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert columns == ["Trial name", "status", "loc", "x", "net/depth", "loss", "total time (s)", "iter"]
    assert "width" not in shown, "nor is it in the line on the best trial"


def test_a_constant_that_is_mutated_gets_one() -> None:
    stream = io.StringIO()
    scheduler = PopulationBasedTraining(
        hyperparam_mutations={"lr": [0.1, 0.2]},
        perturbation_interval=1,
        resample_probability=1.0,
        quantile_fraction=0.5,
    )
    run(
        Saves, {"lr": 0.3, "n": 5}, metric="loss", mode="min", num_samples=4, scheduler=scheduler, seed=0, verbose=2,
        progress_reporter=ProgressTable(stream=stream),
    )  # fmt: skip
    block = stream.getvalue().rpartition("== Status ==")[2]
    (header,) = [line for line in block.splitlines() if "Trial name" in line]
    assert " lr " in header
    assert " n " not in header


def test_the_best_so_far_is_the_analysis_best_trial() -> None:
    class Kept(ProgressReporter):
        last: Progress | None = None

        def report(self, progress: Progress) -> None:
            self.last = progress

    def returns_to_bad(config: dict[str, Any]) -> None:
        number = tune.get_trial().number
        for loss in (0.0, 1.0) if number == 0 else (0.7, 0.1 * number):
            tune.report(loss=loss)

    reporter = Kept()
    analysis = run(returns_to_bad, metric="loss", mode="min", num_samples=4, progress_reporter=reporter)
    assert reporter.last is not None
    assert reporter.last.best is not None
    assert (reporter.last.best.trial_id, reporter.last.best.value) == ("00001", 0.1)
    assert reporter.last.best.trial_id == analysis.best_trial.trial_id
    again = Kept()
    run(returns_to_bad, metric="loss", mode="min", num_samples=4, progress_reporter=again, resume=True)
    assert again.last is not None
    assert again.last.best == reporter.last.best, "also where the trials are an earlier run's"


# Optuna's users


def _stops(trial: Any) -> float:
    if trial.number == 3:
        trial.study.stop()
    trial.set_user_attr("known", len(trial.study.trials))
    trial.set_user_attr("relative", trial.relative_params)
    with pytest.raises(UsageError, match=r"trial\.study\.ask is not available where trials run"):
        trial.study.ask()
    return float(trial.suggest_float("x", 0, 1))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_objective_stops_its_study(n_jobs: int) -> None:
    study = tune.create_study(sampler="cmaes", seed=0)
    study.optimize(_stops, n_trials=50, n_jobs=n_jobs, gc_after_trial=True)
    assert 4 <= len(study.trials) <= 5
    assert study.trials[3].user_attrs["known"] >= 4
    assert study.trials[3].user_attrs["relative"] == {"x": study.trials[3].params["x"]}


class Cyclic:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_after_a_trial(collects: bool) -> None:
    left: list[weakref.ref[Cyclic]] = []
    n_left: list[int] = []

    def objective(trial: Any) -> float:
        n_left.append(sum(reference() is not None for reference in left))
        left.append(weakref.ref(Cyclic()))
        return 0.5

    gc.collect()
    gc.disable()
    try:
        tune.create_study().optimize(objective, n_trials=3, gc_after_trial=collects)
    finally:
        gc.enable()
    assert n_left == ([0, 0, 0] if collects else [0, 1, 2])


def test_a_space_read_from_text() -> None:
    from tuneflow.space import space_from_mapping

    space = space_from_mapping({"x": "uniform(0, 1)", "net": {"width": "grid_search([1, 2])"}})
    configs = [trial.config for trial in run(config=space, num_samples=2).trials]
    assert [config["net"]["width"] for config in configs] == [1, 2, 1, 2]


# Large objects and limits of time


class Large:
    """Notes each process that unpickles it."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.log,)


def _unpickled(log: str) -> list[int]:
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    return [1, 2, 3]


def test_a_large_object_is_sent_to_each_worker_once(tmp_path: Path) -> None:
    def reads(config: dict[str, Any], data: list[int]) -> None:
        tune.report(loss=sum(data), pid=os.getpid())

    log = tmp_path / "log"
    bound = tune.with_parameters(reads, data=Large(str(log)))
    analysis = run(bound, num_samples=8, executor="processes")
    assert [trial.last_result["loss"] for trial in analysis.trials] == [6] * 8
    loads = [pid for pid in log.read_text().split() if pid != str(os.getpid())]  # the driver checks that it can be sent
    assert len(loads) == len(set(loads)), "once per worker"
    assert {trial.last_result["pid"] for trial in analysis.trials} <= set(map(int, loads))


def test_a_time_budget_ends_a_run_without_a_number_of_samples() -> None:
    def slow(config: dict[str, Any]) -> None:
        for _ in range(10):
            time.sleep(0.02)
            tune.report(loss=0.5)

    start_s = time.monotonic()
    analysis = run(slow, executor="processes", num_samples=-1, time_budget_s=1.5)
    assert 1.4 < time.monotonic() - start_s < 10
    assert len(analysis.trials) >= 1
    assert all(trial.status in ("TERMINATED", "ERROR") for trial in analysis.trials)


@pytest.mark.parametrize("metric", [{"metric": "loss", "mode": "min"}, {}])
def test_a_time_budget_stops_what_has_reported(metric: dict[str, Any]) -> None:
    def slow(config: dict[str, Any]) -> None:
        while True:
            tune.report(loss=0.5)
            time.sleep(0.02)

    analysis = run(slow, executor="processes", num_samples=3, max_concurrent_trials=1, time_budget_s=1.5, **metric)
    (trial,) = analysis.trials
    assert (trial.status, trial.error) == ("TERMINATED", None)
    assert trial.last_result["loss"] == 0.5


@pytest.mark.parametrize("argument", ["search_alg", "scheduler"])
def test_a_class_in_place_of_an_object(argument: str) -> None:
    given = {"search_alg": tune.search.HyperOptSearch, "scheduler": tune.schedulers.ASHAScheduler}[argument]
    with pytest.raises(InvalidArgumentType, match=rf"{argument}={given.__name__} is a class; pass an object"):
        tune.run(lambda config: None, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", **{argument: given})
    alias = {"search_alg": "sampler", "scheduler": "pruner"}[argument]
    with pytest.raises(InvalidArgumentType, match=f"{alias}="):
        tune.create_study({"x": tune.uniform(0, 1)}, **{alias: given})


def test_an_empty_report_is_called_so() -> None:
    with pytest.raises(MetricMissing, match=r"the report is empty\. Report 'loss'$"):
        tune.create_study(metric="loss").ask().report({})
