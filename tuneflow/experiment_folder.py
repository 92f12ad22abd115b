"""The folder of an experiment: its name, its lock, and what it says of itself."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tuneflow.clock import Clock
from tuneflow.errors import (
    ExperimentExists,
    ExperimentNotFound,
    InvalidArgument,
    InvalidArgumentType,
    TuneflowWarning,
)
from tuneflow.plain import MASK, is_secret, plain
from tuneflow.settings import Settings
from tuneflow.study import Study

__all__ = ["check_folder", "check_same", "describe", "folder_of", "label_of", "locked", "stored_name"]

_FORMAT = 1
_LONGEST = 1000
_LOCK = ".lock"
"""The file that a driver holds; alone in a folder it is left from a run that was refused before it began."""


def label_of(trainable: Any) -> str:
    """What a trainable is called in names of folders and rows."""
    return str(getattr(trainable, "__name__", type(trainable).__name__)).strip("<>")


def folder_of(name: str | None, storage_path: Any, trainable: Any, clock: Clock) -> Path:
    """The absolute path of an experiment's folder; a name that is free is made up where none is given.

    Raises:
        InvalidArgument: the name is no folder's name, or ``storage_path`` leads to or through a file.
        InvalidArgumentType: ``storage_path`` is no path.
    """
    root = _root(storage_path)
    if name is None:
        moment = datetime.fromtimestamp(clock.time(), tz=timezone.utc).astimezone()
        label = label_of(trainable)
        name = f"{label}_{moment:%Y-%m-%d_%H-%M-%S}"
        counter = 1
        while (root / name).exists():
            counter += 1
            name = f"{label}_{moment:%Y-%m-%d_%H-%M-%S}_{counter}"
    elif (
        not isinstance(name, str)
        or not name
        or len(name.encode()) > 200
        or name in (".", "..")
        or "/" in name
        or "\0" in name
    ):
        raise InvalidArgument(f"name={name!r} must be a folder name of at most 200 bytes without '/'")
    return (root / name).resolve()


def _root(storage_path: Any) -> Path:
    if storage_path is None:
        return Path("tuneflow_results")
    if not isinstance(storage_path, (str, os.PathLike)) or isinstance(os.fspath(storage_path), bytes):
        raise InvalidArgumentType(f"storage_path={storage_path!r} must be the path of a folder")
    if not os.fspath(storage_path):
        raise InvalidArgument("storage_path='' is no path; leave it out for ./tuneflow_results")
    scheme, separator, rest = os.fspath(storage_path).partition("://")
    if separator and scheme != "file":
        raise InvalidArgument(
            f"storage_path={storage_path!r}: experiments are written to a folder of this machine; give one, and "
            f"copy it to {scheme} when the run has ended, or mount the bucket"
        )
    root = Path(rest if separator else storage_path).expanduser()
    for part in (root, *root.parents):
        if part.is_dir():
            break
        if os.path.lexists(part) and not part.is_dir():  # still, since another run may have made the folder just then
            what = "is a file" if part.exists() else "is a link that leads nowhere"
            raise InvalidArgument(
                f"storage_path={str(storage_path)!r}: {str(part)!r} {what}, not a folder; give a folder"
            )
    return root


def check_folder(folder: Path, resume: bool | str) -> bool:
    """Whether the experiment exists and is to go on."""
    if resume not in (False, True, "auto", "errored"):
        raise InvalidArgument(f"resume={resume!r} must be False, True, 'auto' or 'errored'")
    exists = (folder / "study.log").exists()
    if resume is False and folder.exists() and any(entry.name != _LOCK for entry in folder.iterdir()):
        raise ExperimentExists(
            f"the folder {folder} exists; pass resume=True to go on with that experiment, or another name"
        )
    if resume in (True, "errored") and not exists:
        raise ExperimentNotFound(
            f"there is no experiment to resume in {folder}; check name and storage_path, or pass resume='auto' to "
            f"start it if it does not exist"
        )
    return exists


def check_same(folder: Path, settings: Settings) -> bool:
    """Refuses to go on with an experiment under another metric or in another space: their trials would be mixed.

    Other constants are warned about: a path may have another name on another machine.

    Returns:
        Whether the constants are what they were.

    Raises:
        InvalidArgument: the metric, the mode or the space differs; the message says in what.
    """
    try:
        stored = json.loads((folder / "experiment.json").read_text())
    except (OSError, ValueError):
        return True
    for name, given in (("metric", settings.metric), ("mode", settings.mode)):
        if stored.get(name) != given:
            raise InvalidArgument(
                f"the experiment in {folder} has {name}={stored.get(name)!r}, not {given!r}; resume it with its own, "
                f"or start another under another name"
            )
    before, now = stored.get("space", {}), _space_text(settings)
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if changed:
        then, today = ({name: space.get(name) for name in changed} for space in (before, now))
        raise InvalidArgument(
            f"the space of the experiment in {folder} differs in {', '.join(changed)}: {then} then, {today} now; "
            f"resume it with its own space, or start another under another name"
        )
    before, now = stored.get("constants", {}), _constants(settings)
    changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    if changed:
        then, today = ({name: constants[name] for name in changed} for constants in (before, now))
        warnings.warn(
            f"the constants of the experiment in {folder} were {then} and are {today}: trials that start or go on have "
            f"the new ones, those that have ended keep what they had",
            TuneflowWarning,
            stacklevel=4,
        )
    return not changed


def stored_name(folder: Path) -> str:
    """The name under which an experiment's study is stored: its folder may have been renamed since."""
    try:
        return str(json.loads((folder / "experiment.json").read_text())["name"])
    except (OSError, ValueError, KeyError):
        return folder.name


