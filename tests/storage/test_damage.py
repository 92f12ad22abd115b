"""Damaged journals and full disks: what is lost, what is refused, what can be used on."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection

from tuneflow.errors import JournalCorrupt, JournalNotWritten, TuneflowWarning
from tuneflow.storage import Journal, JournalBackend
from tuneflow.storage.records import Unreadable, decode_line

RECORD = {"op_code": 7, "worker_id": "w", "trial_id": 0, "step": 1, "intermediate_value": 0.5}


def study_bytes(path: Path, n_trials: int) -> bytes:
    """A journal with every operation that a study writes."""
    with Journal(path) as storage:
        study = optuna.create_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        study.set_user_attr("note", {"nested": [1, "ü"]})
        for i in range(n_trials):
            study.enqueue_trial({"x": 0.5}) if i % 3 == 0 else None
            trial = study.ask()
            x = trial.suggest_float("x", 0, 1)
            trial.suggest_categorical("kind", ["a", "b"])
            trial.report(x, 1)
            trial.set_user_attr("config", {"x": x})
            study.tell(trial, x)
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return study_bytes(tmp_path_factory.mktemp("whole") / "study.log", 40)


def read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        backend = JournalBackend(path)
        records = list(backend.read_logs(0))
        backend.close()
    assert all(w.category is TuneflowWarning for w in caught)
    return records, [str(w.message) for w in caught]


def test_cut_at_any_byte_of_the_last_200_records_it_loses_at_most_the_last(tmp_path: Path, whole: bytes) -> None:
    lines = whole.split(b"\n")[:-1]
    assert len(lines) > 250
    known = [json.loads(line) for line in lines]
    for line in known:
        del line["crc"]
    n_before = len(lines) - 200
    path = tmp_path / "study.log"
    for number in range(n_before, len(lines)):
        # Two records before the cut stand for all, so that each of the thousands of files is read quickly.
        before = b"".join(line + b"\n" for line in lines[number - 2 : number])
        path.write_bytes(before + lines[number] + b"\n")
        for n_bytes in range(len(lines[number]) + 1, -1, -1 if number % 20 == 0 else -7):
            os.truncate(path, len(before) + n_bytes)
            records, messages = read(path)
            is_whole = n_bytes == len(lines[number]) + 1
            assert records == known[number - 2 : number + is_whole]
            assert len(messages) == (0 < n_bytes <= len(lines[number]))


def test_no_part_of_a_line_passes_for_a_record(whole: bytes) -> None:
    for line in whole.split(b"\n")[-201:-1]:
        for n_bytes in range(len(line)):
            with pytest.raises(Unreadable):
                decode_line(line[:n_bytes])
        decode_line(line)


def test_a_study_goes_on_after_a_cut(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "study.log"
    rng = random.Random(0)
    for _ in range(10):
        n_bytes = rng.randrange(len(whole) // 2, len(whole))
        path.write_bytes(whole[:n_bytes])
        is_torn = not whole[:n_bytes].endswith(b"\n")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Journal(path) as storage:
                study = optuna.load_study(study_name="s", storage=storage)
                n_trials = len(study.trials)
                study.tell(study.ask(), 0.0)
                theirs = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))
                assert theirs.trials == study.trials
        assert len(caught) == is_torn  # once: not again when it is cut off
        assert path.read_bytes().startswith(whole[: whole.rfind(b"\n", 0, n_bytes) + 1])
        with Journal(path) as storage:
            assert storage.get_n_trials(0) in (n_trials, n_trials + 1)


@pytest.mark.parametrize("end", [b"\0" * 100, b"\0" * 100 + b"\n", b'{"op_code":7,"wor\n', b"{\xff\xfe"])
def test_a_last_line_of_rubbish_is_dropped_and_cut_off(tmp_path: Path, whole: bytes, end: bytes) -> None:
    path = tmp_path / "study.log"
    path.write_bytes(whole + end)
    with pytest.warns(TuneflowWarning, match="last record"):
        storage = Journal(path)
    assert path.read_bytes() == whole + end  # reading changes nothing
    assert storage.get_n_trials(0) == 40
    storage.create_new_trial(0)
    assert storage.get_n_trials(0) == 41
    storage.close()
    assert path.read_bytes().startswith(whole + b'{"op_code":4')


def test_any_changed_byte_in_the_middle_is_refused_with_its_line(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "study.log"
    rng = random.Random(1)
    offsets = [rng.randrange(0, whole.rfind(b"\n", 0, -1)) for _ in range(300)]
    offsets += [i for i, byte in enumerate(whole) if byte == 10][:-2]
    for offset in offsets:
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        line = whole.count(b"\n", 0, offset) + 1
        with pytest.raises(JournalCorrupt, match=f"line {line}:") as raised:
            Journal(path)
        assert raised.value.line == line
        assert raised.value.path == str(path)
        assert path.read_bytes() == flipped


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"op_code": 11}, "op_code=11"),
        ({"op_code": True}, "op_code=True"),
        ({"op_code": None}, "op_code=None"),
        ({"stap": 1}, "'stap'"),
        ({"step": None}, "step=None"),
        ({"trial_id": -1}, "trial_id=-1"),
        ({"trial_id": 0.5}, r"trial_id=0\.5"),
        ({"intermediate_value": "0.5"}, "intermediate_value='0.5'"),
        ({"worker_id": 3}, "worker_id"),
        ({"op_code": 5, "param_name": "x"}, "lacks distribution"),
    ],
)
@pytest.mark.parametrize("is_last", [True, False])
def test_records_without_a_checksum_are_checked_by_their_form(
    tmp_path: Path, whole: bytes, change: dict[str, Any], reason: str, is_last: bool
) -> None:
    path = tmp_path / "study.log"
    path.write_bytes(whole)
    n_lines = whole.count(b"\n")
    theirs = JournalFileBackend(str(path))
    theirs.append_logs([RECORD, {**RECORD, **change}, *([] if is_last else [RECORD])])
    with pytest.raises(JournalCorrupt, match=reason) as raised:
        Journal(path)
    assert raised.value.line == n_lines + 2


def test_a_record_without_a_checksum_whose_content_cannot_be_applied_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    theirs = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(storage=theirs)
    study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    path.write_bytes(path.read_bytes().replace(b"FloatDistribution", b"FloatDistributiom"))
    with pytest.raises(JournalCorrupt, match="FloatDistributiom") as raised:
        Journal(path)
    assert raised.value.line == 3


def test_an_open_journal_keeps_refusing_a_line_that_became_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        with path.open("ab") as file:
            file.write(b"rubbish\nmore\n")
        for _ in range(2):
            with pytest.raises(JournalCorrupt, match="line 2:"):
                storage.get_all_studies()


@pytest.mark.parametrize(
    "content", [b"hello", b"hello\n", b"a,b\n1,2\n", b"[1]\n", b"{}\n", b'{"op_code":"x"}\n', b"\n"]
)
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(JournalCorrupt, match="line 1:"):
        Journal(path)
    backend = JournalBackend(path)
    if b"\n" not in content or content == b"hello\n":
        with pytest.raises(JournalCorrupt, match="line 1:"):
            backend.append_logs([RECORD])
        assert path.read_bytes() == content
    backend.close()


def test_a_torn_line_that_comes_while_it_is_open_is_cut_off_by_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        whole = path.read_bytes()
        with path.open("ab") as file:
            file.write(b'{"op_code":4,"worker')
        assert storage.get_n_trials(0) == 0  # no warning: it may still be on its way
        with pytest.warns(TuneflowWarning, match="last record"):
            storage.create_new_trial(0)
        assert storage.get_n_trials(0) == 1
    assert path.read_bytes().startswith(whole + b'{"op_code":4,"worker_id"')


def test_a_line_that_optuna_is_writing_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    with Journal(path) as storage:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE])
        line = json.dumps({"op_code": 2, "worker_id": "o", "study_id": 0, "user_attr": {"a": 1}}).encode() + b"\n"
        lock = JournalFileSymlinkLock(str(path))
        lock.acquire()
        with path.open("ab") as file:
            file.write(line[:20])
        with Journal(path) as reader:  # no warning either: somebody holds Optuna's lock
            assert reader.get_n_trials(study_id) == 0

        def finish() -> None:
            with path.open("ab") as file:
                file.write(line[20:])
            lock.release()

        timer = threading.Timer(0.05, finish)
        timer.start()
        storage.create_new_trial(study_id)
        timer.join()
        assert storage.get_study_user_attrs(study_id) == {"a": 1}
        assert storage.get_n_trials(study_id) == 1


# Full disks


def use_up(storage: Journal, trial_id: int) -> int:
    """Reports until the disk is full; returns the number of reports that were recorded."""
    for step in range(100_000):
        try:
            storage.set_trial_intermediate_value(trial_id, step, 0.5)
        except JournalNotWritten as error:
            told = error
            break
    assert told.errno in (errno.ENOSPC, errno.EFBIG)
    assert "free some space" in str(told)
    return step


def check_usable(storage: Journal, trial_id: int, n_reports: int) -> None:
    assert len(storage.get_trial(trial_id).intermediate_values) == n_reports
    storage.set_trial_intermediate_value(trial_id, n_reports, 0.25)
    storage.flush()
    with Journal(storage.path) as reopened:
        assert reopened.get_all_trials(0) == storage.get_all_trials(0)
        assert len(reopened.get_trial(trial_id).intermediate_values) == n_reports + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_survived(small_disk: Path) -> None:
    with Journal(small_disk / "study.log") as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        trial_id = storage.create_new_trial(0)
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 4096)
        n_reports = use_up(storage, trial_id)
        assert n_reports > 20
        size = Path(storage.path).stat().st_size
        assert Path(storage.path).read_bytes().endswith(b"\n")
        for _ in range(3):
            with pytest.raises(JournalNotWritten):
                storage.set_trial_intermediate_value(trial_id, n_reports, 0.0)
        assert Path(storage.path).stat().st_size == size
        ballast.unlink()
        check_usable(storage, trial_id, n_reports)


def test_a_file_size_limit_is_told_and_survived(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "import test_damage as t\n"
        "storage = t.Journal(sys.argv[1])\n"
        "storage.create_new_study([t.StudyDirection.MINIMIZE])\n"
        "trial_id = storage.create_new_trial(0)\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))\n"
        "n = t.use_up(storage, trial_id)\n"
        "assert n > 20, n\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "t.check_usable(storage, trial_id, n)\n"
        "storage.close()\n"
        "print('usable')\n"
    )
    if sys.platform == "win32":
        pytest.skip("no such limit there")
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "study.log"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "usable", done.stderr


def test_a_write_that_stops_half_way_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "study.log") as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        before = Path(storage.path).read_bytes()
        write = os.write
        n_left = [2]

        def write_a_little(fd: int, data: bytes) -> int:
            if not n_left[0]:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            n_left[0] -= 1
            return write(fd, data[:7])

        monkeypatch.setattr(os, "write", write_a_little)
        with pytest.raises(JournalNotWritten, match="check the disk"):
            storage.create_new_trial(0)
        monkeypatch.setattr(os, "write", write)
        assert Path(storage.path).read_bytes() == before
        assert storage.get_n_trials(0) == 0
        storage.create_new_trial(0)
        assert storage.get_n_trials(0) == 1
