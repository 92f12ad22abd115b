"""Entries that are computed from other entries, in the order in which they need each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType, RecursiveDependencyError
from tuneflow.space.domain import Variable, holds_variable
from tuneflow.space.tree import Branch, Key, Node

__all__ = ["Computed", "ConfigView", "ListView", "Resolver", "Spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed(Variable):
    """An entry whose value a function of the other entries gives.

    Attributes:
        function: takes the configuration, or an object with the attribute ``config`` where its argument is called
            ``spec``; or takes nothing.

    Example:
        >>> Computed(function=lambda config: 2).style
        'config'
    """

    function: Callable[..., Any]
    style: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InvalidArgumentType(f"sample_from({self.function!r}): function must be callable")
        object.__setattr__(self, "style", _style(self.function))

    def __call__(self, view: ConfigView) -> Any:
        if self.style == "nothing":
            return self.function()
        return self.function(Spec(view) if self.style == "spec" else view)


def _style(function: Callable[..., Any]) -> str:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C tell nothing
        return "config"
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
        names = ", ".join(p.name for p in required)
        raise InvalidArgument(
            f"sample_from({function!r}): function must take one argument, spec or config, not {names}"
        )
    positional = [p for p in parameters if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    if not positional:
        return "nothing"
    return "spec" if positional[0].name == "spec" else "config"


class Resolver:
    """Evaluates computed entries when they are first read, each once.

    Args:
        root: the space's tree.
        values: the values known so far by flat name; those computed are added.
        computed: the computed entries by flat name.
    """

    def __init__(self, root: Branch, values: dict[str, Any], computed: Mapping[str, Computed]) -> None:
        self.values = values
        self.reads: dict[str, set[str]] = {}
        self._root = root
        self._computed = computed
        self._open: list[str] = []

    def value(self, name: str) -> Any:
        """The value of a leaf.

        Raises:
            RecursiveDependencyError: computing it needs itself.
            InvalidArgument: its function failed; the function's own exception is the cause.
        """
        if self._open:
            self.reads.setdefault(self._open[-1], set()).add(name)
        if name in self.values:
            return self.values[name]
        if name in self._open:
            cycle = " -> ".join([*self._open[self._open.index(name) :], name])
            raise RecursiveDependencyError(
                f"sample_from entries need each other's values: {cycle}; compute one of them from other entries"
            )
        self._open.append(name)
        try:
            result = _plain(self._computed[name](ConfigView(self._root, self)))
            if holds_variable(result):
                raise TypeError(
                    f"it returned {result!r}, which nothing would draw from; give the domain an entry of its own, and "
                    f"pick that entry here"
                )
        except RecursiveDependencyError:
            raise
        except Exception as error:
            raise InvalidArgument(f"sample_from of {name!r} failed: {type(error).__name__}: {error}") from error
        finally:
            self._open.pop()
        self.values[name] = result
        return result

    def depends_on(self, name: str, changed: frozenset[str]) -> bool:
        """Whether a computed entry has read one of ``changed``, itself or through others. Call after ``value``."""
        return any(read in changed or self.depends_on(read, changed) for read in self.reads.get(name, ()))


def _seen(node: Node, resolver: Resolver) -> Any:
    """What a user's function sees of a node."""
    if isinstance(node, Branch):
        return ConfigView(node, resolver) if node.make is None else ListView(node, resolver)
    return _dotted(resolver.value(node.name))


class _DottedDict(dict[Any, Any]):
    """A dict among the values, an option of a choice for instance, with its keys as attributes too."""

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"no entry {key!r}; there are: {', '.join(map(str, self))}") from None


def _dotted(value: Any) -> Any:
    if type(value) is dict:
        return _DottedDict((key, _dotted(item)) for key, item in value.items())
    return value


class ConfigView(Mapping[Key, Any]):
    """A configuration in the making, read-only: ``config["a"]["b"]`` or ``config.a.b``."""

    __slots__ = ("_branch", "_resolver")

    def __init__(self, branch: Branch, resolver: Resolver) -> None:
        self._branch = branch
        self._resolver = resolver

    def __getitem__(self, key: Key) -> Any:
        if key not in self._branch.children:
            if key == "config" and not self._branch.path:
                return self  # spec["config"] under another argument name
            raise KeyError(self._unknown(key))
        return _seen(self._branch.children[key], self._resolver)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        if key not in self._branch.children:
            if key == "config" and not self._branch.path:
                return self  # spec.config under another argument name
            raise AttributeError(self._unknown(key))
        return self[key]

    def _unknown(self, key: Key) -> str:
        where = f" in {self._branch.name!r}" if self._branch.name else ""
        return f"no entry {key!r}{where}; there are: {', '.join(map(str, self._branch.children))}"

    def __iter__(self) -> Iterator[Key]:
        return iter(self._branch.children)

    def __len__(self) -> int:
        return len(self._branch.children)


class ListView(Sequence[Any]):
    """A list or tuple of a configuration in the making, read-only."""

    __slots__ = ("_branch", "_resolver")

    def __init__(self, branch: Branch, resolver: Resolver) -> None:
        self._branch = branch
        self._resolver = resolver

    def __getitem__(self, index: Any) -> Any:
        nodes = list(self._branch.children.values())[index]
        if isinstance(index, slice):
            return [_seen(node, self._resolver) for node in nodes]
        return _seen(nodes, self._resolver)

    def __len__(self) -> int:
        return len(self._branch.children)


@dataclass(frozen=True, slots=True)
class Spec:
    """What a function with the argument ``spec`` is given: the configuration is its attribute."""

    config: ConfigView

    def __getitem__(self, key: str) -> ConfigView:
        if key != "config":
            raise KeyError(f"no entry {key!r}; there is: config")
        return self.config


def _plain(value: Any) -> Any:
    """A function's result with the views that it may hold turned into plain containers."""
    if isinstance(value, Spec):
        return {"config": _plain(value.config)}
    if isinstance(value, ConfigView) or type(value) in (dict, _DottedDict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, ListView):
        return value._branch.make([_plain(item) for item in value]) if value._branch.make else list(value)
    if type(value) in (list, tuple, set):
        return type(value)(_plain(item) for item in value)
    return value
