"""A driver that was killed, and the one that goes on: the files end up as if nothing had happened."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneflow.callbacks import CsvLogger, JsonLogger
from tuneflow.creation import build_study
from tuneflow.listening import _logger as tuneflow_logger

Make = Callable[..., Any]
SPACE = {"x": 1}


def steps_in(folder: Path) -> tuple[list[int], list[int]]:
    """The steps that result.json and progress.csv hold."""
    lines = [json.loads(line)["training_iteration"] for line in (folder / "result.json").read_text().splitlines()]
    with (folder / "progress.csv").open(newline="") as file:
        rows = [int(row["training_iteration"]) for row in csv.DictReader(file)]
    return lines, rows


def attach(study: Any) -> None:
    study.add_callback(JsonLogger())
    study.add_callback(CsvLogger())


def report(trial: Any, steps: range, **more: Any) -> None:
    for step in steps:
        trial.report({"loss": 1 / step, "acc": step * 2, **more}, step, checkpoint=None)


def again(folder: Path, **options: Any) -> Any:
    """The study as a new process finds it."""
    study = build_study(
        SPACE, metric="loss", mode="min", storage=folder / "study.log", study_name="exp", folder=folder, seed=0,
        load_if_exists=True, **options,
    )  # fmt: skip
    study.adopt()
    attach(study)
    return study


def killed_after(folder: Path, n_steps: int) -> Path:
    """A study whose driver is gone after some reports; returns the trial's folder."""
    folder.mkdir()
    study = again(folder)
    trial = study.ask()
    report(trial, range(1, n_steps + 1))
    return Path(trial.dir)


def cut(path: Path, n_bytes: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - n_bytes)])


def go_on(folder: Path, first: int, last: int) -> None:
    trial = again(folder).ask(new=False)
    assert trial.number == 0
    # Without a checkpoint it starts over; steps that are recorded are not recorded again.
    report(trial, range(1, last + 1))
    assert trial.last_step == last
    assert first <= last


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_nothing_is_doubled_when_all_was_written(tmp_path: Path) -> None:
    folder = killed_after(tmp_path / "exp", 5)
    before = (folder / "result.json").read_bytes()
    go_on(tmp_path / "exp", 6, 8)
    assert steps_in(folder) == (list(range(1, 9)), list(range(1, 9)))
    assert (folder / "result.json").read_bytes().startswith(before)


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_bytes=st.integers(0, 400), csv_bytes=st.integers(0, 120))
def test_whatever_is_torn_off_comes_back(tmp_path_factory: Any, json_bytes: int, csv_bytes: int) -> None:
    root = tmp_path_factory.mktemp("torn") / "exp"
    folder = killed_after(root, 5)
    cut(folder / "result.json", json_bytes)
    cut(folder / "progress.csv", csv_bytes)
    go_on(root, 6, 7)
    assert steps_in(folder) == (list(range(1, 8)), list(range(1, 8)))
    losses = [json.loads(line)["loss"] for line in (folder / "result.json").read_text().splitlines()]
    assert losses == [1 / step for step in range(1, 8)]
    with (folder / "progress.csv").open(newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == losses


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_a_line_that_lacks_its_end_alone_is_kept(tmp_path: Path) -> None:
    folder = killed_after(tmp_path / "exp", 3)
    cut(folder / "result.json", 1)
    go_on(tmp_path / "exp", 4, 4)
    results = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
    assert [result["acc"] for result in results] == [2, 4, 6, 8]


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_lines_past_the_record_go(tmp_path: Path) -> None:
    """After a power loss the journal may be behind the files."""
    folder = killed_after(tmp_path / "exp", 3)
    with (folder / "result.json").open("a") as file:
        file.write('{"loss": 9.0, "training_iteration": 4}\n{"loss": 9.0, "training_iteration": 5}\n{"lo')
    with (folder / "progress.csv").open("a") as file:
        file.write("9.0,8,4\n9.0,10,5\n9.")
    go_on(tmp_path / "exp", 4, 6)
    assert steps_in(folder) == (list(range(1, 7)), list(range(1, 7)))
    assert "9.0" not in (folder / "result.json").read_text()


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_files_are_mended_when_the_trial_resumes_and_ends_at_once(tmp_path: Path) -> None:
    folder = killed_after(tmp_path / "exp", 3)
    cut(folder / "result.json", 5)
    cut(folder / "progress.csv", 5)
    study = again(tmp_path / "exp")
    study.tell(study.ask(new=False), 0.5)
    assert steps_in(folder) == ([1, 2, 3], [1, 2, 3])


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_a_trial_told_by_number_is_mended_too(tmp_path: Path) -> None:
    folder = killed_after(tmp_path / "exp", 3)
    cut(folder / "result.json", 5)
    study = again(tmp_path / "exp")
    study.tell(0, 0.5)
    assert steps_in(folder)[0] == [1, 2, 3]


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_steps_of_the_users_own_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "exp"
    root.mkdir()
    trial = again(root).ask()
    for index, step in enumerate((10, 20, 30), start=1):
        trial.report({"loss": 1.0, "training_iteration": index}, step)
    folder = Path(trial.dir)
    cut(folder / "result.json", 10)
    cut(folder / "progress.csv", 3)
    trial = again(root).ask(new=False)
    for index, step in enumerate((10, 20, 30, 40), start=1):
        trial.report({"loss": 1.0, "training_iteration": index}, step)
    assert steps_in(folder) == ([1, 2, 3, 4], [1, 2, 3, 4])


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_steps_that_are_the_iterations_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "exp"
    root.mkdir()
    trial = again(root).ask()
    for step in (10, 20, 30):
        trial.report({"loss": 1.0}, step)
    folder = Path(trial.dir)
    cut(folder / "result.json", 10)
    cut(folder / "progress.csv", 3)
    trial = again(root).ask(new=False)
    trial.report({"loss": 1.0}, 40)
    assert steps_in(folder) == ([10, 20, 30, 40], [10, 20, 30, 40])


def test_a_logger_added_late_knows_what_was_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    folder.mkdir()
    study = build_study(SPACE, metric="loss", mode="min", storage=folder / "study.log", study_name="exp", folder=folder)
    trial = study.ask()
    report(trial, range(1, 4))
    attach(study)
    report(trial, range(4, 6))
    assert steps_in(Path(trial.dir)) == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])


