"""What the logger writes, over a SQLite store: names and limits, resuming, checkpoints and models, several studies."""

from __future__ import annotations

import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

import tuneflow as tune
from tuneflow.creation import build_study
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners import PBT
from tuneflow_integrations.mlflow import MLflowLogger

SPACE = {"x": tune.uniform(0, 1)}


def logged(database: str, name: str = "exp", **options: Any) -> MLflowLogger:
    return MLflowLogger(database, name, interval_s=0.02, **options)


def curve(config):
    for step in range(1, 4):
        tune.report({"loss": config["x"] / step})


def test_any_name_and_any_value(database, runs, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "tuneflow")
    config = {
        **SPACE,
        "long": "z" * 7000,
        "k" * 300: 1,
        "a@b": 1,
        "a#b": 2,
        "net//width": 3,
        "../up": 4,
        "/root": 5,
        "ünï": 6,
        "": 7,
        "list": [1, {"a": 2}],
        "none": None,
        "api_key": "sesame",
        "mlflow": {"tags": {"from": "config"}},
    }
    result = {"loss": 0.5, "acc@1": 1.0, "nan": math.nan, "inf": -math.inf, "huge": 10**400, "yes": True}
    result |= {"text": "hello", "list": [1, 2], "none": None, "": 3.0, "m" * 300: 2.0, "s" * 10: "t" * 9000}

    def train(config):
        tune.report(result)

    logger = logged(database, tags={"we?ird": 1})
    tune.run(
        train, config, metric="loss", mode="min", executor="inline", callbacks=[logger], verbose=0,
        storage_path=tmp_path, name="e",
    )  # fmt: skip
    assert "refuses" not in caplog.text
    found = runs(database, "exp")
    (run,) = found.children()
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    assert len(params) == 13
    assert params["long"] == "z" * 5997 + "..."
    assert {key: params[key] for key in ("a_b", "net/width", "_/up", "root", "ünï", "_", "list", "api_key")} == {
        "a_b": "1", "net/width": "3", "_/up": "4", "root": "5", "ünï": "6", "_": "7", "list": '[1, {"a": 2}]',
        "api_key": "********",
    }  # fmt: skip
    assert sorted(value for key, value in params.items() if key.startswith("a_b")) == ["1", "2"], "kept apart"
    assert [len(key) for key in params if key.startswith("kkk")] == [250]
    whole = Path(found.client.download_artifacts(run.info.run_id, "params.json", str(tmp_path))).read_text()
    assert "z" * 7000 in whole
    assert "sesame" not in whole
    assert metrics["acc_1"] == 1.0
    assert math.isnan(metrics["nan"])
    assert metrics["inf"] < -1e300
    assert metrics["huge"] > 1e300
    assert metrics["yes"] == 1.0
    assert not {"text", "list", "none", "timestamp", "pid"} & set(metrics)
    assert (tags["result/text"], tags["result/list"]) == ("hello", "[1, 2]")
    assert len(tags["result/" + "s" * 10]) == 5000
    assert (tags["we_ird"], tags["from"]) == ("1", "config")


def test_what_the_server_refuses_is_left_out_and_said_once(database, runs, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "tuneflow")
    study = build_study(SPACE, metric="loss", mode="min", folder=tmp_path, storage=tmp_path / "s.log", study_name="s")
    logger = logged(database)
    study.add_callback(logger)
    trial = study.ask()
    log = logger._log(study)
    log._sender.drain()
    log._put("0", params={"x": "other"})  # a parameter never changes
    trial.report({"loss": 0.5, "acc": 1.0}, 1)
    study.tell(trial, 0.5)
    logger.close()
    assert caplog.text.count("MLflow refuses param 'x'") == 1
    (run,) = runs(database, "exp").children()
    assert run.data.metrics == {"loss": 0.5, "acc": 1.0, "training_iteration": 1.0}


