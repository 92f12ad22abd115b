"""How an experiment was called: kept in its folder, so that ``tuneflow resume FOLDER`` can call it again.

The file is a pickle, which can run anything that its writer likes: it is read only from a folder and a file that nobody
but this user (or root) can write to.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuneflow.errors import ExperimentNotFound, NotResumable
from tuneflow.folders import is_writable_by_others
from tuneflow.plain import is_secret, without_passwords

__all__ = ["recall", "remember"]

_FILE = "call.pkl"
_VERSION = 1


def remember(folder: Path, trainable: Any, given: Mapping[str, Any]) -> None:
    """Keeps a call of ``tune.run``, if another process could make it.

    It could not where the trainable was defined in a script or notebook, where an argument cannot be pickled, or where
    one holds a secret, which is written nowhere.

    Args:
        folder: of the experiment.
        trainable: what runs.
        given: the other arguments by name.
    """
    target = folder / _FILE
    if target.exists() or not _is_importable(trainable) or _holds_secret([trainable, given], 0):
        return
    import cloudpickle

    try:
        call = cloudpickle.dumps((trainable, dict(given)))
    except Exception:
        return
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100
    kept = {"version": _VERSION, "path": path, "directory": str(Path.cwd()), "call": call}
    with contextlib.suppress(OSError):  # a disk that is full says so where it matters
        descriptor = os.open(folder / f".{_FILE}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            pickle.dump(kept, file)
        (folder / f".{_FILE}").replace(target)


def recall(folder: Path) -> tuple[Any, dict[str, Any], Path]:
    """The call that began an experiment.

    Returns:
        The trainable, the other arguments, and the directory that the call was made in, which need not exist any more.

    Raises:
        ExperimentNotFound: there is no experiment in the folder.
        NotResumable: the call was not kept or may not be read; the message names the call to make instead.
    """
    if not (folder / "study.log").is_file():
        raise ExperimentNotFound(f"there is no experiment in {folder}; name the folder that holds its study.log")
    target = folder / _FILE
    instead = f"Call {_call_text(folder)} where the trainable is defined"
    if not target.exists():
        raise NotResumable(
            f"the experiment in {folder} cannot be called from here: its trainable is not importable (it was defined "
            f"in a script or notebook), or an argument cannot be kept (a secret, an open file). {instead}"
        )
    for path in (folder, target):
        if is_writable_by_others(path):
            raise NotResumable(
                f"{path} can be written to by other users, and reading {_FILE} would run what they put there; take "
                f"their right to write away (chmod go-w), if you trust what is in it. Or: {instead}"
            )
    try:
        kept = pickle.loads(target.read_bytes())
        sys.path[:] = [*sys.path, *(entry for entry in kept["path"] if entry not in sys.path)]
        trainable, given = pickle.loads(kept["call"])
    except Exception as error:
        raise NotResumable(
            f"the call of the experiment in {folder} cannot be made here ({type(error).__name__}: {error}). {instead}"
        ) from error
    return trainable, given, Path(kept.get("directory", "."))


def _is_importable(trainable: Any) -> bool:
    """Whether other processes find it under its own name. An object does if its class is, and what it holds."""
    named = trainable if hasattr(trainable, "__qualname__") else type(trainable)
    module, name = getattr(named, "__module__", None), getattr(named, "__qualname__", "")
    if module in (None, "__main__") or "<" in name:
        return False
    held = getattr(trainable, "func", None)  # functools.partial
    return held is None or _is_importable(held)


def _holds_secret(value: Any, depth: int) -> bool:
    if depth > 6:
        return False
    if isinstance(value, str):
        return without_passwords(value) != value
    bound = getattr(value, "tuneflow_parameters", None)
    if bound is not None:
        return _holds_secret(bound.given, depth + 1) or _holds_secret(getattr(value, "func", None), depth + 1)
    if isinstance(value, functools.partial):
        return _holds_secret(value.keywords, depth + 1) or _holds_secret(value.func, depth + 1)
    if isinstance(value, Mapping):
        held: Mapping[Any, Any] = value
    elif isinstance(value, (list, tuple)):
        held = dict(enumerate(value))
    else:
        own = getattr(value, "__dict__", None)
        if not isinstance(own, dict) or isinstance(value, type):
            return False
        held = {name.strip("_"): item for name, item in own.items()}
    return any((is_secret(key) and item is not None) or _holds_secret(item, depth + 1) for key, item in held.items())


def _call_text(folder: Path) -> str:
    label = "trainable"
    with contextlib.suppress(OSError, ValueError):
        label = json.loads((folder / "experiment.json").read_text())["trainable"].rpartition(":")[2] or label
    return f"tune.run({_written(label)}, ..., name={folder.name!r}, storage_path={str(folder.parent)!r}, resume=True)"


def _written(label: str) -> str:
    """A stored name as its user writes it."""
    return label.rpartition("<locals>.")[2].strip("<>") or "trainable"