@pytest.mark.filterwarnings("ignore::tuneflow.errors.TuneflowWarning")
def test_without_a_metric_lines_before_the_next_iteration_stay(tmp_path: Path) -> None:
    """Such a study records no reports: the trial runs again from its checkpoint, here from zero."""
    root = tmp_path / "exp"
    root.mkdir()

    def open_study(**more: Any) -> Any:
        study = build_study(
            SPACE, storage=root / "study.log", study_name="exp", folder=root, has_metric=False, load_if_exists=True
        )
        study.adopt()
        attach(study)
        return study

    trial = open_study().ask()
    report(trial, range(1, 6))
    folder = Path(trial.dir)
    trial = open_study().ask(new=False)
    report(trial, range(3, 8))
    assert steps_in(folder) == (list(range(1, 8)), list(range(1, 8)))


def test_a_disk_that_fills_up_and_is_freed(
    make_study: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study = make_study(space=SPACE)
    attach(study)
    trial = study.ask()
    report(trial, range(1, 3))
    write = os.write

    def refuse(fd: int, data: bytes) -> int:
        if b"loss" in data or data[:1].isdigit():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(tuneflow_logger, "propagate", True)
    with monkeypatch.context() as patch:
        # The journal has its own way to say that the disk is full; here it still has room.
        patch.setattr("tuneflow.callbacks.files.os.write", refuse)
        patch.setattr(study, "_storage", _Unaffected(study._storage, write))
        report(trial, range(3, 6))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, "one for each logger"
    assert all("No space left" in message for message in messages)
    report(trial, range(6, 8))
    assert steps_in(Path(trial.dir)) == (list(range(1, 8)), list(range(1, 8)))


class _Unaffected:
    """A storage that writes with the real ``os.write``."""

    def __init__(self, inner: Any, write: Any) -> None:
        self._inner, self._write = inner, write

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            refused, os.write = os.write, self._write
            try:
                return method(*args, **kwargs)
            finally:
                os.write = refused

        return call
