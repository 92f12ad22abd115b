"""How a program ended, for people, and whether memory was the cause."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

__all__ = ["describe", "n_oom_kills"]

_MEMORY = re.compile(r"^(\[[^\]]*\]:\s*)?([\w.]+\.)?(OutOfMemoryError|MemoryError)\b")
_HINTS = {
    "SIGSEGV": " (a crash in native code)",
    "SIGABRT": " (an abort in native code)",
    "SIGILL": " (a crash in native code)",
    "SIGBUS": " (a crash in native code)",
}


def n_oom_kills() -> int:
    """How many processes the kernel of this machine has killed for memory since it started; 0 where it does not say."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except OSError:
        return 0


def describe(code: int | None, stderr: Iterable[str], *, is_oom_likely: bool) -> tuple[str, bool]:
    """How it ended; and whether it ran out of host or device memory.

    Args:
        code: the exit code, negative for a signal, None where nobody knows.
        stderr: its last lines; Python's and torch's errors are known by their names.
        is_oom_likely: whether the kernel has killed a process for memory meanwhile.

    Example:
        >>> describe(-11, [], is_oom_likely=False)
        ('was ended by SIGSEGV (a crash in native code)', False)
        >>> describe(1, ["torch.OutOfMemoryError: CUDA out of memory."], is_oom_likely=False)
        ('ran out of memory (exit code 1)', True)
    """
    if code is None:
        return "was ended, nobody knows how (its keeper was killed)", False
    if code >= 0:
        if any(_MEMORY.match(line) for line in stderr):
            return f"ran out of memory (exit code {code})", True
        return f"ended with exit code {code}", False
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL" and is_oom_likely:
        return "was ended by the kernel because the machine ran out of memory", True
    return f"was ended by {name}{_HINTS.get(name, '')}", False
