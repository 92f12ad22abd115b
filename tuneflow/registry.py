"""Names that stand for code in a higher storey or in an optional library, resolved when first used.

A lower storey never imports a higher one: `Study.optimize` finds its runner here, and ``sampler="hyperopt"``
or ``executor="ray"`` find theirs without the core importing an integration.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from tuneflow.errors import MissingLibrary, UnknownName, UsageError

__all__ = ["Entry", "known", "register", "resolve"]


class Entry(NamedTuple):
    """Where a name leads.

    Attributes:
        target: "package.module:attribute".
        library: the optional library it needs, "" for none.
        extra: the extra of tuneflow that installs the library.
    """

    target: str
    library: str = ""
    extra: str = ""


_entries: dict[str, dict[str, Entry]] = {}


def register(kind: str, name: str, target: str, *, library: str = "", extra: str = "") -> None:
    """Makes ``name`` of ``kind`` stand for ``target`` ("package.module:attribute")."""
    _entries.setdefault(kind, {})[name] = Entry(target, library, extra)


def known(kind: str) -> list[str]:
    """The names registered for ``kind``, sorted."""
    return sorted(_entries.get(kind, {}))


def resolve(kind: str, name: str) -> Any:
    """The object behind a name.

    Raises:
        UnknownName: the name is not registered; the message lists those that are.
        MissingLibrary: its library is not installed; the message says which extra to install.
        UsageError: the name is kept for a later version.
    """
    try:
        entry = _entries[kind][name]
    except KeyError:
        raise UnknownName(kind, name, known(kind)) from None
    module, attribute = entry.target.split(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        is_ours = error.name == module and module.startswith("tuneflow_integrations.")
        if is_ours and _is_there(entry.library):
            raise UsageError(
                f"{kind} {name!r} is a name kept for later: this version of tuneflow has nothing behind it"
            ) from None
        if entry.library:
            raise MissingLibrary(entry.library, entry.extra) from error
        raise


def _is_there(library: str) -> bool:
    from importlib.util import find_spec

    return find_spec(library) is not None