def test_a_deleted_run_costs_a_warning(database, runs, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "tuneflow")
    study = build_study(SPACE, metric="loss", mode="min", folder=tmp_path, storage=tmp_path / "s.log", study_name="s")
    logger = logged(database)
    study.add_callback(logger)
    first, second = study.ask(), study.ask()
    first.report({"loss": 0.5}, 1)
    logger._log(study)._sender.drain()
    found = runs(database, "exp")
    found.client.delete_run(found.children()[0].info.run_id)
    first.report({"loss": 0.4}, 2)
    second.report({"loss": 0.4}, 1)
    study.tell(first, 0.4)
    study.tell(second, 0.4)
    logger.close()
    assert caplog.text.count("was deleted") == 1
    assert [run.data.tags["tuneflow.trial"] for run in runs(database, "exp").children()] == ["00001"]


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "says"),
    [
        (["no-such-scheme://host"], {}, InvalidArgument, "tracking_uri='no-such-scheme://host' must be"),
        ([3], {}, InvalidArgumentType, "tracking_uri=3 must be a URI"),
        (["weird://me:sesame@host"], {}, InvalidArgument, "tracking_uri="),
        ([None, "  "], {}, InvalidArgument, "experiment_name='  ' must be a name"),
        ([], {"log_checkpoints": "some"}, InvalidArgument, "must be 'best', 'all' or 'none'"),
        ([], {"artifacts": "*.png"}, InvalidArgumentType, "must be a list"),
        ([], {"registered_model_name": "m"}, InvalidArgument, "needs log_model="),
        ([], {"interval_s": -1}, InvalidArgument, "must be >= 0"),
    ],
)
def test_bad_arguments(arguments, options, kind, says):
    with pytest.raises(kind, match=says) as raised:
        MLflowLogger(*arguments, **options)
    assert "sesame" not in str(raised.value)


def test_an_unknown_setting_in_the_configuration_is_refused_before_the_first_trial(database, tmp_path):
    space = {**SPACE, "mlflow": {"experiment": "typo"}}
    says = r"config\['mlflow'\] holds experiment; it may hold tracking_uri, experiment_name and tags"
    with pytest.raises(InvalidArgument, match=says):
        tune.run(
            curve, space, metric="loss", mode="min", executor="inline", verbose=0, callbacks=[logged(database)],
            storage_path=tmp_path, name="e",
        )  # fmt: skip
    assert not (tmp_path / "e").exists()
    with pytest.raises(InvalidArgument, match=says):
        tune.create_study(space, metric="loss", mode="min").add_callback(logged(database))


def test_the_settings_are_in_no_record(database, runs, tmp_path):
    section = {"tracking_uri": database, "experiment_name": "of the section"}
    analysis = tune.run(
        curve, {**SPACE, "mlflow": section}, metric="loss", mode="min", executor="inline", verbose=0,
        callbacks=[MLflowLogger(interval_s=0.02)], storage_path=tmp_path, name="e",
    )  # fmt: skip
    assert list(analysis.best_config) == ["x"]
    (run,) = runs(database, "of the section").children()
    assert list(run.data.params) == ["x"]
    study = tune.load_study(study_name="e", storage=analysis.folder / "study.log")
    assert "of the section" not in repr(study.trials) + repr(study.user_attrs)


