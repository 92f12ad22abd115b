"""Configurations, whole or partial, as flat dicts of the values at a space's leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.space.tree import Branch, Node

__all__ = ["flatten", "values_by_leaf"]


def _nodes(node: Node) -> Iterator[tuple[str, Node]]:
    yield node.name, node
    if isinstance(node, Branch):
        for child in node.children.values():
            yield from _nodes(child)


def _items(value: Any) -> Iterator[tuple[str, Any]] | None:
    """The entries of a container by name; None for a value."""
    if isinstance(value, Mapping):
        return ((str(key), item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return ((str(index), item) for index, item in enumerate(value))
    return None


def values_by_leaf(config: Mapping[str, Any], root: Branch) -> dict[str, Any]:
    """The values that ``config`` names, nested or flat ("a/b") or both, by flat name.

    What the space does not have stands there under its own name too.

    Raises:
        InvalidArgumentType: ``config`` is no dict.
        InvalidArgument: an entry stands there twice, nested and flat.
    """
    if not isinstance(config, Mapping):
        raise InvalidArgumentType(f"a configuration must be a dict, not {type(config).__name__}")
    branches = {name for name, node in _nodes(root) if isinstance(node, Branch)}
    found: dict[str, Any] = {}

    def collect(prefix: str, entries: Iterator[tuple[str, Any]]) -> None:
        for key, value in entries:
            name = f"{prefix}{key}"
            inner = _items(value) if name in branches else None
            if inner is not None:
                collect(f"{name}/", inner)
            elif name in found:
                raise InvalidArgument(f"{name!r} is given twice, nested and as a flat name; give it once")
            else:
                found[name] = value

    collect("", _items(config) or iter(()))
    return found


def flatten(config: Mapping[str, Any], root: Branch) -> dict[str, Any]:
    """As ``values_by_leaf``; containers that the space does not have are taken apart too."""
    leaf_names = {name for name, node in _nodes(root) if not isinstance(node, Branch)}
    flat: dict[str, Any] = {}

    def collect(prefix: str, entries: Iterator[tuple[str, Any]]) -> None:
        for key, value in entries:
            name = f"{prefix}{key}"
            inner = None if name in leaf_names or not value else _items(value)
            if inner is None:
                flat[name] = value
            else:
                collect(f"{name}/", inner)

    collect("", _items(config) or iter(()))
    return flat
