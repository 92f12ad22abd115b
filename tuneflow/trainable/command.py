"""A program's command line and environment with placeholders for hyperparameters. Pure; no shell is involved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

from tuneflow.errors import InvalidArgument
from tuneflow.plain import MASK, is_secret, plain
from tuneflow.space.categorical import Choice
from tuneflow.space.domain import Domain, Variable
from tuneflow.space.grid import Grid

__all__ = ["fields", "filled", "is_program_text", "missing_in", "unwritable_in"]

_INTERPRETERS = re.compile(r"(ba|da|z|k|a|fi|c|tc)?sh|python[\d.]*")
_ABSENT = object()
_ONE_OF_EACH = (0, 0.5, "a")
"""Values that a format may be meant for."""


def fields(template: str) -> list[str]:
    """The names in braces, in order: ``--lr {lr:.3g}`` has ``lr``. Doubled braces stand for themselves.

    Raises:
        InvalidArgument: the braces do not match, a pair is empty, or a format that suits no value, or a NUL character.

    Example:
        >>> fields("--layers={model/layers} --json={{}}")
        ['model/layers']
    """
    return [name for _, name, _, _ in _parsed(template) if name is not None]


def _parsed(template: str) -> list[tuple[str, str | None, str, str | None]]:
    try:
        pieces = [(text, name, form or "", conversion) for text, name, form, conversion in Formatter().parse(template)]
    except ValueError as error:
        raise InvalidArgument(
            f"{template!r} cannot be filled in: {error}. A hyperparameter stands in single braces, {{lr}}; write a "
            f"brace of the program's own twice"
        ) from None
    if any(name == "" for _, name, _, _ in pieces):
        raise InvalidArgument(f"{template!r} has an empty pair of braces; name the hyperparameter: {{lr}}")
    if "\0" in template:
        raise InvalidArgument(f"{template!r} holds a NUL character, which no argument can hold")
    for _, name, form, conversion in pieces:
        if name is not None and not any(_problem(value, form, conversion) is None for value in _ONE_OF_EACH):
            raise InvalidArgument(
                f"{template!r} has a format for {name} that suits no value; one as in {{lr:.3g}}, {{n:05d}} or "
                f"{{name!r}} is required"
            )
    return pieces


def _problem(value: Any, form: str, conversion: str | None) -> str | None:
    """Why a format does not suit a value; None where it does."""
    try:
        format(Formatter().convert_field(value, conversion) if conversion else value, form)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def filled(template: str, config: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """The template with values for names. A value never becomes more than one argument.

    Numbers and strings are written as Python prints them, floats in full; lists and dicts as JSON. A format
    (``{lr:.3g}``) applies to the value.

    Args:
        template: text with ``{name}``.
        config: the trial's configuration, nested; "model/layers" leads to ``config["model"]["layers"]``.
        extra: names that are none of the configuration's, ``trial.number`` for instance.

    Raises:
        InvalidArgument: a name that is not there, a format that does not fit, or a NUL character.

    Example:
        >>> filled("--lr={lr:.2f}", {"lr": 0.125}, {})
        '--lr=0.12'
    """
    parts = []
    for text, name, form, conversion in _parsed(template):
        parts.append(text)
        if name is None:
            continue
        value = _value_at(config, name)
        if value is _ABSENT:
            value = extra.get(name, _ABSENT)
        if value is _ABSENT:
            raise _unknown(name, template, config)
        parts.append(_written(value, form, conversion, name, template))
    whole = "".join(parts)
    if "\0" in whole:
        raise InvalidArgument(f"a value in {template!r} holds a NUL character, which no argument can hold")
    return whole


def _written(value: Any, form: str, conversion: str | None, name: str, template: str) -> str:
    if isinstance(value, (Mapping, list, tuple)):
        value = json.dumps(value, default=plain)
    elif not isinstance(value, str):
        value = plain(value)
    problem = _problem(value, form, conversion)
    if problem is not None:
        shown = MASK if is_secret(name.rpartition("/")[2]) else repr(value)
        raise InvalidArgument(f"{name}={shown} cannot be written as {template!r} asks: {problem}")
    return format(Formatter().convert_field(value, conversion) if conversion else value, form)


def _value_at(config: Mapping[str, Any], name: str) -> Any:
    """The entry that a name with slashes leads to; a mark of its own where there is none."""
    if name in config:
        return config[name]
    found: Any = config
    for key in name.split("/"):
        if isinstance(found, Mapping):
            keys = {str(own): own for own in found}
            if key not in keys:
                return _ABSENT
            found = found[keys[key]]
        elif isinstance(found, (list, tuple)) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return _ABSENT
    return found


def _unknown(name: str, template: str, config: Mapping[str, Any]) -> InvalidArgument:
    return InvalidArgument(
        f"{{{name}}} in {template!r} is no entry of the configuration, which has: {', '.join(_names(config))}"
    )


def _names(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in config.items():
        found += _names(value, f"{prefix}{key}/") if isinstance(value, Mapping) and value else [f"{prefix}{key}"]
    return found or ["nothing"]


def missing_in(templates: Iterable[str], definition: Mapping[str, Any], extra: Iterable[str]) -> None:
    """Finds a placeholder that no configuration of a space can fill.

    Args:
        templates: texts with ``{name}``.
        definition: the space: a nested dict of domains and constants.
        extra: names that are none of the configuration's.

    Raises:
        InvalidArgument: there is one; the message lists the entries that there are.
    """
    known = set(extra)
    for template in templates:
        for name in fields(template):
            if name not in known and not _may_have(definition, name):
                raise _unknown(name, template, definition)


def _may_have(definition: Mapping[str, Any], name: str) -> bool:
    """Whether some configuration has the entry: what a domain draws may be a dict itself."""
    if _value_at(definition, name) is not _ABSENT:
        return True
    keys = name.split("/")
    for n in range(1, len(keys)):
        start = _value_at(definition, "/".join(keys[:n]))
        if start is not _ABSENT and not isinstance(start, (Mapping, list, tuple, str, int, float, type(None))):
            return True
    return False


def unwritable_in(templates: Iterable[str], definition: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    """Finds a format that some value of a space does not fit, as far as its domains tell.

    Args:
        templates: texts with ``{name:format}``.
        definition: the space: a nested dict of domains and constants.
        extra: a value of the right kind for each name that is none of the configuration's.

    Raises:
        InvalidArgument: there is one.
    """
    for template in templates:
        for _, name, form, conversion in _parsed(template):
            if name is not None and (form or conversion):
                found = _value_at(definition, name)
                for value in _examples(extra.get(name, _ABSENT) if found is _ABSENT else found):
                    _written(value, form, conversion, name, template)


def _examples(entry: Any) -> Iterable[Any]:
    """Values of an entry, at least one of each kind; none where nobody knows them before they are drawn."""
    if isinstance(entry, (Choice, Grid)):
        return entry.values
    if isinstance(entry, Domain):
        import numpy as np

        return (entry.sample(np.random.default_rng(0)),)  # its values are all of one type
    return () if entry is _ABSENT or isinstance(entry, Variable) else (entry,)


def is_program_text(argv: Sequence[str], index: int) -> bool:
    """Whether an argument is the text of a program: ``["bash", "-c", TEXT]``, ``["python", "-c", TEXT]``.

    Values must not be written into it, since they would be read as a part of it; its braces are its own.
    """
    if not argv or not _INTERPRETERS.fullmatch(argv[0].rpartition("/")[2]):
        return False
    options = 1
    while options < len(argv) and re.fullmatch(r"[-+][\w-]+", argv[options]):
        if re.fullmatch(r"-[a-zA-Z]*c", argv[options]):
            return index == options + 1
        options += 1
    return False
