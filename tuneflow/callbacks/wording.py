"""Numbers, times and configurations in few characters, for tables on a terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.flattening import flatten
from tuneflow.plain import plain
from tuneflow.space.domain import Variable

if TYPE_CHECKING:
    from tuneflow.space import Space

__all__ = ["config_cells", "config_text", "constants_of", "duration_text", "memory_text", "value_text"]

# Not hyperparameters: what configures a tracker.
_TRACKERS = ("wandb", "mlflow")
_MAX_CHARS = 24
_GIB = 2.0**30


def value_text(value: Any, *, max_chars: int = _MAX_CHARS) -> str:
    """A value in at most ``max_chars`` printable characters; floats with six digits."""
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= max_chars else f"{text[: max_chars - 3]}..."


def config_cells(config: Mapping[str, Any]) -> dict[str, str]:
    """A configuration's entries by path, as short texts; secrets masked, a tracker's settings left out."""
    own = {key: value for key, value in config.items() if key not in _TRACKERS}
    return {path: value_text(value) for path, value in flatten(plain(own)).items()}


def constants_of(space: Space | None) -> dict[str, str]:
    """The entries of a space that do not vary, by path, as ``config_cells`` words them."""
    if space is None:
        return {}
    found = flatten({key: value for key, value in space.definition.items() if key not in _TRACKERS})
    constant = {path: value for path, value in found.items() if not _varies(value)}
    return {path: value_text(value) for path, value in plain(constant).items()}


def _varies(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_varies, value))
    return isinstance(value, Variable)


def config_text(config: Mapping[str, Any], *, constants: Mapping[str, str] | None = None, max_entries: int = 12) -> str:
    """A configuration in one line, without what has its constant value: ``lr=0.1, net/width=64``."""
    known = constants or {}
    cells = [f"{path}={text}" for path, text in config_cells(config).items() if known.get(path) != text]
    more = f", and {len(cells) - max_entries} more" if len(cells) > max_entries else ""
    return ", ".join(cells[:max_entries]) + more


def duration_text(seconds: float) -> str:
    """Seconds as people read them.

    Example:
        >>> duration_text(3.24), duration_text(75), duration_text(7384)
        ('3.2 s', '1:15', '2:03:04')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def memory_text() -> str | None:
    """Used and total memory of this machine, ``11.4/16.0 GiB``; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            entries = dict(line.split(":", 1) for line in file)
        total = int(entries["MemTotal"].split()[0]) * 1024
        available = int(entries["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        try:
            page = os.sysconf("SC_PAGE_SIZE")
            total = os.sysconf("SC_PHYS_PAGES") * page
            available = os.sysconf("SC_AVPHYS_PAGES") * page
        except (AttributeError, OSError, ValueError):
            return None
    return f"{(total - available) / _GIB:.1f}/{total / _GIB:.1f} GiB"
