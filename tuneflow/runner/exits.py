"""How a worker process ended, and what it held in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Container, Iterable, Mapping

from tuneflow.trainable.program_end import describe

__all__ = ["descendants", "describe_exit", "end_all", "tree_memory_bytes"]


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
    processes = _processes()
    found = dict.fromkeys(roots, 0) if processes else {}
    for pid, (_, held) in processes.items():
        root = _root_of(pid, processes, found)
        if root is not None:
            found[root] += held
    return found


def descendants(root: int) -> list[int]:
    """The processes that a process has started, and those that they have, whatever session or group they are in."""
    processes = _processes()
    return [pid for pid in processes if pid != root and _root_of(pid, processes, (root,)) is not None]


def end_all(pids: Iterable[int]) -> None:
    """SIGKILL to each; those that are gone are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _root_of(pid: int, processes: Mapping[int, tuple[int, int]], roots: Container[int]) -> int | None:
    while pid not in roots:
        if pid not in processes or processes[pid][0] == pid:
            return None
        pid = processes[pid][0]
    return pid


def _processes() -> dict[int, tuple[int, int]]:
    """Parent and resident bytes of every process, by id; empty where the system does not tell."""
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["ps", "-A", "-o", "pid=,ppid=,rss="]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = (map(int, line.split()) for line in done.stdout.splitlines())
    return {pid: (parent, 1024 * kilobytes) for pid, parent, kilobytes in rows}
