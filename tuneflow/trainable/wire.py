"""What a trial's program and the process that started it say to each other.

The program asks in JSON, so that nothing it sends is ever unpickled; it is answered with pickles, which it may trust:
they come from the process that started it, and both sides have shown that they know the secret.

* ``hello`` is answered with the trial (``Welcome``);
* ``begin``, before a process's first report, with the number of results so far;
* ``reported`` with an ``Answer`` or an exception; ``saved`` is not answered; ``receive`` is, with a further ``Answer``;
* ``follow``, of a process whose rank is not 0, with the decision on the n-th result of its job, once there is one.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

from tuneflow.checkpoint import Checkpoint, Deferred, Staged
from tuneflow.trainable.messages import Assignment, Reported, Saved

__all__ = ["ADDRESS", "LONGEST_MESSAGE", "SECRET", "Welcome", "decoded_report", "decoded_saved", "encoded", "packed"]

ADDRESS = "TUNEFLOW_ADDRESS"
"""Environment variable: where to reach the process that started the program, "127.0.0.1:PORT"."""
SECRET = "TUNEFLOW_SECRET"
"""Environment variable: what both sides prove to know. Made anew for each run of a program."""
LONGEST_MESSAGE = 1 << 26


class Welcome(NamedTuple):
    """The trial, for its program.

    Attributes:
        assignment: without its configuration.
        config: the configuration, pickled by itself: the program may lack what it takes to read it.
        elapsed_s: how long the program has run.
    """

    assignment: Assignment
    config: bytes
    elapsed_s: float


def encoded(message: Reported | Saved | Mapping[str, Any]) -> bytes:
    """A question as JSON. Metrics must be plain values."""
    if isinstance(message, Reported):
        fields = {**message._asdict(), "checkpoint": _place(message.checkpoint), "kind": "reported"}
    elif isinstance(message, Saved):
        fields = {**message._asdict(), "content": _place(message.content), "kind": "saved"}
    else:
        fields = dict(message)
    return json.dumps(fields).encode()


def _place(content: Any) -> Any:
    if isinstance(content, Staged):
        return {"staged": str(content.path)}
    return {"deferred": True} if isinstance(content, Deferred) else None


def decoded_report(fields: Mapping[str, Any], assignment: Assignment) -> Reported:
    """A report from its JSON, as one of ``assignment``, whatever it says itself.

    Raises:
        KeyError: it lacks something.
    """
    return Reported(**_only(Reported._fields, {**fields, "checkpoint": _content(fields["checkpoint"])}, assignment))


def decoded_saved(fields: Mapping[str, Any], assignment: Assignment) -> Saved:
    """A saved checkpoint in the same way. Raises as ``decoded_report``."""
    return Saved(**_only(Saved._fields, {**fields, "content": _content(fields["content"])}, assignment))


def _only(names: tuple[str, ...], fields: Mapping[str, Any], assignment: Assignment) -> dict[str, Any]:
    own = {**fields, "trial": assignment.trial, "attempt": assignment.attempt}
    return {name: own[name] for name in names}


def _content(place: Any) -> Staged | Deferred | None:
    from pathlib import Path

    if not isinstance(place, Mapping):
        return None
    return Staged(Path(place["staged"])) if "staged" in place else Deferred()


def packed(value: Any) -> bytes:
    """A pickle; what is defined in ``__main__`` or a notebook is sent by value."""
    if _is_plain(value):
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    import cloudpickle

    blob: bytes = cloudpickle.dumps(value)
    return blob


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes, Checkpoint):
        return True
    if kind is dict:
        return all(_is_plain(key) and _is_plain(entry) for key, entry in value.items())
    return kind in (list, tuple) and all(map(_is_plain, value))
