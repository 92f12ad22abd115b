"""How a worker process ended, and what it held in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection

from tuneflow.trainable.program_end import describe

__all__ = ["describe_exit", "tree_memory_bytes"]


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
    text, is_memory = describe(code, (), is_oom_likely=is_oom_likely)
    return f"the worker process {text}", is_memory


def tree_memory_bytes(roots: Collection[int]) -> dict[int, int]:
    """Resident memory of processes and all that they have started, in bytes, by the id of the first.

    Memory that processes share counts in each. Empty where the system does not tell.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["ps", "-A", "-o", "pid=,ppid=,rss="]
    try:
        listing = subprocess.run(
            command, capture_output=True, text=True, timeout=10, env=environment, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    parents: dict[int, int] = {}
    held: dict[int, int] = {}
    for line in listing.splitlines():
        pid, parent, kilobytes = map(int, line.split())
        parents[pid], held[pid] = parent, 1024 * kilobytes
    found = dict.fromkeys(roots, 0)
    for pid, amount in held.items():
        ancestor = pid
        while ancestor not in found and ancestor in parents and parents[ancestor] != ancestor:
            ancestor = parents[ancestor]
        if ancestor in found:
            found[ancestor] += amount
    return found
