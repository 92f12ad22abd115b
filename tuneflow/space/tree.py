"""The nested definition of a space as a tree of named leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tuneflow.errors import InvalidArgument
from tuneflow.space.copies import fresh, is_named_tuple
from tuneflow.space.domain import Variable, holds_variable
from tuneflow.space.grid import Grid

__all__ = ["Branch", "Key", "Leaf", "Node", "Path", "assign", "build", "leaves", "parse", "sort_key"]

Key: TypeAlias = Any
"""A dict's key, as the user wrote it, or an index."""
Path: TypeAlias = tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A value of the configuration.

    Attributes:
        name: its keys joined by "/".
        path: its keys.
        item: a ``Variable``, or anything else for a constant.
    """

    name: str
    path: Path
    item: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A dict, list or tuple of the configuration.

    Attributes:
        name: its keys joined by "/"; "" for the whole.
        path: its keys.
        children: by key or index, in the user's order.
        make: builds the container from its items in order; None for a dict.
    """

    name: str
    path: Path
    children: Mapping[Key, Leaf | Branch]
    make: Callable[[list[Any]], Any] | None


Node: TypeAlias = Leaf | Branch


def _container(value: Any) -> tuple[list[tuple[Key, Any]], Callable[[list[Any]], Any] | None] | None:
    """Items and builder of a container to walk into; None for a leaf."""
    if isinstance(value, dict):
        # A subclass may mean more than its items: it is walked only where it has to be, and becomes a plain dict.
        if value and (type(value) is dict or holds_variable(value)):
            return list(value.items()), None
    elif is_named_tuple(value):
        if value:
            return list(enumerate(value)), value._make
    elif isinstance(value, list | tuple) and value and (type(value) in (list, tuple) or holds_variable(value)):
        return list(enumerate(value)), tuple if isinstance(value, tuple) else list
    return None


_FOREIGN = (
    "hyperopt.pyll",
    "ray.tune.search.sample",
    "nevergrad.parametrization",
    "ConfigSpace",
    "skopt.space",
    "scipy.stats._distn",
)
"""Where other libraries keep their domains; their users bring them along."""


def parse(value: Any, path: Path = ()) -> Node:
    """Turns a nested definition into a tree. Empty containers are constants."""
    name = "/".join(map(str, path))
    if isinstance(value, dict) and len(value) == 1 and "grid_search" in value:
        value = Grid(values=value["grid_search"])
    found = _container(value)
    if found is None:
        if isinstance(value, set | frozenset) and holds_variable(value):
            raise InvalidArgument(f"{name!r} holds a domain inside a set, which has no order; use a list")
        if type(value).__module__.startswith(_FOREIGN):
            raise InvalidArgument(
                f"{name}={value!r} is a domain of {type(value).__module__.partition('.')[0]}'s, which would be a "
                f"constant here; write it as tune.uniform, tune.loguniform, tune.randint, tune.choice, ..."
            )
        return Leaf(name=name, path=path, item=value if isinstance(value, Variable) else fresh(value))
    items, make = found
    return Branch(name=name, path=path, children={key: parse(item, (*path, key)) for key, item in items}, make=make)


def leaves(node: Node) -> Iterator[Leaf]:
    """The leaves in the user's order."""
    if isinstance(node, Leaf):
        yield node
    else:
        for child in node.children.values():
            yield from leaves(child)


def build(node: Node, values: Mapping[str, Any]) -> Any:
    """The nested structure anew, with the leaves' values by name."""
    if isinstance(node, Leaf):
        return values[node.name]
    if node.make is None:
        return {key: build(child, values) for key, child in node.children.items()}
    return node.make([build(child, values) for child in node.children.values()])


def assign(container: Any, path: Path, value: Any) -> Any:
    """A copy of nested dicts, lists and tuples in which ``value`` stands at ``path``; missing dict keys are added.

    Raises:
        InvalidArgument: the path leads past the end of a list or through something that is no container.
    """
    if not path:
        return fresh(value)
    key, *rest = path
    if isinstance(container, dict):
        return {**container, key: assign(container.get(key, {}), tuple(rest), value)}
    if isinstance(container, list | tuple) and str(key).isdecimal() and int(key) < len(container):
        items = list(container)
        items[int(key)] = assign(items[int(key)], tuple(rest), value)
        if isinstance(container, list):
            return items
        make: Callable[[list[Any]], Any] = getattr(container, "_make", tuple)
        return make(items)
    raise InvalidArgument(f"there is no entry {key!r} in {container!r}; name an entry that the configuration has")


def sort_key(path: Path) -> tuple[tuple[bool, int, str], ...]:
    """Orders paths key by key: indices as numbers, before names as text."""
    return tuple((False, key, "") if isinstance(key, int) else (True, 0, str(key)) for key in path)
