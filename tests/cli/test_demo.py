"""The demonstration, small, as a user runs it: in a process of its own."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tuneflow.analysis import ExperimentAnalysis
from tuneflow.cli.demo import Savings, savings

pytest.importorskip("torch")
pytest.importorskip("sklearn")

COMMAND = [sys.executable, "-m", "tuneflow.cli.main"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, "demo", *options], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def trials(folder: Path) -> list[tuple[object, ...]]:
    return [
        (trial.config, trial.last_result["training_iteration"], trial.last_result["val_loss"])
        for trial in ExperimentAnalysis(folder).trials
    ]


def test_savings():
    assert savings([], epochs=4) == Savings(0, 0, 0, 0)
    assert savings([(4, 1.0)] * 3, epochs=4) == Savings(0, 12, 12, 0)
    assert savings([(1, 2.0), (3, 0.5), (4, 9.0)], epochs=4) == Savings(2, 8, 12, 3 * 2.0 + 0.5)


def test_the_demo_says_what_came_of_it_and_can_be_repeated():
    small = ("--trials", "4", "--epochs", "3", "--seed", "5")
    out = run(*small).stdout
    folders = list(Path("tuneflow_results").iterdir())
    assert len(folders) == 1
    held_out = re.search(r"Held-out accuracy .*: ([\d.]+)%", out)
    assert 20 < float(held_out[1]) <= 100
    stopped = re.search(r"Stopped early: (\d) of 4 trials. (\d+) of 12 epochs were trained; (\d+)% were not", out)
    found = trials(folders[0])
    assert int(stopped[1]) == sum(1 for _, epochs, _ in found if epochs < 3)
    assert int(stopped[2]) == sum(epochs for _, epochs, _ in found)
    assert int(stopped[3]) == round(100 * (1 - int(stopped[2]) / 12))
    assert f"Results: {folders[0]}" in out
    best = min(found, key=lambda trial: trial[2])
    assert f"loss {best[2]:.3f}" in out
    assert f"{best[0]['lr']:.4g}" in out

    # The same seed and number of workers: the same configurations, stopped at the same epochs.
    run(*small, "--folder", "again")
    assert trials(Path("again")) == found


def test_an_interrupted_demo_goes_on():
    with subprocess.Popen(
        [*COMMAND, "demo", "--trials", "16", "--epochs", "9", "--folder", "here"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("Trial "):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    hint = re.search(r"or with: tuneflow (.*)", err)
    n_before = len(ExperimentAnalysis("here").trials)
    assert 1 <= n_before < 16
    assert shlex.split(hint[1]) == ["demo", "--trials", "16", "--epochs", "9", "--folder", "here"]
    run(*shlex.split(hint[1])[1:])
    assert len(ExperimentAnalysis("here").trials) == 16
