"""Fresh copies of nested values, so that one trial's configuration is not another's."""

from __future__ import annotations

from typing import Any

__all__ = ["fresh", "is_named_tuple"]


def fresh(value: Any) -> Any:
    """Rebuilds dicts, lists, tuples and sets at every depth; whatever else they hold (a model, a data set) is shared.

    Subclasses are shared as well, named tuples excepted: only their author knows how to rebuild them.
    """
    kind = type(value)
    if kind is dict:
        return {key: fresh(item) for key, item in value.items()}
    if kind is list:
        return [fresh(item) for item in value]
    if kind is tuple:
        return tuple([fresh(item) for item in value])
    if kind is set:
        return set(value)
    if is_named_tuple(value):
        return value._make([fresh(item) for item in value])
    return value


def is_named_tuple(value: object) -> bool:
    """Whether ``value`` is a named tuple: a tuple whose class builds another from a list."""
    return isinstance(value, tuple) and hasattr(value, "_make")