def test_nothing_of_the_fluent_api_is_touched_by_studies_at_once(database, runs, tmp_path, monkeypatch):
    mine = f"sqlite:///{tmp_path / 'mine.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mine)
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    one = logged(database)  # for two studies
    other = logged(database, "other")

    def search(name, logger):
        study = tune.create_study(SPACE, metric="loss", mode="min", study_name=name)
        study.optimize(lambda trial: trial.report({"loss": 0.5}, 1) and 0.5, n_trials=3, callbacks=[logger])

    threads = [threading.Thread(target=search, args=each) for each in (("a", one), ("b", one), ("c", other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mlflow.get_tracking_uri() == mine
    assert mlflow.active_run() is None
    assert not (tmp_path / "mine.db").exists()
    names = [run.info.run_name for run in runs(database, "exp").children()]
    assert names == [f"{study}_{i:05d}" for study in "ab" for i in range(3)]
    assert {run.info.status for run in runs(database, "exp").all.values()} == {"FINISHED"}
    assert len(runs(database, "other").children()) == 3


PROGRAM = """
import os, sys
import tuneflow as tune
from tuneflow_integrations.mlflow import MLflowLogger

def train(config):
    for step in range(tune.get_trial().start_step + 1, 7):
        def save(folder):
            (folder / "x").write_text("x")
        tune.report({"loss": config["x"] / step}, checkpoint=save)

class Killer(tune.Callback):
    def on_trial_report(self, trial, result):
        if moment == "report" and trial.number == 1 and trial.last_step == 3:
            os.kill(os.getpid(), 9)
    def on_trial_end(self, trial):
        if moment == "end" and trial.number == 1:
            os.kill(os.getpid(), 9)

folder, uri, moment = sys.argv[1:]
logger = MLflowLogger(uri, "exp", interval_s=0.02)
tune.run(
    train, {"x": tune.grid_search([1.0, 2.0, 3.0])}, metric="loss", mode="min", executor="inline", verbose=0,
    storage_path=folder, name="exp", resume="auto", callbacks=[Killer(), logger], checkpoint_freq=1,
)
"""


@pytest.mark.slow
def test_a_killed_driver_goes_on_in_the_same_runs(database, runs, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    for now, status in (("report", -signal.SIGKILL), ("end", -signal.SIGKILL), ("never", 0)):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(program), str(tmp_path), database, now],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
    found = runs(database, "exp")
    assert [run.info.run_name for run in found.children()] == [f"exp_{i:05d}" for i in range(3)]
    assert {run.info.status for run in found.all.values()} == {"FINISHED"}
    for number, run in enumerate(found.children()):
        assert found.history(run, "loss") == [(step, (number + 1) / step) for step in range(1, 7)]
        assert run.data.params == {"x": str(number + 1.0)}
    assert found.parent().data.metrics["best_loss"] == 1 / 6


def test_a_torn_spool_and_a_lost_answer_are_sent_again_and_nothing_is_there_twice(database, runs, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()

    def open_study(again):
        study = build_study(
            SPACE, metric="loss", mode="min", folder=folder, storage=folder / "s.log", study_name="s",
            load_if_exists=again,
        )  # fmt: skip
        study.adopt()
        return study, logged(database)

    study, logger = open_study(False)
    study.add_callback(logger)
    trial = study.ask()
    for step in (1, 2, 3):
        trial.report({"loss": 1.0 / step}, step)
    log = logger._logs.pop(study)  # this process is gone
    log._sender.drain()
    spool = log.spool.folder
    (spool / "sent.json").unlink()  # it was killed before it could note that ...
    book = (spool / "runs.jsonl").read_text().splitlines()
    (spool / "runs.jsonl").write_text("\n".join(line for line in book if '"id"' not in line) + "\n")  # ... or the ids
    entries = (spool / "entries.jsonl").read_bytes()
    (spool / "entries.jsonl").write_bytes(entries[:-9])

    study, logger = open_study(True)
    study.add_callback(logger)
    trial = study.ask()
    trial.report({"loss": 0.25}, 4)
    study.tell(trial, 0.25)
    logger.close()
    found = runs(database, "exp")
    assert len(found.all) == 2
    (run,) = found.children()
    steps = [step for step, _ in found.history(run, "loss")]
    assert sorted(set(steps)) == [1, 2, 3, 4]
    assert steps.count(3) <= 2, "the torn one was on the server, and its time is not known any more"
    assert run.info.status == "FINISHED"


def test_studies_of_a_database_go_on_in_their_runs(database, runs, tmp_path):
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    for _ in range(2):
        study = tune.create_study(
            SPACE, metric="loss", mode="min", storage=storage, study_name="shared", load_if_exists=True
        )
        logger = logged(database)
        study.optimize(lambda trial: trial.report({"loss": 0.5}, 1) and 0.5, n_trials=2, callbacks=[logger])
    found = runs(database, "exp")
    assert [run.info.run_name for run in found.children()] == [f"shared_{i:05d}" for i in range(4)]
    assert found.parent().info.status == "FINISHED"


def test_a_population_s_changes_are_metrics(database, runs):
    study = tune.create_study(
        {"x": tune.uniform(0, 1), "opt": "adam"}, metric="loss", mode="min", study_name="pbt",
        pruner=PBT({"x": tune.uniform(0, 1)}, perturbation_interval=1, quantile_fraction=0.5), seed=0,
    )  # fmt: skip
    logger = logged(database)
    study.add_callback(logger)
    good, bad = study.ask(), study.ask()
    first = bad.config["x"]
    good.report({"loss": 0.1}, 1, checkpoint={"state": 1})
    second = bad.report({"loss": 0.9}, 1, checkpoint={"state": 2}).config["x"]
    for trial in (good, bad):
        study.tell(trial, 0.5)
    logger.close()
    found = runs(database, "exp")
    assert found.history(found.children()[1], "hp/x") == [(0, first), (1, second)]
    assert found.children()[1].data.params["x"] == str(first)
    assert "hp/x" not in found.children()[0].data.metrics


def save_model(checkpoint: Path, target: Path) -> None:
    class Constant(mlflow.pyfunc.PythonModel):
        def predict(self, model_input: list[str]) -> list[str]:
            return [(checkpoint / "step").read_text()] * len(model_input)

    mlflow.pyfunc.save_model(str(target), python_model=Constant(), pip_requirements=[])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of MLflow's, on models
def test_checkpoints_and_models(database, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a server artifacts go to ./mlruns

    def train(config):
        for step in range(1, 4):

            def save(folder, step=step):
                (folder / "step").write_text(str(step))

            tune.report({"loss": config["x"] * abs(step - 2)}, checkpoint=save)

    logger = logged(
        database, log_checkpoints="all", artifacts=["*.csv", "params.json"], log_model=save_model,
        registered_model_name="best-model",
    )  # fmt: skip
    tune.run(
        train, {"x": tune.grid_search([3, 1, 2])}, metric="loss", mode="min", executor="inline", callbacks=[logger],
        checkpoint_freq=1, keep_checkpoints_num=2, verbose=0, storage_path=tmp_path, name="e",
    )  # fmt: skip
    found = runs(database, "exp")
    for run in found.children():
        checkpoints = [f"checkpoints/checkpoint_{step:06d}/step" for step in (1, 2, 3)]
        assert sorted(found.artifacts(run)) == [*checkpoints, "params.json", "progress.csv"], "deleted ones as well"
    parent = found.parent()
    assert [path for path in found.artifacts(parent) if "model" not in path] == ["best_checkpoint/step"]
    assert parent.data.tags["tuneflow.best_trial"] == "00001"
    assert parent.data.tags["tuneflow.best_checkpoint"] == "trial 1, step 2"
    (version,) = found.client.search_model_versions("name = 'best-model'")
    assert version.run_id == parent.info.run_id
    model = found.client.get_logged_model(version.source.removeprefix("models:/"))
    assert model.source_run_id == parent.info.run_id
    assert str(model.status) == "READY"
    left = [path.name for path in (tmp_path / "e" / "tracking").rglob("*") if path.is_file()]
    assert sorted(left) == ["entries.jsonl", "lock", "runs.jsonl", "runs.lock", "sent.json", "target.json"]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_does_not_answer_delays_nobody(tmp_path, caplog):
    """It takes connections and says nothing: the worst kind."""
    import socket

    caplog.set_level(logging.WARNING, "tuneflow")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://me:sesame@127.0.0.1:{silent.getsockname()[1]}"
        study = build_study(SPACE, metric="loss", mode="min", folder=tmp_path, storage=tmp_path / "s", study_name="s")
        logger = MLflowLogger(uri, interval_s=0.0, flush_timeout_s=0.2)
        study.add_callback(logger)
        trial = study.ask()
        trial.report({"loss": 1.0}, 1)
        time.sleep(0.1)  # the thread is waiting for an answer now
        start_s = time.perf_counter()
        for step in range(2, 202):
            trial.report({"loss": 1.0 / step}, step)
        study.tell(trial, 0.5)
        assert time.perf_counter() - start_s < 2.0
        logger.close()
        assert time.perf_counter() - start_s < 4.0
    assert f"tuneflow sync {tmp_path}" in caplog.text
    assert "sesame" not in caplog.text


def test_a_password_is_in_no_file_and_no_line(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    uri = "http://me:sesame@127.0.0.1:1"
    for name, config, logger in (
        ("given", {}, MLflowLogger(uri, "e", interval_s=0.0)),
        ("in-config", {"mlflow": {"tracking_uri": uri, "experiment_name": "e"}}, MLflowLogger(interval_s=0.0)),
    ):
        analysis = tune.run(
            curve, {**SPACE, "n": tune.randn(0, 1), **config}, metric="loss", mode="min", executor="inline",
            callbacks=[logger], verbose=3, storage_path=tmp_path, name=name,
        )  # fmt: skip
        assert "sesame" not in repr(logger)
        study = tune.load_study(study_name=name, storage=analysis.folder / "study.log")
        assert "sesame" not in repr(study.trials) + repr(study.user_attrs)
        with pytest.raises(tune.errors.TrackingUnavailable) as raised:
            __import__("tuneflow_integrations.mlflow_sync", fromlist=["sync"]).sync(analysis.folder, uri)
        assert "sesame" not in str(raised.value)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes(), path
    out = capfd.readouterr()
    assert "sesame" not in out.out + out.err + caplog.text
    assert "cannot be used now" in caplog.text


def test_a_loop_of_ones_own_is_sent_at_the_end_of_the_process(database, runs, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, tuneflow as tune\n"
        "from tuneflow_integrations.mlflow import MLflowLogger\n"
        "def search():\n"
        "    study = tune.create_study({'x': tune.uniform(0, 1)}, metric='loss', mode='min', study_name='own')\n"
        "    study.add_callback(MLflowLogger(sys.argv[1], 'exp'))\n"
        "    for _ in range(2):\n"
        "        trial = study.ask()\n"
        "        trial.report({'loss': 0.5}, 1)\n"
        "        study.tell(trial, 0.5)\n"
        "search()\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), database], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = runs(database, "exp")
    assert [run.info.status for run in (found.parent(), *found.children())] == ["FINISHED"] * 3


def test_an_interrupted_study_says_so_and_a_resumed_one_takes_it_back(database, runs, tmp_path):
    class Interrupt(tune.Callback):
        pass

    def train(config):
        for step in range(1, 4):
            if step == 2 and interrupts:
                raise KeyboardInterrupt
            tune.report({"loss": config["x"] / step})

    interrupts = True
    arguments = {"metric": "loss", "mode": "min", "executor": "inline", "verbose": 0, "storage_path": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        tune.run(train, {"x": tune.grid_search([1.0])}, callbacks=[logged(database)], name="e", **arguments)
    found = runs(database, "exp")
    assert [run.info.status for run in (found.parent(), *found.children())] == ["KILLED", "KILLED"]
    assert found.children()[0].data.tags["tuneflow.state"] == "INTERRUPTED"
    interrupts = False
    tune.run(train, {"x": tune.grid_search([1.0])}, callbacks=[logged(database)], name="e", resume=True, **arguments)
    found = runs(database, "exp")
    assert [run.info.status for run in (found.parent(), *found.children())] == ["FINISHED", "FINISHED"]
    assert found.history(found.children()[0], "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_logger_can_be_kept_for_a_resume(database, tmp_path):
    logger = logged(database)
    study = tune.create_study(SPACE, metric="loss", mode="min")
    study.add_callback(logger)
    study.ask()
    copy = pickle.loads(pickle.dumps(logger))
    assert (repr(copy), copy._logs) == (repr(logger), {})
    logger.close()
