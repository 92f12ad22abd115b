"""Configurations as nested values: copied, read and written by flat name, spelt as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tuneflow.errors import InvalidArgumentType

__all__ = ["copy_config", "from_json", "get_entry", "plain", "set_entry", "to_json"]

_ATOMS = frozenset({float, int, str, bool, type(None)})
_TUPLE, _FLOAT, _DICT = "__tuple__", "__float__", "__dict__"


def plain(value: Any) -> Any:
    """``value`` with its dicts, lists and tuples copied and NumPy's scalars turned into Python's own."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if type(value) is list:
        return [plain(item) for item in value]
    if type(value) is tuple:
        return tuple([plain(item) for item in value])
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


def copy_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that shares no container with ``config``; objects that are neither dict, list nor tuple are shared."""
    return {key: plain(value) for key, value in config.items()}


def get_entry(config: Any, name: str) -> tuple[bool, Any]:
    """Whether an entry of that flat name is there, and its value. A key may hold "/" itself; lists go by index."""
    if isinstance(config, Mapping) and name in config:
        return True, config[name]
    for head, tail in _splits(name):
        key = _key(config, head)
        if key is not None:
            found, value = get_entry(config[key], tail)
            if found:
                return True, value
    key = _key(config, name)
    return (False, None) if key is None else (True, config[key])


def set_entry(config: dict[str, Any], name: str, value: Any) -> None:
    """Writes an entry where ``get_entry`` finds it; one that is not there is made, nested at every "/"."""
    if not _replace(config, name, value):
        *heads, last = name.split("/")
        here = config
        for head in heads:
            below = here.get(head)
            if not isinstance(below, dict):
                below = here[head] = {}
            here = below
        here[last] = value


def _replace(config: Any, name: str, value: Any) -> bool:
    """Writes an entry that is there into ``config`` itself. A tuple on the way is replaced by a new one."""
    if isinstance(config, dict) and name in config:
        config[name] = value
        return True
    for head, tail in _splits(name):
        key = _key(config, head)
        if key is None or not get_entry(config[key], tail)[0]:
            continue
        if isinstance(config[key], tuple):
            thawed = list(config[key])
            _replace(thawed, tail, value)
            config[key] = tuple(thawed)
        else:
            _replace(config[key], tail, value)
        return True
    key = _key(config, name)
    if key is None:
        return False
    config[key] = value
    return True


def _splits(name: str) -> list[tuple[str, str]]:
    parts = name.split("/")
    return [("/".join(parts[:count]), "/".join(parts[count:])) for count in range(1, len(parts))]


def _key(config: Any, name: str) -> Any:
    """``name`` as a key of a dict or as an index of a list; None where there is no such item."""
    if isinstance(config, Mapping):
        return name if name in config else None
    if isinstance(config, list | tuple) and name.isdecimal() and int(name) < len(config):
        return int(name)
    return None


def to_json(value: Any, where: str = "config") -> Any:
    """``value`` in JSON's own types, such that ``from_json`` gives an equal one back: tuples, infinities, integer keys.

    Raises:
        InvalidArgumentType: an object that has no JSON form; the message names its place.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if isinstance(value, list):
        return [to_json(item, f"{where}/{index}") for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return {_TUPLE: [to_json(item, f"{where}/{index}") for index, item in enumerate(value)]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key not in (_TUPLE, _FLOAT, _DICT) for key in value):
            return {key: to_json(item, f"{where}/{key}") for key, item in value.items()}
        return {_DICT: [[to_json(key, where), to_json(item, f"{where}/{key}")] for key, item in value.items()]}
    raise InvalidArgumentType(
        f"{where} is a {type(value).__name__}, which JSON cannot hold; use numbers, strings, lists and dicts in the "
        f"space, and look objects up by name inside the trial"
    )


def from_json(value: Any) -> Any:
    """What ``to_json`` was given."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        if _TUPLE in value:
            return tuple(from_json(item) for item in value[_TUPLE])
        if _FLOAT in value:
            return float(value[_FLOAT])
        if _DICT in value:
            return {from_json(key): from_json(item) for key, item in value[_DICT]}
    return {key: from_json(item) for key, item in value.items()}
