"""The disk is full in the middle of a run: it says so, nothing is broken, and it goes on once there is room."""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

import tuneflow as tune
from tuneflow.errors import StorageNotWritten, TuneflowError
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


def test_a_study_in_sqlite_says_that_the_disk_is_full_and_goes_on(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 250_000)
    storage = f"sqlite:///{small_disk}/study.db"
    study = tune.create_study({"x": tune.uniform(0, 1)}, sampler="random", storage=storage, study_name="s", seed=0)

    def work(trial: tune.Trial) -> None:
        for step in range((trial.last_step or 0) + 1, 6):
            trial.report(1 / step, step)
        study.tell(trial, 0.2)

    told: list[int] = []
    trial = study.ask()

    def fill() -> None:
        nonlocal trial
        while len(told) < 500:
            work(trial)
            told.append(trial.number)
            trial = study.ask()

    with pytest.raises(StorageNotWritten, match=r"study\.db: database or disk is full") as raised:
        fill()
    assert raised.value.errno == errno.ENOSPC
    assert not isinstance(raised.value, optuna.exceptions.OptunaError)
    ballast.unlink()
    if trial.number not in told:  # the one whose call was refused goes on where it was
        work(trial)
        told.append(trial.number)
    for _ in range(3):
        trial = study.ask()
        work(trial)
        told.append(trial.number)
    study.close()
    stored = optuna.load_study(study_name="s", storage=storage).get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert [trial.number for trial in stored] == told
    assert all(sorted(trial.intermediate_values) == [1, 2, 3, 4, 5] for trial in stored)
