"""How a worker process ended, and what it held in memory."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Container

__all__ = ["describe_exit", "group_memory_bytes", "n_oom_kills"]


def n_oom_kills() -> int:
    """How many processes the kernel of this machine has killed for memory since it started; 0 where it does not say."""
    try:
        with open("/proc/vmstat") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except OSError:
        return 0


def describe_exit(code: int | None, *, is_oom_likely: bool) -> tuple[str, bool]:
    """How a worker ended, for people; and whether the kernel's OOM killer did it.

    Args:
        code: the exit code, negative for a signal.
        is_oom_likely: whether the kernel has killed a process for memory meanwhile.
    """
    if code is None:
        return "the worker process ended", False
    if code >= 0:
        return f"the worker process ended with exit code {code} (os._exit, or a crash of the interpreter)", False
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL" and is_oom_likely:
        return "the kernel ended the worker process because the machine ran out of memory", True
    hints = {"SIGSEGV": " (a crash in native code)", "SIGABRT": " (an abort in native code)"}
    return f"the worker process was ended by {name}{hints.get(name, '')}", False


def group_memory_bytes(groups: Container[int]) -> dict[int, int]:
    """Resident memory of process groups in bytes, by group id; memory that processes share counts in each.

    Empty where the system does not tell.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["ps", "-A", "-o", "pgid=,rss="]
    try:
        listing = subprocess.run(
            command, capture_output=True, text=True, timeout=10, env=environment, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[int, int] = {}
    for line in listing.splitlines():
        group, _, kilobytes = line.strip().partition(" ")
        if group.isdecimal() and int(group) in groups:
            found[int(group)] = found.get(int(group), 0) + 1024 * int(kilobytes)
    return found
