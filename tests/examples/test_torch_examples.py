"""The PyTorch and Lightning examples, in their short form, on the CPU: in this process where they start no other.

They are torch_training, lightning_module, lightning_pbt and two_half_gpus.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    def run(name):
        monkeypatch.setattr(sys, "argv", [name, "--quick"])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_torch_training(run):
    lines = re.findall(r"^trial \d+: accuracy ([\d.]+) after (\d) epochs", run("torch_training.py"), re.MULTILINE)
    accuracies, n_epochs = zip(*lines, strict=True)
    assert len(lines) == 4
    assert set(n_epochs) <= {"1", "4"}, "ASHA's rungs"
    assert "4" in n_epochs
    assert float(max(accuracies)) > 0.8


@pytest.mark.slow
def test_lightning_module(run):
    pytest.importorskip("lightning")
    lines = re.findall(r"^trial \d: (\w+), loss ([\d.]+) after (\d) epochs", run("lightning_module.py"), re.MULTILINE)
    assert [(state == "COMPLETE") == (n_epochs == "4") for state, _, n_epochs in lines] == [True] * 4
    assert {state for state, _, _ in lines} == {"COMPLETE", "PRUNED"}
    assert min(float(loss) for _, loss, _ in lines) < 0.5


@pytest.mark.slow
def test_lightning_pbt(run):
    pytest.importorskip("lightning")
    pattern = r"^best (.+): loss ([\d.]+) after 8 epochs, rate ([\d.]+)$"
    fixed, population = re.findall(pattern, run("lightning_pbt.py"), re.MULTILINE)
    assert float(population[1]) < float(fixed[1]), "the population ends above the best of the same members left alone"
    assert population[2] != fixed[2]


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_two_half_gpus(device):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "two_half_gpus.py"), "--quick"],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.findall(r" on (\S+) \(visible", done.stdout) == [device] * 2
