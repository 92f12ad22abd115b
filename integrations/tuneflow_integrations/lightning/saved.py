"""What goes into a checkpoint besides what Lightning puts there, in a form that it can read again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from tuneflow_integrations.torch.generators import generator_states

__all__ = ["all_generator_states", "loadable"]


def all_generator_states() -> list[dict[str, Any]]:
    """The generators' states of every rank, on every rank."""
    own = generator_states()
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, own)
    return states


def loadable(value: Any) -> Any:
    """Hyperparameters as ``torch.load(weights_only=True)`` takes them: NumPy's values and paths as plain ones."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {loadable(key): loadable(entry) for key, entry in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(loadable(entry) for entry in value)
    return value
