"""A real server on loopback: what it has of a run with every kind of end, and of one during which it was killed."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path

import pytest

import tuneflow as tune
from tuneflow.cli.main import main
from tuneflow.pruners import Continue, Exploit, Pause, Pruner, Stop
from tuneflow_integrations.mlflow import MLflowLogger

pytestmark = pytest.mark.slow


class Fates(Pruner):
    """Trial 3 is stopped, trial 4 pauses and goes on, trial 5 takes over from trial 0; each at step 2."""

    needs_checkpoints = True

    def __init__(self):
        self.paused = []

    def on_report(self, trial, step, value, checkpoint, decided=None):
        if decided is not None:
            return decided
        if step == 2 and trial == 3:
            return Stop()
        if step == 2 and trial == 4:
            self.paused.append(trial)
            return Pause()
        if step == 2 and trial == 5:
            return Exploit(0, {"x": 0.5, "opt": "sgd"})
        return Continue(save=step == 1)

    def next_resume(self, more=True):
        return self.paused.pop() if self.paused else None

    def state_dict(self):
        return {"paused": self.paused}

    def load_state_dict(self, state):
        self.paused = state["paused"]


def train(config):
    number = tune.get_trial().number
    for step in range(tune.get_trial().start_step + 1, 6):
        if step == 3 and number == 6:
            raise RuntimeError("boom")
        if step == 3 and number == 7:
            os.kill(os.getpid(), 9)

        while step == 2 and number == 5 and not list(Path(tune.get_trial().dir).parent.glob("00000/checkpoint_*")):
            time.sleep(0.05)  # its donor has to have one

        def save(folder, step=step):
            (folder / "step").write_text(str(step))

        tune.report({"loss": 10.0 * number + step, "deep": {"acc": step / 5}, "phase": "late"}, checkpoint=save)


def test_every_end_of_a_trial(server, runs, tmp_path):
    space = {"x": tune.uniform(0, 1), "opt": tune.choice(["adam", "sgd"])}
    logger = MLflowLogger(server.uri, "ends", tags={"team": "blue"}, interval_s=0.1)
    with pytest.raises(tune.errors.TrialsFailed):
        tune.run(
            train, space, metric="loss", mode="min", num_samples=8, resources_per_trial={"cpu": 0.25}, seed=0,
            search_alg="random", scheduler=Fates(), checkpoint_freq=5, callbacks=[logger], verbose=0,
            storage_path=tmp_path, name="exp",
        )  # fmt: skip
    tune.shutdown_workers()
    found = runs(server.uri, "ends")
    parent, children = found.parent(), found.children()
    assert [run.info.run_name for run in children] == [f"exp_{i:05d}" for i in range(8)]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    states = ["COMPLETE"] * 3 + ["PRUNED"] + ["COMPLETE"] * 2 + ["FAIL"] * 2
    assert [run.data.tags["tuneflow.state"] for run in children] == states
    statuses = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    assert [run.info.status for run in children] == [statuses[state] for state in states]
    assert all(run.info.end_time >= run.info.start_time for run in [parent, *children])
    assert all(run.data.tags["team"] == "blue" for run in [parent, *children])

    study = tune.load_study(study_name="exp", storage=tmp_path / "exp" / "study.log")
    last = [5, 5, 5, 2, 5, 5, 2, 2]
    for number, run in enumerate(children):
        expected = [(step, 10.0 * number + step) for step in range(1, last[number] + 1)]
        assert found.history(run, "loss") == expected, "every row, in order, none twice"
        assert found.history(run, "deep/acc") == [(step, step / 5) for step, _ in expected]
        params = study.trials[number].params
        assert run.data.params == {"x": str(params["x"]), "opt": params["opt"]}
        assert run.data.tags["result/phase"] == "late"
    x = study.trials[5].params["x"]
    assert found.history(children[5], "hp/x") == [(0, x), (2, 0.5)]
    assert children[5].data.tags["hp/opt"] == "sgd"
    assert children[5].data.tags["tuneflow.donor"] == "0"
    assert "boom" in children[6].data.tags["tuneflow.error"]
    assert children[7].data.tags["tuneflow.error"].startswith("WorkerLost")
    assert found.artifacts(children[6]) == ["error.txt"]

    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"best_loss": 5.0}
    assert parent.data.tags["tuneflow.best_trial"] == "00000"
    assert parent.data.tags["tuneflow.best_run_id"] == children[0].info.run_id
    assert found.artifacts(parent) == ["best_checkpoint/step"]
    local = found.client.download_artifacts(parent.info.run_id, "best_checkpoint/step", str(tmp_path))
    assert Path(local).read_text() == "5"


@pytest.mark.usefixtures("impatient")
def test_killed_in_the_middle_and_restarted(server, runs, tmp_path, caplog, capsys):
    caplog.set_level(logging.WARNING)

    def report(trial, steps):
        for step in steps:
            trial.report({"loss": 1.0 / step, "acc": float(step)}, step)

    def make(name):
        study = tune.create_study(
            {"x": tune.uniform(0, 1)}, metric="loss", mode="min", storage=tmp_path / f"{name}.log", study_name=name
        )
        logger = MLflowLogger(server.uri, name, interval_s=0.05, flush_timeout_s=30)
        study.add_callback(logger)
        return study, logger

    study, logger = make("killed")
    trials = [study.ask() for _ in range(3)]
    for trial in trials:
        report(trial, range(1, 101))
    server.kill()  # while the batches are on their way
    try:
        for trial in trials:
            report(trial, range(101, 201))
        study.tell(trials[0], 0.5)
        # Another one hears only of a dead server: it ends with what it has kept.
        other, lost = make("lost")
        trial = other.ask()
        report(trial, range(1, 11))
        other.tell(trial, 0.25)
        lost.close()
        hint = re.search(r"were not sent. .* by: tuneflow (sync .*)", caplog.text)[1].split()
        assert main(hint) == 1
        assert "cannot be used now" in capsys.readouterr().err
    finally:
        server.start()
    for trial in trials[1:]:
        report(trial, range(201, 301))
    study.tell(trials[1], 0.5)
    study.tell(trials[2], state=tune.trial.TrialState.FAIL)
    logger.close()
    assert len(re.findall("cannot be used now", caplog.text)) <= 3, "one warning per outage and logger"

    found = runs(server.uri, "killed")
    children = found.children()
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED", "FAILED"]
    for run, n_steps in zip(children, (200, 300, 300), strict=True):
        loss = [(step, 1.0 / step) for step in range(1, n_steps + 1)]
        assert found.history(run, "loss") == loss
        assert found.history(run, "acc") == [(step, float(step)) for step in range(1, n_steps + 1)]
    assert [run.data.metrics.get("final/loss") for run in children] == [0.5, 0.5, None], "told, not reported"
    assert found.parent().info.status == "FINISHED"

    assert main(hint) == 0
    assert "entries sent" in capsys.readouterr().out
    (run,) = runs(server.uri, "lost").children()
    assert runs(server.uri, "lost").history(run, "loss") == [(step, 1.0 / step) for step in range(1, 11)]
    assert run.info.status == "FINISHED"
    assert main(hint) == 0
    assert "nothing was left to send" in capsys.readouterr().out


def test_the_runs_table_in_a_browser(server, browser, runs, tmp_path):
    tune.run(
        train, {"x": tune.uniform(0, 1), "opt": tune.choice(["adam", "sgd"])}, metric="loss", mode="min", num_samples=2,
        callbacks=[MLflowLogger(server.uri, "table", interval_s=0.0)], executor="inline", verbose=0, seed=0,
        storage_path=tmp_path, name="look",
    )  # fmt: skip
    found = runs(server.uri, "table")
    experiment = found.parent().info.experiment_id
    browser.open(f"{server.uri}/#/experiments/{experiment}/runs")
    browser.widen(5000)
    study = "deep('[role=gridcell] a').find(link => link.textContent === 'look')"
    browser.wait_for(f"words().includes('matching runs') && !!({study})", 60)
    assert not browser.run("words().includes('look_00000')"), "the trials are below their study"
    browser.run(f"{study}.closest('[role=gridcell]').querySelector('button').click()")
    browser.wait_for("words().includes('look_00001')")
    browser.run("deep('button').find(button => /more columns/i.test(button.textContent)).click()")
    for group in ("Metrics", "Parameters"):
        node = f"deep('[class*=tree-treenode]').find(node => node.textContent.startsWith('{group}'))"
        browser.wait_for(f"!!({node})")
        browser.run(f"{node}.querySelector('[class*=tree-checkbox]').click()")
    browser.wait_for("deep('[col-id=\"params.`x`\"]').length > 3")
    cells = """Object.fromEntries(deep('[role=row][row-id]').flatMap(row =>
        [...row.querySelectorAll('[role=gridcell]')].map(cell =>
            [row.getAttribute('row-id') + ' ' + cell.getAttribute('col-id'), cell.textContent.trim()])))"""
    shown = browser.run(cells)
    for run in found.children():
        for column in ("metrics.`loss`", "metrics.`deep/acc`", "params.`x`", "params.`opt`"):
            kind, name = column[:-1].split(".`")
            assert shown[f"{run.info.run_id} {column}"] == js(getattr(run.data, kind)[name])
    assert shown[f"{found.parent().info.run_id} metrics.`best_loss`"] == js(found.parent().data.metrics["best_loss"])


def js(value):
    """A value as JavaScript shows it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