def _constants(settings: Settings) -> dict[str, Any]:
    """Numbers and short texts among the space's constants, by flat name; secrets masked."""
    kinds = (bool, int, float, str)
    found = {name: plain(value) for name, value in settings.space.constants.items() if type(value) in kinds}
    return {
        name: MASK if any(map(is_secret, name.split("/"))) else value
        for name, value in found.items()
        if len(str(value)) < _LONGEST
    }


def _space_text(settings: Settings) -> dict[str, str]:
    """The entries that a sampler or a grid varies, by flat name; those of secrets masked."""
    space = settings.space
    grids = {name: f"grid_search({list(values)!r})" for name, values in space.grids.items()}
    texts = {**{name: repr(domain) for name, domain in space.domains.items()}, **grids}
    return {name: MASK if any(map(is_secret, name.split("/"))) else text for name, text in texts.items()}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One driver per experiment folder at a time; the lock goes with the process."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(folder / _LOCK, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ExperimentExists(
                f"another process runs the experiment in {folder}; wait for it, end it, or use another name"
            ) from None
        yield


def describe(
    folder: Path,
    study: Study,
    settings: Settings,
    num_samples: int,
    trainable: Any,
    clock: Clock,
    is_deterministic: bool,
    resources: dict[str, float],
) -> None:
    """Writes ``experiment.json``: what was asked for. Paths in it are relative, so that the folder can move."""
    target = folder / "experiment.json"
    if target.exists():
        return
    text = json.dumps(
        {
            "version": _FORMAT,
            "name": folder.name,
            "metric": settings.metric,
            "mode": settings.mode,
            "num_samples": num_samples,
            "n_cells": len(settings.cells),
            "seed": study.seed,
            "deterministic": is_deterministic,
            "resources": resources,
            "trainable": f"{getattr(trainable, '__module__', '')}:{getattr(trainable, '__qualname__', '')}",
            "space": _space_text(settings),
            "constants": _constants(settings),
            "created": clock.time(),
        },
        indent=1,
    )
    draft = folder / ".experiment.json"
    draft.write_text(text)
    draft.replace(target)
