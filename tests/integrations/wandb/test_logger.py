"""The logger in any kind of loop, and what it does with odd values, odd ends and odd servers."""

from __future__ import annotations

import logging
import math
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

import tuneflow as tune
from tuneflow.pruners import ASHA
from tuneflow_integrations.wandb import WandbLogger

SPACE = {"x": tune.uniform(0, 1)}
KEY = "0123456789abcdef" * 3


def rows_of(run: Any, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row.get(name) for name in names) for row in run.rows]


def test_a_loop_of_ones_own(read_runs: Callable[..., Any]) -> None:
    study = tune.create_study(
        {**SPACE, "wandb": {"project": "p", "notes": "mine"}}, metric="loss", mode="min", seed=0, study_name="loop",
        pruner=ASHA(9, reduction_factor=3, promote=True),
    )  # fmt: skip
    study.add_callback(WandbLogger)
    configs, reported = {}, {}
    while (trial := study.ask(new=len(study.trials) < 6)) is not None:
        configs[trial.number] = trial.config
        step = trial.checkpoint or 0
        while step < 9:
            step += 1
            loss = trial.config["x"] / step
            reported.setdefault(trial.number, []).append((loss, step))
            if trial.report({"loss": loss}, step, checkpoint=step).should_stop:
                break
        if not trial.is_paused:
            study.tell(trial, loss)
    study.close()
    runs = read_runs()
    assert {number: rows_of(run, "loss", "training_iteration") for number, run in runs.items()} == reported
    assert {number: run.config for number, run in runs.items()} == configs
    assert {run.group for run in runs.values()} == {"loop"}
    states = {trial.number: trial.state.name.lower() for trial in study.trials}
    assert set(states.values()) == {"complete", "pruned"}
    assert {number: run.tags for number, run in runs.items()} == {number: (state,) for number, state in states.items()}
    assert {run.exit_code for run in runs.values()} == {0}


def test_optimize_and_parameters_that_come_up_later(read_runs: Callable[..., Any]) -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.report(x, 1)
        if trial.suggest_categorical("kind", ["good", "bad"]) == "bad":
            raise ValueError("bad")
        return x

    study = tune.create_study(mode="min", seed=3, sampler="random")
    study.optimize(objective, n_trials=6, catch=ValueError, callbacks=[WandbLogger("p", name="try {trial_id}")])
    runs = read_runs()
    assert {number: run.config for number, run in runs.items()} == {t.number: t.params for t in study.trials}
    assert [run.name for run in runs.values()] == [f"try {number:05d}" for number in range(6)]
    ends = {(run.config["kind"], run.tags, run.exit_code) for run in runs.values()}
    assert ends == {("good", ("complete",), 0), ("bad", ("failed",), 1)}
    assert all("value" in run.summary for run in runs.values() if run.exit_code == 0)


def test_odd_values(read_runs: Callable[..., Any]) -> None:
    study = tune.create_study({"x": 1, "layers": [8, {"units": 4}], "token": "hidden"}, metric="loss")
    study.add_callback(WandbLogger("p", excludes=["gone", "val/gone"], log_config=True))
    trial = study.ask()
    trial.report({
        "loss": np.float32(0.5), "nan": math.nan, "inf": -math.inf, "text": "said", "none": None, "is": True,
        "list": [1, np.int64(2)], "array": np.arange(3), "object": object, "gone": 1, "goner": 2, 5: "five",
        "val": {"gone": {"too": 1}, "kept": {"deep": 3}}, "_step": 77, "_timestamp": 1, "api_key": "hidden",
        "histogram": wandb.Histogram([1, 2, 3]), "big": 10**25, "done": False, "trial_id": "x",
    }, 1)  # fmt: skip
    study.tell(trial, 0.5)
    study.close()
    (row,) = read_runs()[0].rows
    assert math.isnan(row.pop("nan"))
    assert row.pop("_timestamp") > 1e9
    assert row.pop("_runtime") >= 0
    assert {name: value for name, value in row.items() if not name.startswith("histogram")} == {
        "loss": 0.5, "inf": "-Infinity", "text": "said", "none": None, "is": True, "list": [1, 2], "array": [0, 1, 2],
        "object": "<class 'object'>", "goner": 2, "5": "five", "val/kept/deep": 3, "_step": 0, "result/_step": 77,
        "result/_timestamp": 1, "api_key": "********", "big": 1e25, "training_iteration": 1, "config/x": 1,
        "config/layers": [8, {"units": 4}], "config/token": "********",
    } | {"inf": row["inf"]}  # fmt: skip
    assert [name for name in row if name.startswith("histogram")]


