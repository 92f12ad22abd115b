"""The disk is full in the middle of a run: it says so, nothing is broken, and it goes on once there is room."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuneflow as tune
from tuneflow.errors import TuneflowError
from tuneflow.pruners import ASHA


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    tune.shutdown_workers()
    subprocess.run(["umount", "-l", str(folder)], check=True)


def train(config):
    checkpoint = tune.get_checkpoint()
    start = 0 if checkpoint is None else int((checkpoint.path / "n").read_text())
    for step in range(start + 1, 28):

        def save(folder: Path, step: int = step) -> None:
            (folder / "n").write_text(str(step))

        tune.report({"loss": config["x"] + 1 / step, "padding": "x" * 500}, checkpoint=save)


def run(storage: Path, **given):
    return tune.run(
        train,
        {"x": tune.uniform(0, 1)},
        metric="loss",
        mode="min",
        num_samples=20,
        name="full",
        storage_path=storage,
        scheduler=ASHA(27, reduction_factor=3, promote=True),
        seed=1,
        deterministic=True,
        verbose=0,
        **given,
    )


@pytest.mark.filterwarnings("ignore:trial .* goes on without a checkpoint")  # it could not be saved
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_run_on_a_full_disk_says_so_and_goes_on_later(small_disk: Path, executor: str) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 430_000)
    with pytest.raises((TuneflowError, OSError)) as caught:
        run(small_disk, executor=executor)
    assert "free some space" in str(caught.value) or "No space left" in str(caught.value)
    ballast.unlink()
    analysis = run(small_disk, executor=executor, resume=True, raise_on_failed_trial=False)
    assert len(analysis.trials) == 20
    failed = [trial for trial in analysis.trials if trial.status == "ERROR"]
    assert all("No space left" in str(trial.error) for trial in failed)
    assert len(failed) < 5
    for trial in analysis.trials:
        assert trial.status in ("TERMINATED", "ERROR")
        rows = [json.loads(row) for row in (Path(trial.logdir) / "result.json").read_text().splitlines()]
        assert [row["training_iteration"] for row in rows] == list(range(1, len(rows) + 1))
    assert analysis.best_result["training_iteration"] == 27
