"""``tune.run`` killed at the worst moments, then resumed by another process."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys
import tuneflow as tune
from tuneflow.callbacks import Callback, CsvLogger, JsonLogger

def train(config):
    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            start = int((folder / "step").read_text())
    for step in range(start + 1, 9):
        def save(folder, step=step):
            (folder / "step").write_text(str(step))
        tune.report({"loss": config["x"] / step, "deep": {"step": step}}, checkpoint=save)

class Killer(Callback):
    def on_trial_report(self, trial, result):
        if trial.number == 1 and result["training_iteration"] == 5:
            os.kill(os.getpid(), signal.SIGKILL)

folder, moment, checkpoint_freq = sys.argv[1], sys.argv[2], int(sys.argv[3])
own = [JsonLogger, CsvLogger]
loggers = {"before": [Killer, *own], "between": [own[0], Killer, own[1]], "after": [*own, Killer], "never": own}
tune.run(
    train, {"x": tune.grid_search([1.0, 2.0, 3.0])}, metric="loss", mode="min", executor="inline", verbose=0,
    storage_path=folder, name="exp", resume="auto", loggers=loggers[moment], checkpoint_freq=checkpoint_freq,
)
"""


def run(folder: Path, moment: str, checkpoint_freq: int) -> int:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), str(folder), moment, str(checkpoint_freq)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize(("moment", "checkpoint_freq"), [("before", 0), ("between", 2), ("after", 0)])
def test_no_gaps_and_no_doubled_lines(tmp_path, moment, checkpoint_freq):
    assert run(tmp_path, moment, checkpoint_freq) == -signal.SIGKILL
    logdir = tmp_path / "exp" / "00001"
    before = (logdir / "result.json").read_bytes()
    if moment == "after":  # and the system lost a part of the last line
        (logdir / "result.json").write_bytes(before[:-20])
    assert run(tmp_path, "never", checkpoint_freq) == 0
    for number in range(3):
        folder = tmp_path / "exp" / f"{number:05d}"
        results = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
        assert [result["training_iteration"] for result in results] == list(range(1, 9))
        assert [result["loss"] for result in results] == [(number + 1.0) / step for step in range(1, 9)]
        with (folder / "progress.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["training_iteration"]) for row in rows] == list(range(1, 9))
        assert [float(row["loss"]) for row in rows] == [(number + 1.0) / step for step in range(1, 9)]
    assert (logdir / "result.json").read_bytes().startswith(before.rpartition(b"\n{")[0])