def test_passwords_in_urls_reach_no_run(read_runs: Callable[..., Any]) -> None:
    url = "postgres://me:sesame@h/db"
    study = tune.create_study({"x": 1, "url": url, "wandb": {"project": "p"}}, metric="loss")
    study.add_callback(
        WandbLogger(log_config=True, notes=url, tags=[url], config={"extra": url, "secret_key": "sesame"})
    )
    trial = study.ask()
    result = {"loss": 1.0, "url": url, "deep": {"urls": [url]}, "credentials": {"user": "sesame"}, "n_tokens": 3}
    trial.report(result, 1)
    study.tell(trial, 1.0)
    study.close()
    run = read_runs()[0]
    (row,) = run.rows
    assert (row["url"], row["config/url"]) == ("postgres://********@h/db",) * 2
    assert (row["deep/urls"], row["credentials/user"], row["n_tokens"]) == (["postgres://********@h/db"], "********", 3)
    assert b"sesame" not in run.path.read_bytes()


class Stops(tune.Callback):
    """Presses Ctrl-C."""

    def on_trial_report(self, trial: Any, result: dict[str, Any]) -> None:
        if trial.number == 1 and result["training_iteration"] == 2:
            raise KeyboardInterrupt


def steps(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    start = 0 if checkpoint is None else int((checkpoint.path / "step").read_text())
    for step in range(start + 1, 4):
        tune.report(
            {"loss": config["x"] / step}, checkpoint=lambda folder, s=step: (folder / "step").write_text(str(s))
        )


def test_an_interrupted_run_goes_on_as_the_same_run(
    tmp_path: Path, read_files: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {
        "metric": "loss", "mode": "min", "num_samples": 2, "executor": "inline", "verbose": 0, "name": "e",
        "storage_path": tmp_path, "checkpoint_freq": 1, "seed": 0,
    }  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        tune.run(steps, SPACE, callbacks=[WandbLogger("p"), Stops()], **settings)
    left = {run.id[-5:]: run for run in read_files()}["00001"]
    assert (left.tags, left.summary["state"], left.exit_code, left.is_preempted) == (
        ("interrupted",), "interrupted", 1, True,
    )  # fmt: skip
    tune.run(steps, SPACE, callbacks=[WandbLogger("p")], resume=True, **settings)
    files = [run for run in read_files() if run.id == left.id]
    assert len(files) == 2, "offline each process has a file of its own; W&B joins them by the id"
    assert sorted(run.tags for run in files) == [("complete",), ("interrupted",)]
    seen = sorted(step for run in files for (step,) in rows_of(run, "training_iteration"))
    assert seen == [1, 2, 3]
    capsys.readouterr()


@pytest.mark.parametrize("given", [None, "mine"])
def test_loggers_of_one_study_have_runs_of_their_own(
    given: str | None, tmp_path: Path, read_files: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tuneflow")
    settings: dict[str, Any] = {
        "metric": "loss", "mode": "min", "num_samples": 1, "executor": "inline", "verbose": 0, "name": "e",
        "storage_path": tmp_path, "checkpoint_freq": 1, "seed": 0,
    }  # fmt: skip

    class StopsFirst(tune.Callback):
        def on_trial_report(self, trial: Any, result: dict[str, Any]) -> None:
            if result["training_iteration"] == 2:
                raise KeyboardInterrupt

    def loggers() -> list[Any]:
        return [WandbLogger(project, id=given, upload_checkpoints=True) for project in ("p", "q")]

    with pytest.raises(KeyboardInterrupt):
        tune.run(steps, SPACE, callbacks=[*loggers(), StopsFirst()], **settings)
    tune.run(steps, SPACE, callbacks=loggers(), resume=True, **settings)
    files = read_files()
    ids = {project: {run.id for run in files if run.project == project} for project in ("p", "q")}
    assert [len(found) for found in ids.values()] == [1, 1], "the same after a resume"
    (first,), (second,) = ids.values()
    assert second == f"{first[:-6]}-2-00000"
    for project in ("p", "q"):
        mine = [run for run in files if run.project == project]
        assert sorted(step for run in mine for (step,) in rows_of(run, "training_iteration")) == [1, 2, 3]
        assert sum(len(run.artifacts) for run in mine) == 2, "the second one was not heard of any more"
    assert "W&B" not in caplog.text


def test_a_paused_trial_is_left_paused(read_runs: Callable[..., Any]) -> None:
    study = tune.create_study(SPACE, metric="loss", pruner=ASHA(9, reduction_factor=3, promote=True), seed=0)
    study.add_callback(WandbLogger("p"))
    trial = study.ask()
    trial.report({"loss": 1.0}, 1, checkpoint=1)
    assert trial.is_paused
    study.close()
    run = read_runs()[0]
    assert (run.tags, run.summary["state"], run.is_preempted) == (("paused",), "paused", True)


@pytest.mark.parametrize("kind", ["", "raise RuntimeError('boom')"])
def test_a_loop_that_never_closes_its_study_loses_nothing(kind: str, read_runs: Callable[..., Any]) -> None:
    code = f"""
    import tuneflow as tune
    from tuneflow_integrations.wandb import WandbLogger

    study = tune.create_study({{"x": 1}}, metric="loss")
    study.add_callback(WandbLogger("p"))
    done, left = study.ask(), study.ask()
    for step in range(1, 301):
        done.report({{"loss": 1 / step}}, step)
    study.tell(done, 0.5)
    left.report({{"loss": 1.0}}, 1)
    {kind}
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == bool(kind), ended.stderr
    done, left = read_runs().values()
    assert rows_of(done, "training_iteration") == [(step,) for step in range(1, 301)]
    assert (done.tags, done.exit_code) == (("complete",), 0)
    assert (rows_of(left, "loss"), left.tags, left.exit_code) == ([(1.0,)], ("interrupted",), 1)


def test_checkpoints_become_artifacts(tmp_path: Path, read_runs: Callable[..., Any]) -> None:
    study = tune.create_study(SPACE, metric="loss", storage=tmp_path / "study.log")
    study.add_callback(WandbLogger("p", upload_checkpoints=True))
    trial = study.ask()
    for step in (1, 2):
        (tmp_path / "weights").write_text("w" * step)
        trial.report({"loss": 1.0}, step, checkpoint=tmp_path / "weights")
    study.tell(trial, 1.0)
    study.close()
    run = read_runs()[0]
    assert [artifact.type for artifact in run.artifacts] == ["model", "model"]
    assert {artifact.name for artifact in run.artifacts} == {f"checkpoint-{run.id}"}
    contents = [[(entry.path, entry.size) for entry in a.manifest.contents] for a in run.artifacts]
    assert [("weights", 1) in entries for entries in contents] == [True, False]
    assert [("weights", 2) in entries for entries in contents] == [False, True]
    assert [artifact.metadata for artifact in run.artifacts] == ['{"step":1}', '{"step":2}']
    assert {path.name for path in trial.dir.iterdir()} == {"checkpoint_000001", "checkpoint_000002"}


def test_disabled_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(**arguments: Any) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("wandb.init", forbidden)
    for logger in (WandbLogger(mode="disabled"), WandbLogger(settings={"mode": "disabled"})):
        study = tune.create_study(SPACE)
        study.optimize(lambda trial: trial.report(1.0, 1) and 1.0, n_trials=1, callbacks=[logger])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tune.create_study(SPACE).optimize(lambda trial: 1.0, n_trials=1, callbacks=[WandbLogger])
    assert not Path("wandb").exists()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
    for connection in held:
        connection.close()


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_a_server_that_cannot_be_reached_delays_no_trial_and_loses_nothing(
    kind: str, silent_server: str, caplog: pytest.LogCaptureFixture, read_runs: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("WANDB_MODE")
    url = "http://127.0.0.1:9" if kind == "dead" else silent_server
    logger = WandbLogger("p", api_key=KEY, mode="online", settings={"base_url": url, "init_timeout": 1.5})
    study = tune.create_study(SPACE, metric="loss", seed=0)
    slowest = 0.0

    def objective(trial: Any) -> float:
        nonlocal slowest
        for step in range(1, 101):
            start = time.perf_counter()
            trial.report({"loss": 1 / step}, step)
            slowest = max(slowest, time.perf_counter() - start)
        return 0.01

    start = time.perf_counter()
    with caplog.at_level(logging.WARNING, logger="tuneflow"):
        study.optimize(objective, n_trials=3, callbacks=[logger])
    assert slowest < 0.5, "the server would take 1.5 s"
    assert time.perf_counter() - start < 10, "the second trial does not ask the server again"
    runs = read_runs()
    assert {n: rows_of(run, "training_iteration") for n, run in runs.items()} == {
        n: [(step,) for step in range(1, 101)] for n in range(3)
    }
    assert {run.tags for run in runs.values()} == {("complete",)}
    assert len([record for record in caplog.records if "cannot be reached" in record.getMessage()]) == 1
    assert "wandb sync" in caplog.text
    assert KEY not in caplog.text


def test_a_run_that_cannot_be_opened_at_all_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**arguments: Any) -> None:
        raise RuntimeError(f"no room for {arguments['settings'].api_key}")

    monkeypatch.setattr("wandb.init", refuse)
    study = tune.create_study(SPACE, metric="loss")
    with caplog.at_level(logging.WARNING, logger="tuneflow"):
        study.optimize(
            lambda trial: trial.report(1.0, 1) and 1.0, n_trials=2, callbacks=[WandbLogger("p", api_key=KEY)]
        )
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    assert "no room for ********" in caplog.text
    assert "1 of trial 0, 1 of trial 1" in caplog.text
    assert KEY not in caplog.text
