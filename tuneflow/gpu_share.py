"""A trial that shares a GPU may not take all of its memory: torch is told so as soon as it is imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["limit_memory"]

_VARIABLE = "TUNEFLOW_GPU_FRACTION"


def limit_memory() -> None:
    """Sees to it that torch, now or when it is imported, allocates no more than this process's share of its GPU.

    The share stands in the environment (``TUNEFLOW_GPU_FRACTION``); nothing happens where it does not. CUDA is not
    started by this: the limit is set when the trial starts it. Called when tuneflow is imported, so that it holds in
    the processes of a trial too, those of a script that imports tuneflow among them.
    """
    fraction = os.environ.get(_VARIABLE)
    if not fraction:
        return
    if "torch" in sys.modules:
        _limit(sys.modules["torch"], float(fraction))
    elif not any(isinstance(finder, _TorchFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchFinder(float(fraction)))


def _limit(torch: Any, fraction: float) -> None:
    cuda = torch.cuda
    # Runs at once where CUDA has been started, and else at its start.
    cuda._lazy_call(lambda: cuda.set_per_process_memory_fraction(fraction, 0))


class _TorchFinder(importlib.abc.MetaPathFinder):
    """Stands before the other finders until torch has been imported; libraries only ask whether it is there, too."""

    def __init__(self, fraction: float) -> None:
        self._fraction = fraction

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torch":
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            find = getattr(finder, "find_spec", None)
            spec: importlib.machinery.ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None

    def take_over(self, torch: ModuleType) -> None:
        """Torch has been imported."""
        _limit(torch, self._fraction)
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _Loader(importlib.abc.Loader):
    """Loads torch as it would be, then sets the limit."""

    def __init__(self, inner: Any, finder: _TorchFinder) -> None:
        self._inner = inner
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._inner.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        self._finder.take_over(module)
