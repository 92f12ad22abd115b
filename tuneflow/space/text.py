"""Domains written as text, ``"loguniform(1e-4, 1e-1)"``, as in a YAML or JSON file. Parsed, never evaluated."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.space import domains
from tuneflow.space.space import Space

__all__ = ["space_from_mapping", "space_from_text"]

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(domains, name) for name in domains.__all__ if name != "sample_from"
}
_CALL = re.compile(r"\s*(?:tune\.|tuneflow\.)?([A-Za-z_]\w*)\s*\(")


def space_from_text(text: str) -> Any:
    """The domain or grid that ``text`` calls for; any other text is a constant and comes back as it is.

    Arguments are Python literals, by position or by name: numbers, strings, lists, True, None. A prefix ``tune.`` may
    stand before the name.

    Raises:
        InvalidArgument: a domain's call cannot be read, or its arguments break a rule; or the name is that of a
            domain but for a slip of the pen.

    Example:
        >>> space_from_text("uniform(0, 1)")
        Uniform(lower=0.0, upper=1.0)
        >>> space_from_text("uniform")
        'uniform'
    """
    match = _CALL.match(text)
    if match is None:
        return text
    name = match[1]
    if name == "sample_from":
        raise InvalidArgument(f"{text!r}: sample_from takes a Python function and cannot be written as text")
    if name not in _FUNCTIONS:
        similar = difflib.get_close_matches(name, _FUNCTIONS, n=1, cutoff=0.8)
        if similar and _call(text) is not None:
            raise InvalidArgument(f"{text!r}: {name} is no domain; did you mean {similar[0]}?")
        return text
    call = _call(text)
    if call is None:
        raise InvalidArgument(f"{text!r} is not a complete call of {name}; write {name}(...) with literal arguments")
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
        if len(keywords) < len(call.keywords):
            raise ValueError("** is not a literal")
    except ValueError as error:
        raise InvalidArgument(
            f"{text!r}: arguments must be literals (numbers, strings, lists, True, None), not expressions"
        ) from error
    try:
        return _FUNCTIONS[name](*arguments, **keywords)
    except TypeError as error:
        raise InvalidArgument(f"{text!r}: {error}") from error


def _call(text: str) -> ast.Call | None:
    """The call of a named function that the whole text is; None where it is none."""
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name | ast.Attribute):
        return expression
    return None


def space_from_mapping(mapping: Mapping[str, Any]) -> Space:
    """The space that a mapping defines, as it was loaded from YAML or JSON, with its texts read as domains.

    Raises:
        InvalidArgument: a text cannot be read; the message names the entry.
        InvalidArgumentType: it is no mapping; an empty file is None.

    Example:
        >>> space = space_from_mapping({"lr": "loguniform(1e-4, 1e-1)", "epochs": 10})
        >>> list(space.domains)
        ['lr']
    """
    if not isinstance(mapping, Mapping):
        raise InvalidArgumentType(f"a search space must be a mapping of names to entries, not {mapping!r}")
    return Space(_walk(dict(mapping), ""))


def _walk(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _walk(item, f"{name}/{key}" if name else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, f"{name}/{index}") for index, item in enumerate(value)]
    if isinstance(value, str):
        try:
            return space_from_text(value)
        except InvalidArgument as error:
            raise InvalidArgument(f"{name}: {error}") from error
    return value
