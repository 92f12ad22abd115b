"""What crosses the pipe to a worker process, as bytes."""

from __future__ import annotations

import io
import pickle
from typing import Any

from tuneflow.checkpoint import Checkpoint
from tuneflow.errors import UnpicklableTrainable
from tuneflow.pruners.base import Exploit
from tuneflow.trainable.messages import Answer, Assignment

__all__ = ["pack", "pack_message"]


def pack(trainable: Any) -> bytes:
    """A trainable as bytes; what is defined in ``__main__`` or a notebook is sent by value.

    Raises:
        UnpicklableTrainable: it holds something that cannot be sent; the message names it.
    """
    import cloudpickle

    try:
        blob: bytes = cloudpickle.dumps(trainable)
    except Exception as error:
        name = getattr(trainable, "__name__", type(trainable).__name__)
        culprit = _culprit(trainable)
        raise UnpicklableTrainable(
            f"the trainable {name} cannot be sent to a worker process{culprit}: {error}. Create it inside the "
            f"function, pass it with tune.with_parameters, or use executor='inline'"
        ) from error
    return blob


def _culprit(trainable: Any) -> str:
    """Names the closure variable, global or attribute that cannot be pickled."""
    import inspect

    import cloudpickle

    held: dict[str, Any] = {}
    function = getattr(trainable, "func", trainable)
    if inspect.isfunction(function):
        found = inspect.getclosurevars(function)
        held = {
            **{f"closure variable {name!r}": value for name, value in found.nonlocals.items()},
            **{f"global {name!r}": value for name, value in found.globals.items()},
            **{f"default of {name!r}": value for name, value in (function.__kwdefaults__ or {}).items()},
        }
    for name, value in getattr(trainable, "__dict__", {}).items():
        held[f"attribute {name!r}"] = value
    for name, value in (getattr(trainable, "keywords", None) or {}).items():
        held[f"argument {name!r}"] = value
    for name, value in held.items():
        try:
            cloudpickle.Pickler(io.BytesIO()).dump(value)
        except Exception:
            return f" because of its {name} ({type(value).__name__})"
    return ""


def pack_message(message: Any) -> bytes:
    """A message for a worker. What users hold may be defined in ``__main__``, which is another module there."""
    if _is_plain(message):
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    import cloudpickle

    packed: bytes = cloudpickle.dumps(message)
    return packed


def _is_plain(value: Any) -> bool:
    """Whether a message holds nothing but values and classes that every process has."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes):
        return True
    if kind is dict:
        return all(type(key) is str and _is_plain(entry) for key, entry in value.items())
    if kind in (list, tuple):
        return all(map(_is_plain, value))
    if kind is Assignment:
        return (
            _is_plain(value.config)
            and _is_plain(value.sections)
            and _is_plain(value.params)
            and _is_plain(value.user_attrs)
            and _is_plain(value.checkpoint)
        )
    if kind is Answer:
        return not isinstance(value.decision, Exploit)
    return kind is Checkpoint
