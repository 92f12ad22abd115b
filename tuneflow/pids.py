"""Processes of this machine, known by their ids."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_running", "start_of"]

_STATE, _START = 0, 19  # among the fields of /proc/PID/stat that follow the command; see proc(5)


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that has, but that nobody has waited for, does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _field(pid, _STATE) not in ("Z", "X")


def start_of(pid: int) -> str:
    """When a process started, in the system's own units, so that an id that is used again is noticed; "" if unknown."""
    return _field(pid, _START)


def _field(pid: int, index: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[index]
    except (OSError, IndexError):  # gone meanwhile, or not Linux
        return ""
