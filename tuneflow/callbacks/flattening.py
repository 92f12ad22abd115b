"""Nested dicts as flat ones, for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["flatten"]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The entries of a nested dict by their path, joined by ``/``. Lists stay whole; an empty dict leaves no entry.

    Example:
        >>> flatten({"loss": 0.1, "val": {"loss": 0.2, "acc": {"top1": 0.9}}})
        {'loss': 0.1, 'val/loss': 0.2, 'val/acc/top1': 0.9}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{path}/"))
        else:
            flat[path] = value
    return flat
