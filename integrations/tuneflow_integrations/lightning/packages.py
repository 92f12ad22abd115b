"""Which of the two packages is in use: ``lightning`` and ``pytorch_lightning`` have classes of their own."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

__all__ = ["callback_class"]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def callback_class() -> Any:
    """``Callback`` of the package that the program has imported; of ``lightning`` where that does not tell.

    Both packages accept the other one's since 2.6; before, a trainer's callbacks must be of its own.
    """
    loaded = [name for name in _PACKAGES if name in sys.modules]
    try:
        return import_module((loaded or _PACKAGES)[0]).Callback
    except ModuleNotFoundError:
        if loaded:
            raise
        return import_module(_PACKAGES[1]).Callback
