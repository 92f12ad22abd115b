"""What a trial may leave behind in a process that other trials use after it: memory, and a CUDA that is broken."""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import Any

__all__ = ["clear", "is_cuda_broken"]


def is_cuda_broken() -> bool:
    """Whether CUDA has failed here for good, once all that the trial has asked of it is done.

    After a kernel that failed (an index beyond an embedding, for one) every further call of the process fails, also
    where the trial has caught the error. CUDA is not started by this.
    """
    cuda = _started()
    if cuda is None:
        return False
    try:
        cuda.synchronize()
    except Exception:
        return True
    return False


def clear() -> None:
    """Frees what nothing refers to any more: a trainer and its model are a ring, which may hold much of a GPU."""
    gc.collect()
    cuda = _started()
    if cuda is not None:
        with contextlib.suppress(Exception):  # what is broken only now is noticed by the next trial's end
            cuda.empty_cache()


def _started() -> Any:
    """``torch.cuda`` where it has been started; else None."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
