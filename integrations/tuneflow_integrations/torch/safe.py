"""States in a form that ``torch.load`` takes with ``weights_only=True``: no code runs when a checkpoint is read."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from tuneflow.errors import InvalidArgumentType

__all__ = ["pack", "unpack"]

_ARRAY = "__tuneflow_array__"
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


def pack(value: Any, where: str) -> Any:
    """``value`` with NumPy's scalars as Python's, arrays as tensors, paths as text; the rest as it is.

    Raises:
        InvalidArgumentType: something in it could not be read back safely; the message says where it is.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        return _packed_numpy(value, where)
    if isinstance(value, _PLAIN) and type(value).__module__ in ("builtins", "torch"):
        return value
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        packed = {_key(key, where): pack(entry, f"{where}[{key!r}]") for key, entry in value.items()}
        return OrderedDict(packed) if type(value) is OrderedDict else Counter(packed) if _is_counter(value) else packed
    if isinstance(value, (list, tuple, set)) and type(value) in (list, tuple, set):
        return type(value)(pack(entry, f"{where}[{index}]") for index, entry in enumerate(value))
    raise InvalidArgumentType(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which a checkpoint cannot hold; state_dict "
        f"must return tensors, NumPy arrays, numbers, text, and dicts and lists of them"
    )


def unpack(value: Any) -> Any:
    """What ``pack`` was given, but for scalars and paths, which have become plain values."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return value["tensor"].numpy().astype(value[_ARRAY])
        if type(value) is dict:
            return {key: unpack(entry) for key, entry in value.items()}
        for key, entry in value.items():  # OrderedDict and Counter keep their kind and their attributes
            value[key] = unpack(entry)
        return value
    if type(value) in (list, tuple, set):
        return type(value)(unpack(entry) for entry in value)
    return value


def _is_counter(value: object) -> bool:
    return type(value) is Counter


def _key(key: Any, where: str) -> Any:
    if isinstance(key, np.generic):
        return key.item()
    if not isinstance(key, (str, int, float, bool, bytes, tuple, type(None))):
        raise InvalidArgumentType(f"{where} has the key {key!r}; a checkpoint can hold numbers and text as keys")
    return key


def _packed_numpy(value: np.generic | np.ndarray[Any, Any], where: str) -> Any:
    if isinstance(value, np.generic):
        return pack(value.item(), where)
    try:
        # A copy: the array may change under the checkpoint. Unsigned words have no arithmetic in torch, only bits.
        return {_ARRAY: value.dtype.str, "tensor": torch.from_numpy(np.array(value, order="C"))}
    except TypeError:
        raise InvalidArgumentType(
            f"{where} is an array of {value.dtype}, which a checkpoint cannot hold; use numbers"
        ) from None
