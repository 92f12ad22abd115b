"""How a worker process ended, and what it held in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Container, Iterable, Mapping
from typing import NamedTuple

from tuneflow.trainable.program import KEEPER
from tuneflow.trainable.program_end import describe


class Family(NamedTuple):
    """What a process has started.

    Attributes:
        others: all of it but the following.
        keepers: those that end a trial's program by themselves, with notice, when the trial's worker is gone.
        kept: what is below them.
    """

    others: tuple[int, ...] = ()
    keepers: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()


__all__ = ["Family", "descendants", "describe_exit", "end_all", "tree_memory_bytes"]


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
    for pid, process in processes.items():
        root = _root_of(pid, processes, found)
        if root is not None:
            found[root] += process.held_bytes
    return found


def descendants(root: int) -> Family:
    """The processes that a process has started, and those that they have, whatever session or group they are in."""
    processes = _processes()
    found = [pid for pid in processes if pid != root and _root_of(pid, processes, (root,)) is not None]
    keepers = tuple(pid for pid in found if processes[pid].is_keeper)
    kept = tuple(pid for pid in found if pid not in keepers and _root_of(pid, processes, keepers) is not None)
    return Family(tuple(pid for pid in found if pid not in keepers and pid not in kept), keepers, kept)


def end_all(pids: Iterable[int], number: int = signal.SIGKILL, *, but_group: int = 0) -> None:
    """Sends a signal to each but those of a process group; those that are gone are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if not but_group or os.getpgid(pid) != but_group:
                os.kill(pid, number)


class _Process(NamedTuple):
    parent: int
    held_bytes: int
    is_keeper: bool


def _root_of(pid: int, processes: Mapping[int, _Process], roots: Container[int]) -> int | None:
    while pid not in roots:
        if pid not in processes or processes[pid].parent == pid:
            return None
        pid = processes[pid].parent
    return pid


def _processes() -> dict[int, _Process]:
    """Every process, by id; empty where the system does not tell."""
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,rss=,args="]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[int, _Process] = {}
    for line in done.stdout.split("\n"):
        fields = line.split(None, 3)
        if len(fields) >= 3 and all(map(str.isdecimal, fields[:3])):  # else a line of an argument that has several
            pid, parent, kilobytes = map(int, fields[:3])
            found.setdefault(pid, _Process(parent, 1024 * kilobytes, KEEPER in fields[-1]))
    return found
