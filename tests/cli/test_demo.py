"""The demonstration, small: what it prints, that it can be repeated, and that an interrupted one goes on."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tuneflow as tune
from tuneflow.analysis import ExperimentAnalysis
from tuneflow.cli.demo import Savings, savings
from tuneflow.cli.main import main

pytest.importorskip("torch")
pytest.importorskip("sklearn")


def trials(folder: Path) -> list[tuple[object, ...]]:
    return [
        (trial.config, trial.last_result["training_iteration"], trial.last_result["val_loss"])
        for trial in ExperimentAnalysis(folder).trials
    ]


def test_savings():
    assert savings([], epochs=4) == Savings(0, 0, 0, 0)
    assert savings([(4, 1.0)] * 3, epochs=4) == Savings(0, 12, 12, 0)
    assert savings([(1, 2.0), (3, 0.5), (4, 9.0)], epochs=4) == Savings(2, 8, 12, 3 * 2.0 + 0.5)


@pytest.fixture
def _workers_end():
    yield
    tune.shutdown_workers()


@pytest.mark.slow
@pytest.mark.usefixtures("_workers_end")
def test_the_demo_says_what_came_of_it_and_can_be_repeated(capsys):
    small = ["demo", "--trials", "4", "--epochs", "3", "--seed", "5"]
    assert main(small) == 0
    out = capsys.readouterr().out
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
    assert main([*small, "--folder", "again"]) == 0
    assert trials(Path("again")) == found


@pytest.mark.slow
def test_an_interrupted_demo_goes_on():
    command = [sys.executable, "-m", "tuneflow.cli.main"]
    with subprocess.Popen(
        [*command, "demo", "--trials", "10", "--epochs", "6", "--folder", "here"],
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
    assert 1 <= n_before < 10
    assert shlex.split(hint[1]) == ["demo", "--trials", "10", "--epochs", "6", "--folder", "here"]
    subprocess.run([*command, *shlex.split(hint[1])], check=True, timeout=100)
    assert len(ExperimentAnalysis("here").trials) == 10
