"""What a container may take of its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneflow.runner import resources
from tuneflow.runner.cgroups import cpu_quota, memory_limit_bytes
from tuneflow.runner.resources import machine


def made(root: Path, table: str, files: dict[str, str]) -> dict[str, str]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    (root / "table").write_text(table)
    return {"root": str(root), "table": str(root / "table")}


def test_version_2_the_tightest_of_a_group_and_those_above(tmp_path) -> None:
    files = {
        "cpu.max": "max 100000",
        "pod/cpu.max": "150000 100000",
        "pod/box/cpu.max": "400000 100000",
        "pod/memory.max": "max",
        "pod/box/memory.max": "2000000000",
    }
    given = made(tmp_path, "0::/pod/box\n", files)
    assert cpu_quota(**given) == 1.5
    assert memory_limit_bytes(**given) == 2e9


def test_version_1_of_a_container_that_sees_its_own_group_at_the_root(tmp_path) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "300000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "1000000000",
    }
    given = made(tmp_path, "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n", files)
    assert cpu_quota(**given) == 3.0
    assert memory_limit_bytes(**given) == 1e9


def test_no_limit_is_none(tmp_path) -> None:
    files = {
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "9223372036854771712",
    }
    given = made(tmp_path, "4:memory:/\n1:cpu:/\n", files)
    assert cpu_quota(**given) is None
    assert memory_limit_bytes(**given) is None
    nothing = {"root": str(tmp_path / "x"), "table": str(tmp_path / "y")}
    assert (cpu_quota(**nothing), memory_limit_bytes(**nothing)) == (None, None)


@pytest.mark.parametrize(("quota", "cpus"), [(None, 8.0), (2.5, 2.5), (0.5, 1.0), (64.0, 8.0)])
def test_the_machine_is_what_may_be_used_of_it(monkeypatch, quota, cpus) -> None:
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(resources, "cpu_quota", lambda: quota)
    monkeypatch.setattr(resources, "memory_limit_bytes", lambda: 1e6)
    found = machine()
    assert (found.cpu, found.memory_bytes) == (cpus, 1e6)
