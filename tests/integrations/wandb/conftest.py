"""Reading back what W&B really wrote: its offline files, record by record."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb")

_BLOCK = 32768
_WHOLE, _LAST = 1, 4


@dataclass
class RunFile:
    """One ``run-ID.wandb``."""

    path: Path
    id: str = ""
    project: str = ""
    group: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    is_preempted: bool = False


def records(path: Path) -> Iterator[Any]:
    """The records of a file: a LevelDB log of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if len(whole) and kind in (_WHOLE, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def _items(entries: Any) -> dict[str, Any]:
    return {"/".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in entries}


def read(path: Path) -> RunFile:
    run = RunFile(path)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            given = record.run
            run.id, run.project, run.group = given.run_id, given.project, given.run_group
            run.name, run.tags = given.display_name, tuple(given.tags)
            run.config.update(_items(given.config.update))
        elif kind == "config":
            run.config.update(_items(record.config.update))
        elif kind == "history":
            run.rows.append(_items(record.history.item))
        elif kind == "summary":
            run.summary.update(_items(record.summary.update))
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
        elif kind == "preempting":
            run.is_preempted = True
    run.config.pop("_wandb", None)
    return run


def read_finished(folder: Path) -> list[RunFile]:
    """All runs under a folder; W&B's service writes the last records when ``finish`` has returned already."""
    until_s = time.monotonic() + 10
    while True:
        found = [read(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]
        if all(run.exit_code is not None for run in found) or time.monotonic() > until_s:
            return found
        time.sleep(0.05)


@pytest.fixture
def read_runs() -> Callable[..., dict[int, RunFile]]:
    """All runs under a folder by trial number, which the id ends with; each is expected in one file."""

    def read_all(folder: Path | str = ".", *, suffix: str = "") -> dict[int, RunFile]:
        files = read_finished(Path(folder))
        ours = [run for run in files if run.id.endswith("-own") == (suffix == "-own")]
        numbers = [int(run.id.removesuffix(suffix)[-5:]) for run in ours]
        assert len(set(numbers)) == len(numbers), f"a trial has several files: {sorted(numbers)}"
        return dict(sorted(zip(numbers, ours, strict=True)))

    return read_all


@pytest.fixture
def read_files() -> Callable[..., list[RunFile]]:
    """All runs under a folder, in the order of their folders' names."""
    return lambda folder=".": read_finished(Path(folder))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture(scope="module", autouse=True)
def _session() -> Iterator[None]:
    """W&B has a process of its own, which takes its time to start."""
    yield
    import wandb

    wandb.teardown()


@pytest.fixture(autouse=True)
def _here(_session: None, _offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks only once where it is; other processes would look for its socket in a test's folder that is gone."""
    import wandb

    wandb.setup(settings=wandb.Settings(root_dir=str(Path.cwd())))
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
