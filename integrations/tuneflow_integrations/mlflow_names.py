"""What MLflow takes as names and values, and how ours are made to fit. Pure."""

from __future__ import annotations

import json
import math
import posixpath
import re
import zlib
from collections.abc import Mapping
from typing import Any

from tuneflow.callbacks.flattening import flatten
from tuneflow.plain import plain

__all__ = ["MAX_PARAM_CHARS", "MAX_TAG_CHARS", "Names", "clip", "metrics_of", "params_of", "text_of"]

MAX_KEY_CHARS = 250
MAX_PARAM_CHARS = 6000
MAX_TAG_CHARS = 5000  # servers before 2.14 refuse more
_ELLIPSIS = "..."
_FORBIDDEN = re.compile(r"[^/\w.\- ]")
# Not hyperparameters: what configures a tracker.
_TRACKERS = ("wandb", "mlflow")
# What every result of tune.run carries and nobody plots.
_UNPLOTTED = frozenset({"trial_id", "done", "pid", "hostname", "timestamp"})


class Names:
    """Keys as MLflow takes them: letters, digits, ``_-. /``, at most 250 characters, no path that could be shorter.

    A key that fits stays as it is. Two keys that would become the same stay apart: the second one gets a checksum.

    Example:
        >>> names = Names()
        >>> names.of("acc@1"), names.of("acc#1"), names.of("net//width")
        ('acc_1', 'acc_1_ee05f32f', 'net/width')
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, key: str) -> str:
        """The key as MLflow takes it."""
        known = self._known.get(key)
        if known is not None:
            return known
        name = _fitting(key)
        if name in self._taken:
            checksum = f"_{zlib.crc32(key.encode('utf-8', 'replace')):08x}"
            name = name[: MAX_KEY_CHARS - len(checksum)] + checksum
        self._known[key] = name
        self._taken.add(name)
        return name


def _fitting(key: str) -> str:
    name = _FORBIDDEN.sub("_", key)
    # As a file's path it must be the shortest of its kind and must stay in its folder.
    name = posixpath.normpath(name).lstrip("/")
    name = "/".join("_" if part == ".." else part for part in name.split("/"))
    if name in ("", "."):
        name = "_"
    if len(name) > MAX_KEY_CHARS:
        checksum = f"_{zlib.crc32(key.encode('utf-8', 'replace')):08x}"
        name = name[: MAX_KEY_CHARS - len(checksum)].rstrip("/") + checksum
    return name


def clip(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters; what is cut ends in ``...``."""
    return text if len(text) <= limit else text[: limit - len(_ELLIPSIS)] + _ELLIPSIS


def text_of(value: Any) -> str:
    """A plain value as a parameter or tag: lists as JSON."""
    return json.dumps(value) if isinstance(value, list) else str(value)


def params_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a configuration by path, plain; secrets masked, what configures trackers left out."""
    own = {key: value for key, value in config.items() if key not in _TRACKERS}
    return flatten(plain(own))


def metrics_of(result: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers of a result, by path, and its texts.

    Returns:
        Numbers (truth values as 0 and 1; NaN and infinities stay) and whatever else the user reported, as text.
    """
    numbers: dict[str, float] = {}
    texts: dict[str, str] = {}
    for key, value in result.items():
        if key in _UNPLOTTED:
            continue
        if type(value) is float:
            numbers[key] = value
        else:
            for path, entry in flatten(plain({key: value})).items():
                number = _number(entry)
                if number is not None:
                    numbers[path] = number
                elif entry is not None:
                    texts[path] = text_of(entry)
    return numbers, texts


def _number(value: Any) -> float | None:
    """A plain value as a float; None where it is none."""
    if not isinstance(value, (bool, int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
