"""What a container, a pod or a batch job may take of its machine: the limits of Linux's control groups."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_quota", "memory_limit_bytes"]

_ROOT = "/sys/fs/cgroup"
_TABLE = "/proc/self/cgroup"
_NO_LIMIT = 2**60  # what version 1 writes for none is near 2**63, rounded to pages


def cpu_quota(root: str = _ROOT, table: str = _TABLE) -> float | None:
    """How many CPUs' time this process's groups may take together; None without a limit.

    Args:
        root: where the control groups lie.
        table: which of them are this process's.
    """
    found = []
    for folder in _folders("cpu", root, table):
        words = _read(folder / "cpu.max").split()  # version 2
        if not words:
            words = [*_read(folder / "cpu.cfs_quota_us").split(), *_read(folder / "cpu.cfs_period_us").split()]
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def memory_limit_bytes(root: str = _ROOT, table: str = _TABLE) -> float | None:
    """How much memory they may hold; None without a limit. Arguments as in ``cpu_quota``."""
    found = []
    for folder in _folders("memory", root, table):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if text.isdecimal() and int(text) < _NO_LIMIT:
            found.append(float(text))
    return min(found, default=None)


def _folders(controller: str, root: str, table: str) -> list[Path]:
    """The groups of this process and those above them: each may hold a limit.

    A container sees its own group at the root, while the table may name it as the machine does: what is not there is
    passed over.
    """
    folders: list[Path] = []
    for line in _read(Path(table)).splitlines():
        _, names, place = [*line.split(":", 2), "", ""][:3]
        if names and controller not in names.split(","):
            continue
        bases = [Path(root, names), Path(root, controller)] if names else [Path(root), Path(root, "unified")]
        for base in bases:
            parts = [part for part in place.split("/") if part]
            folders += [base.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]
    return folders


def _read(file: Path) -> str:
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
