"""TensorBoard: event files that TensorBoard's own reader reads, and a real TensorBoard that shows them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.creation import build_study
from tuneflow.pruners import PBT

pytest.importorskip("tensorboardX")
pytest.importorskip("tensorboard")

from tuneflow_integrations.tensorboard import TensorBoardLogger

SPACE = {
    "x": tune.uniform(0, 1),
    "opt": tune.choice(["adam", "sgd"]),
    "net": {"width": tune.choice([16, 32])},
    "bias": True,
    "layers": [64, 10],
    "api_key": "sesame",
    "wandb": {"project": "p"},
}


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def hparams(folder: Path) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events(folder).PluginTagToContent("hparams")["_hparams_/session_start_info"]
    start = HParamsPluginData.FromString(content).session_start_info
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}


def train(config):
    if tune.get_trial().number == 4:
        raise RuntimeError("boom")
    for step in range(1, 4):
        tune.report({"loss": config["x"] / step, "deep": {"acc": step / 3}, "note": "text"})


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tensorboard")
    tune.run(
        train, SPACE, metric="loss", mode="min", num_samples=6, callbacks=[TensorBoardLogger], verbose=0, seed=0,
        storage_path=path, name="exp", executor="inline", raise_on_failed_trial=False,
    )  # fmt: skip
    return path / "exp"


def test_scalars_and_hyperparameters_in_the_trials_own_folder(experiment):
    analysis = tune.ExperimentAnalysis(experiment)
    for trial in analysis.trials:
        folder = Path(trial.logdir)
        assert len(list(folder.glob("events.*"))) == 1
        assert not [path for path in folder.iterdir() if path.is_dir()], "no phantom runs"
        expected = {"x": trial.config["x"], "opt": trial.config["opt"], "net/width": trial.config["net"]["width"]}
        assert hparams(folder) == {**expected, "bias": True, "layers": "[64, 10]", "api_key": "********"}
        if trial.trial_id != "00004":
            single = [(step, pytest.approx(trial.config["x"] / step)) for step in (1, 2, 3)]
            assert curve(folder, "tuneflow/loss") == single
            tags = events(folder).Tags()["scalars"]
            assert set(tags) >= {"tuneflow/loss", "tuneflow/deep/acc", "tuneflow/time_total_s"}
            assert not {"tuneflow/note", "tuneflow/trial_id", "tuneflow/timestamp"} & set(tags)


def test_the_key_is_in_no_file(experiment):
    for path in experiment.rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes(), path


# A real TensorBoard


class Board:
    def __init__(self, uri: str) -> None:
        self.uri = uri

    def get(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.uri}/data/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def board(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("board")
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "tensorboard.main", "--logdir", str(experiment), "--host", "127.0.0.1",
                "--port", str(port), "--load_fast", "false", "--reload_interval", "2",
            ],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "HOME": str(home)},
        )  # fmt: skip
    made = Board(f"http://127.0.0.1:{port}")
    deadline_s = time.monotonic() + 60
    try:
        while True:
            with contextlib.suppress(OSError):
                if len(made.get("runs")) == 6:
                    break
            if process.poll() is not None or time.monotonic() > deadline_s:
                pytest.fail(f"TensorBoard did not come up:\n{(home / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield made
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


@pytest.mark.slow
def test_the_dashboard_has_every_trial_and_no_other_run(board, experiment):
    ids = [f"{i:05d}" for i in range(6)]
    assert board.get("runs") == ids
    about = board.get("plugin/hparams/experiment", {})
    assert {info["name"] for info in about["hparamInfos"]} == {"x", "opt", "net/width"}, "what varies"
    metrics = [info["name"] for info in about["metricInfos"]]
    assert [metric["tag"] for metric in metrics] == ["tuneflow/loss", "tuneflow/deep/acc"]
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    question = {"colParams": [{"metric": metric} for metric in metrics], "allowedStatuses": statuses}
    found = board.get("plugin/hparams/session_groups", {**question, "startIndex": 0, "sliceSize": 100})
    groups = {group["name"]: group for group in found["sessionGroups"]}
    assert sorted(groups) == ids
    for trial in tune.ExperimentAnalysis(experiment).trials:
        group = groups[trial.trial_id]
        assert group["hparams"]["x"] == trial.config["x"]
        assert group["hparams"]["opt"] == trial.config["opt"]
        (session,) = group["sessions"]
        failed = trial.trial_id == "00004"
        assert session["status"] == ("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
        assert session["endTimeSecs"] >= session["startTimeSecs"] > 1e9
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert values == (
            {} if failed else pytest.approx({"tuneflow/loss": trial.config["x"] / 3, "tuneflow/deep/acc": 1})
        )


@pytest.mark.slow
def test_parallel_coordinates_in_a_browser(board, browser):
    browser.open(f"{board.uri}/#hparams")
    tab = "deep('paper-tab').find(tab => /parallel/i.test(tab.textContent))"
    browser.wait_for(f"!!({tab})", 60)
    browser.run(f"{tab}.click()")
    plot = "deep('tf-hparams-parallel-coords-plot')[0]"
    lines = f"{plot}.shadowRoot.querySelectorAll('g.foreground path').length"
    browser.wait_for(f"{plot} && {lines} == 5")  # a line for each trial that has all values: one failed
    titles = browser.run(f"[...{plot}.shadowRoot.querySelectorAll('.axis-title')].map(title => title.textContent)")
    assert sorted(titles) == ["deep/acc", "loss", "net/width", "opt", "x"]


# What happens to a trial


@pytest.fixture
def make(tmp_path):
    def open_study(*, again=False, **options):
        study = build_study(
            options.pop("space", {"x": tune.uniform(0, 1)}), metric="loss", mode="min", storage=tmp_path / "study.log",
            study_name="s", folder=tmp_path, load_if_exists=again, seed=0, **options,
        )  # fmt: skip
        if again:
            study.adopt()
        study.add_callback(TensorBoardLogger())
        return study

    return open_study


def test_a_resumed_trial_goes_on_in_its_file(make):
    trial = make().ask()
    trial.report({"loss": 0.5, "acc": 1}, 1)
    trial.report({"loss": 0.4, "acc": 2}, 2)
    trial.report({"loss": 0.3, "acc": 3}, 3)
    (path,) = trial.dir.glob("events.*")
    with path.open("r+b") as file:  # killed while it wrote
        file.truncate(path.stat().st_size - 7)
    study = make(again=True)
    trial = study.ask()
    assert trial.number == 0
    trial.report({"loss": 0.2, "acc": 4}, 4)
    study.tell(trial, 0.2)
    assert list(trial.dir.glob("events.*")) == [path]
    assert curve(trial.dir, "tuneflow/loss") == [(i, pytest.approx(v)) for i, v in enumerate((0.5, 0.4, 0.3, 0.2), 1)]
    assert [step for step, _ in curve(trial.dir, "tuneflow/acc")] == [1, 2, 4]


def test_changing_hyperparameters_are_scalars(make):
    study = make(
        space={"x": tune.uniform(0, 1), "opt": tune.choice(["a", "b"])},
        pruner=PBT({"x": tune.uniform(0, 1)}, perturbation_interval=1, quantile_fraction=0.5),
    )
    good, bad = study.ask(), study.ask()
    first = bad.config["x"]
    good.report({"loss": 0.1}, 1, checkpoint={"state": 1})
    decision = bad.report({"loss": 0.9}, 1, checkpoint={"state": 2})
    assert decision.config["x"] != first
    expected = [(0, pytest.approx(first)), (1, pytest.approx(decision.config["x"]))]
    assert curve(bad.dir, "tuneflow/hp/x") == expected
    assert "tuneflow/hp/x" not in events(good.dir).Tags()["scalars"]
    assert hparams(bad.dir)["x"] == first, "the dashboard has what the trial began with"


def test_a_study_that_is_defined_by_run():
    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        for step in range(3):
            trial.report(x / (step + 1), step)
        return x

    study = tune.create_study(seed=0)
    study.optimize(objective, n_trials=2, callbacks=[TensorBoardLogger])
    for trial in study.trials:
        folder = study.folders.of(trial.number)
        assert hparams(folder) == {"x": trial.params["x"]}
        assert [step for step, _ in curve(folder, "tuneflow/value")] == [0, 1, 2]


def test_a_value_that_is_only_told_is_a_scalar(make):
    study = make()
    trial = study.ask()
    study.tell(trial, 0.25)
    assert curve(trial.dir, "tuneflow/loss") == [(0, 0.25)]


def test_numbers_that_are_none_and_huge_ones(make):
    study = make()
    trial = study.ask()
    trial.report({"loss": 0.5, "nan": math.nan, "inf": math.inf, "huge": 10**400, "yes": True, "none": None}, 1)
    values = {tag: curve(trial.dir, tag)[0][1] for tag in events(trial.dir).Tags()["scalars"]}
    assert math.isnan(values.pop("tuneflow/nan"))
    assert values == {"tuneflow/loss": 0.5, "tuneflow/inf": math.inf, "tuneflow/huge": math.inf, "tuneflow/yes": 1.0}


def test_a_logger_can_be_kept_for_a_resume(make):
    logger = TensorBoardLogger()
    study = make()
    study.add_callback(logger)
    study.ask()
    assert isinstance(pickle.loads(pickle.dumps(logger)), TensorBoardLogger)
