"""Checkpoints that are objects rather than files: pickled into a checkpoint's folder, and given back as they were."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

from tuneflow.errors import TuneflowWarning, UsageError
from tuneflow.folders import is_writable_by_others

__all__ = ["note_path", "noted_path", "read_pickle", "restored", "write_object", "write_pickle"]

_FILE = ".tuneflow.object.pkl"
"""Hidden, so that it is in the way of no file of the user's."""
_PATH = ".tuneflow.path"


def write_object(folder: Any, value: Any) -> None:
    """Pickles an object into a checkpoint's folder.

    Raises:
        UsageError: it cannot be pickled.
    """
    instead = "pass a state_dict, a folder or a function save(folder)"
    write_pickle(Path(folder) / _FILE, value, what="checkpoint", instead=instead)


def restored(checkpoint: Any) -> Any:
    """What a trial goes on from: the object that was pickled, where it was one; else the checkpoint as it is."""
    folder = getattr(checkpoint, "path", None)
    if isinstance(folder, Path) and (folder / _FILE).exists():
        return read_pickle(folder / _FILE)
    return checkpoint


def note_path(folder: Any, given: str | os.PathLike[str]) -> None:
    """Notes the path in a checkpoint's folder that ``save_checkpoint`` returned, for ``load_checkpoint``.

    A file's name, or the start of several files' names; the folder itself, and text that names nothing in it, are
    passed over.

    Raises:
        UsageError: it is a path outside the folder.
    """
    root, path = Path(folder).absolute(), Path(given)
    inner = _inside(root, path.absolute())  # may be made of a folder that was given relative
    if inner is None and path.is_absolute():
        inner = _inside(root.resolve(), path.resolve())  # the same place without the links on the way
        if inner is None:
            raise UsageError(
                f"save_checkpoint returned {os.fspath(given)!r}, which is not in the folder that it was given; write "
                f"into checkpoint_dir, and return nothing or a path in it"
            )
    elif inner is None:
        try:
            inner = path if (root / path).exists() else None
        except OSError:  # longer than a name can be
            inner = None
    if inner is not None and inner.parts:
        (root / _PATH).write_text(inner.as_posix(), encoding="utf-8")


def _inside(root: Path, path: Path) -> Path | None:
    return path.relative_to(root) if path.is_relative_to(root) else None


def noted_path(folder: Path) -> Path:
    """What ``load_checkpoint`` is given: the path that was noted in a checkpoint's folder, the folder without one."""
    try:
        return folder / (folder / _PATH).read_text(encoding="utf-8")
    except FileNotFoundError:
        return folder


def write_pickle(path: Path, value: Any, *, what: str, instead: str) -> None:
    """Pickles an object into a file, by value where it comes from a script.

    Args:
        path: the file.
        value: the object.
        what: it is, for the message.
        instead: what to do where it cannot be pickled.

    Raises:
        UsageError: it cannot be pickled.
    """
    import cloudpickle

    try:
        content = cloudpickle.dumps(value)
    except Exception as error:
        raise UsageError(f"a {what} of type {type(value).__name__} cannot be pickled ({error}); {instead}") from error
    path.write_bytes(content)


def read_pickle(path: Path) -> Any:
    """What a file holds; where others may have written it, a ``TuneflowWarning`` says so."""
    for place in (path.parent, path):
        if is_writable_by_others(place):
            warnings.warn(
                f"{place} can be written to by other users, and reading {path.name} runs what they may have put there; "
                f"take their right to write away (chmod go-w)",
                TuneflowWarning,
                stacklevel=3,
            )
            break
    return pickle.loads(path.read_bytes())
