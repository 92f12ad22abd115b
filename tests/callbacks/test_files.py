"""Growing files, replaced files, and a disk that refuses."""

from __future__ import annotations

import errno
import gc
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneflow.callbacks.files import FilePool, replace_file
from tuneflow.errors import LogNotWritten


def open_files(below: Path) -> int:
    """How many files of a folder are open here; those that other tests have left are none of it."""
    folder = Path("/proc/self/fd")
    places = [os.path.realpath(entry) for entry in folder.iterdir()] if folder.is_dir() else []
    return sum(Path(place).is_relative_to(below.resolve()) for place in places)


def test_no_more_than_the_limit_is_open(tmp_path: Path) -> None:
    pool = FilePool(limit=4)
    for round_ in range(3):
        for index in range(20):
            pool.append(str(tmp_path / f"{index}"), b"%d\n" % round_)
            assert len(pool) <= 4
    assert open_files(tmp_path) <= 4
    assert all((tmp_path / f"{index}").read_bytes() == b"0\n1\n2\n" for index in range(20))
    pool.close_all()
    assert open_files(tmp_path) == 0


def test_the_file_used_longest_ago_is_closed(tmp_path: Path) -> None:
    pool = FilePool(limit=2)
    for name in ("a", "b", "a", "c"):
        pool.append(str(tmp_path / name), b"x\n")
    assert [Path(path).name for path in pool._open] == ["a", "c"]


def test_a_forgotten_pool_closes_its_files(tmp_path: Path) -> None:
    pool = FilePool()
    pool.append(str(tmp_path / "a"), b"x\n")
    assert open_files(tmp_path) == (1 if Path("/proc/self/fd").is_dir() else 0)
    del pool
    gc.collect()
    assert open_files(tmp_path) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named() -> None:
    with pytest.raises(LogNotWritten, match=r"/dev/full: No space left.*free some space") as caught:
        FilePool().append("/dev/full", b"x\n")
    assert caught.value.errno == errno.ENOSPC
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.path, copied.errno) == (str(caught.value), "/dev/full", errno.ENOSPC)


def short_then_full(n_bytes: int) -> Callable[[int, bytes], int]:
    write = os.write

    def fake(fd: int, data: bytes) -> int:
        if fake.calls == 0:  # type: ignore[attr-defined]
            fake.calls = 1  # type: ignore[attr-defined]
            return write(fd, data[:n_bytes])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fake.calls = 0  # type: ignore[attr-defined]
    return fake


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    pool = FilePool()
    pool.append(str(path), b"first\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short_then_full(3))
        with pytest.raises(LogNotWritten):
            pool.append(str(path), b"second\n")
    assert path.read_bytes() == b"first\n"
    pool.append(str(path), b"third\n")
    assert path.read_bytes() == b"first\nthird\n"


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
        FilePool().append(str(path), b"whole line\n")
    assert path.read_bytes() == b"whole line\n"


def test_replacing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "params.json"
    replace_file(str(path), b"old")

    def refuse(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(LogNotWritten, match="free some space"):
            replace_file(str(path), b"new")
    assert path.read_bytes() == b"old"
    replace_file(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogNotWritten, match=r"gone.*check the folder"):
        FilePool().append(str(tmp_path / "gone" / "result.json"), b"x\n")


def test_no_descriptor_is_lost_on_errors(tmp_path: Path) -> None:
    pool: Any = FilePool()
    for _ in range(5):
        with pytest.raises(LogNotWritten):
            pool.append(str(tmp_path), b"a folder\n")
    assert open_files(tmp_path) == 0
