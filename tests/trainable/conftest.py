"""Programs for trials to run, in the test's working directory."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def write() -> Callable[[str, str], Path]:
    """Writes a program into the working directory."""

    def make(name: str, text: str) -> Path:
        path = Path(name)
        path.write_text(textwrap.dedent(text))
        path.chmod(0o755)
        return path

    return make


def eventually(is_so: Callable[[], object], limit_s: float = 10.0) -> bool:
    """Whether something becomes true in time."""
    end_s = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_gone(pids: Iterable[int], limit_s: float = 10.0) -> bool:
    """Whether all of these processes end in time."""
    return eventually(lambda: not any(map(is_running, pids)), limit_s)


@pytest.fixture
def gone() -> Callable[[Iterable[int]], bool]:
    return all_gone


@pytest.fixture
def soon() -> Callable[[Callable[[], object]], bool]:
    return eventually
