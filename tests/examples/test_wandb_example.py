"""The example of W&B: one offline run per trial, as many rows as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wandb")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "wandb_sweep_style.py"


def test_wandb_sweep_style() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    epochs = [int(n) for n in re.findall(r"^\d{5}: loss +[\d.]+ after +(\d+) epochs$", done.stdout, re.MULTILINE)]
    assert len(epochs) == 12
    assert set(epochs) <= {1, 3, 9, 27}
    assert min(epochs) < 27 == max(epochs)
    assert len(list(Path("wandb").glob("offline-run-*/run-*.wandb"))) == 12
    assert re.search(r"^best: .*'momentum': 0\.\d+", done.stdout, re.MULTILINE)
