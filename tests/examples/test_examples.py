"""The examples in their short form end with what they promise. That each one runs as it stands is a house test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--quick"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_quickstart():
    out = run("quickstart.py")
    folder = Path(re.search(r"where everything is: (.+)", out)[1])
    assert (folder / "result.json").exists()
    assert float(re.search(r"accuracy on the validation images: ([\d.]+)", out)[1]) > 0.8


@pytest.mark.slow
def test_ask_tell():
    out = run("ask_tell.py")
    states = re.findall(r"^trial +\d+: loss [\d.]+ after epoch (\d), (\w+)$", out, re.MULTILINE)
    assert len(states) == 4
    assert all((epoch == "3") == (state == "complete") for epoch, state in states)
    assert "pruned" in {state for _, state in states}
    assert float(re.search(r"its loss: ([\d.]+)", out)[1]) < 1


@pytest.mark.slow
def test_optuna_objective():
    out = run("optuna_objective.py")
    rows = re.findall(r"^ *\d+ +(\S+) +(COMPLETE|PRUNED)\b", out, re.MULTILINE)
    losses = {state: [float(value) for value, other in rows if other == state] for state in ("COMPLETE", "PRUNED")}
    assert len(rows) == 4
    assert float(re.search(r"their loss: ([\d.]+)", out)[1]) == pytest.approx(min(losses["COMPLETE"]), abs=1e-3)
    # Which of four trials ASHA lets through depends on which of the two workers is first.
    assert min(losses["COMPLETE"] + losses["PRUNED"]) < 1


@pytest.mark.slow
def test_ask_tell_pbt():
    out = run("ask_tell_pbt.py")
    members = re.findall(r"^member (\d): loss ([\d.]+), copied (.+)$", out, re.MULTILINE)
    assert sorted(number for number, _, _ in members) == ["0", "1", "2", "3"]
    losses = [loss for _, loss, _ in members]
    assert len(set(losses)) == 4, "each has trained with its own configuration and is told with its own value"
    assert min(losses, key=float) == re.search(r"its loss: ([\d.]+)", out)[1]
    assert float(min(losses, key=float)) < 0.5
    copies = [(int(number), int(donor)) for number, _, told in members for donor in re.findall(r"(\d) at \d", told)]
    assert copies
    assert all(member != donor for member, donor in copies)


@pytest.mark.slow
def test_asha_promotion():
    out = run("asha_promotion.py")
    resumed = re.findall(r"^trial +(\d): resumed after epoch ([\d, ]+)$", out, re.MULTILINE)
    assert resumed
    assert {epochs for _, epochs in resumed} == {"1"}, "the rungs are at 1 and, the end, at 3"
    n_epochs, n_all = map(int, re.search(r"epochs: (\d+) of the (\d+)", out).groups())
    assert (n_epochs, n_all) == (6 + 2 * len(resumed), 18)
    assert float(re.search(r"its loss: ([\d.]+)", out)[1]) < 1


@pytest.mark.slow
def test_pbt_digits():
    losses = [float(loss) for loss in re.findall(r": loss ([\d.]+) after 9 steps", run("pbt_digits.py"))]
    assert len(losses) == 2
    assert losses[1] < losses[0], "the population beats its best member left alone"
    runs = []
    for folder in sorted(Path("tuneflow_results").iterdir()):
        files = sorted(folder.glob("*/result.json"))
        results = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
        assert [[r["n_steps"] for r in curve] for curve in results] == [list(range(1, 10))] * 4, "nobody trains longer"
        runs.append([[result["loss"] for result in curve] for curve in results])
    fixed, population = runs
    assert [curve[:2] for curve in fixed] == [curve[:2] for curve in population], "the same until the first exploit"
    assert fixed != population


@pytest.mark.slow
def test_hypermodel_torch():
    out = run("hypermodel_torch.py")
    n_epochs, n_trials, most = map(
        int, re.search(r"epochs: (\d+) for (\d+) configurations of up to (\d)", out).groups()
    )
    assert n_trials < n_epochs < n_trials * most
    assert float(re.search(r"accuracy of the best model: ([\d.]+)", out)[1]) > 0.8
    assert len(re.findall(r"^Score: ", out, re.MULTILINE)) == 3


@pytest.mark.slow
def test_hypermodel_keras():
    pytest.importorskip("keras")
    out = run("hypermodel_keras.py")
    assert len(re.findall(r"^Trial \d (?:Complete|Pruned) ", out, re.MULTILINE)) == 3
    assert "'class_name': 'Parent', 'config': {'name': 'dropout', 'values': [True]}" in out
    assert float(re.search(r"accuracy of the best model: ([\d.]+)", out)[1]) > 0.3, "chance is 0.1"


@pytest.mark.slow
def test_tune_script():
    out = run("tune_script.py")  # which runs script_train.py
    trials = re.findall(r"^trial \d{5}: (\d) epochs, loss ([\d.]+)$", out, re.MULTILINE)
    assert len(trials) == 4
    epochs, losses = zip(*trials, strict=True)
    assert set(epochs) == {"1", "3"}, "rungs at 1 and, the end, at 3"
    assert float(min(losses, key=float)) < 0.69, "better than a guess"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 90
