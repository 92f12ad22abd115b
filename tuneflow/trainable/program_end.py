"""How a program ended, for people, and whether memory was the cause."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterable

__all__ = ["describe", "n_oom_kills", "ran_out_of_memory"]

_TEXT = (
    r"\b(CUDA|HIP|XPU|MPS)\b.{0,80}out of memory|RESOURCE_EXHAUSTED: Out of memory|OOM when allocating"
    r"|CU(BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
    r"|DefaultCPUAllocator: (can't|not enough)|Errno 12\] Cannot allocate memory"
)
"""What CUDA and its libraries, torch, JAX, TensorFlow and XGBoost say in errors whose names do not tell."""
_NAMES = ("OutOfMemoryError", "MemoryError")
_LINE = re.compile(rf"^(\[[^\]]*\]:\s*)?([\w.]+\.)?(({'|'.join(_NAMES)})\b|\w+(Error|Exception): .*({_TEXT}))")
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


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, says that host or device memory ran out.

    Example:
        >>> ran_out_of_memory(RuntimeError("CUDA error: out of memory"))
        True
    """
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and not any(found is entry for entry in seen):
        if any(kind.__name__ in _NAMES for kind in type(found).__mro__):
            return True
        if any(isinstance(entry, str) and re.search(_TEXT, entry, re.DOTALL) for entry in found.args):
            return True
        if isinstance(found, OSError) and found.errno == errno.ENOMEM:
            return True
        seen.append(found)
        found = found.__cause__
    return False


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
        if any(_LINE.match(line) for line in stderr):
            return f"ran out of memory (exit code {code})", True
        return f"ended with exit code {code}", False
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL" and is_oom_likely:
        return "was ended by the kernel because the machine ran out of memory", True
    return f"was ended by {name}{_HINTS.get(name, '')}", False
