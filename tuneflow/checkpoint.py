"""Checkpoints: folders, and how they get into a trial's folder. Which of them stay: ``keeping.py``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneflow.errors import InvalidArgument
from tuneflow.moved import lacks_attribute
from tuneflow.objects import restored

__all__ = [
    "PREFIX",
    "Checkpoint",
    "Deferred",
    "SaveRhythm",
    "Staged",
    "discard",
    "folder_name",
    "is_copy_of",
    "is_folder_like",
    "note_copy",
    "read_notes",
    "stage",
]

PREFIX = "checkpoint_"
_NOTES = ".tuneflow.json"
_COPIED = "copied_from"


class Checkpoint:
    """A folder that holds what a trial needs to go on. It is a path too: ``os.path.join(checkpoint, "model.pt")``.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "epoch.txt").write_text("3")
        >>> checkpoint = Checkpoint.from_directory(folder)
        >>> with checkpoint.as_directory() as path:
        ...     (path / "epoch.txt").read_text()
        '3'
    """

    __slots__ = ("path",)

    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """A checkpoint over the folder ``path``, which is not copied.

        Raises:
            InvalidArgument: there is no such folder.
        """
        if not Path(path).is_dir():
            raise InvalidArgument(f"checkpoint path {os.fspath(path)!r} is not a folder; write the checkpoint first")
        return cls(path)

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[Path]:
        """The folder to read from. Do not write into it."""
        if not self.path.is_dir():
            raise InvalidArgument(f"checkpoint {self.path} is gone; it was deleted or the folder was moved")
        yield self.path

    def to_dict(self) -> Any:
        """The dict, or other object, that was reported as a checkpoint, or that ``save_checkpoint`` returned.

        Raises:
            InvalidArgument: the checkpoint is one of files; see ``as_directory``.
        """
        with self.as_directory() as folder:
            found = restored(self)
        if found is self:
            raise InvalidArgument(f"checkpoint {folder} holds files, not an object; read them with as_directory()")
        return found

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Copies the checkpoint to ``path`` (a new temporary folder without one) and returns that folder."""
        target = Path(tempfile.mkdtemp(prefix="tuneflow-checkpoint-") if path is None else path)
        with self.as_directory() as source:
            shutil.copytree(source, target, dirs_exist_ok=True)
        return target

    def __fspath__(self) -> str:
        return str(self.path)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise lacks_attribute(self, name, "Checkpoint")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r})"


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete checkpoint folder beside its final place, to be moved there by the owner of the trial."""

    path: Path


@dataclass(frozen=True, slots=True)
class Deferred:
    """A checkpoint that can be made where the trial runs, if it is asked for."""


def folder_name(step: int) -> str:
    """Name of the folder for the checkpoint of ``step``: ``checkpoint_000010``."""
    return f"{PREFIX}{step:06d}"


def stage(given: object, folder: Path, step: int, attempt: int, *, notes: dict[str, Any] | None = None) -> Staged:
    """Writes a checkpoint next to its final place, under the attempt's own number.

    A folder is copied, a file is put into a folder, a function ``save(folder)`` is called. The final name
    appears only when the whole is there (``Keeper.commit``), so a half-written checkpoint is never resumed
    from, and what an orphan of an earlier attempt still writes is never mistaken for one.

    Args:
        given: a Checkpoint, a path, or a function.
        folder: the trial's folder, made if it is missing.
        step: the step it was taken at.
        attempt: the trial's attempt.
        notes: JSON values kept with it (``read_notes``): the iteration, the time spent.

    Raises:
        InvalidArgument: the path does not exist.
    """
    target = folder / f".attempt_{attempt:03d}_{folder_name(step)}"
    if target.exists():
        shutil.rmtree(target)
    folder.mkdir(parents=True, exist_ok=True)
    if callable(given):
        target.mkdir()
        given(target)
    else:
        source = given.path if isinstance(given, Checkpoint) else Path(given)  # type: ignore[arg-type]
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.is_file():
            target.mkdir()
            shutil.copy2(source, target / source.name)
        else:
            raise InvalidArgument(f"checkpoint path {str(source)!r} does not exist; write the checkpoint first")
    if notes:
        (target / _NOTES).write_text(json.dumps(notes))
    return Staged(target)


def discard(staged: Staged) -> None:
    """Deletes what was staged, where ``Keeper.commit`` has not moved it to its place."""
    if staged.path.exists():
        shutil.rmtree(staged.path, ignore_errors=True)


def read_notes(checkpoint: object) -> dict[str, Any]:
    """What ``stage`` noted with a checkpoint; empty for objects and for folders from elsewhere."""
    if not isinstance(checkpoint, Checkpoint):
        return {}
    try:
        notes = json.loads((checkpoint.path / _NOTES).read_text())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def note_copy(folder: Path, donor: int) -> None:
    """Notes in a checkpoint's folder that it is a copy of one of ``donor``'s."""
    draft = folder / f"{_NOTES}.new"
    draft.write_text(json.dumps({**read_notes(Checkpoint(folder)), _COPIED: donor}))
    draft.replace(folder / _NOTES)  # and not written over, as the donor has the same file


def is_copy_of(checkpoint: object, donor: int) -> bool:
    """Whether an exploit has put a checkpoint here: the copy of one of ``donor``'s."""
    return read_notes(checkpoint).get(_COPIED) == donor


def is_folder_like(given: object) -> bool:
    """Whether a reported checkpoint is a folder, a path or a function that fills a folder."""
    return isinstance(given, (Checkpoint, str, os.PathLike)) or callable(given)


class SaveRhythm:
    """When to save for recovery alone: often enough, yet never for more than a share of the trial's time.

    Example:
        >>> rhythm = SaveRhythm(now_s=0.0)
        >>> rhythm.is_due(0.5), rhythm.is_due(1.0)
        (False, True)
        >>> rhythm.saved(start_s=1.0, end_s=1.5)
        >>> rhythm.is_due(10.0), rhythm.is_due(11.5)
        (False, True)
    """

    __slots__ = ("_next_s",)
    share = 0.05
    first_s = 1.0

    def __init__(self, now_s: float) -> None:
        self._next_s = now_s + self.first_s

    def is_due(self, now_s: float) -> bool:
        return now_s >= self._next_s

    def saved(self, start_s: float, end_s: float) -> None:
        """A save took from ``start_s`` to ``end_s``; the next one is due when its cost has been earned."""
        self._next_s = end_s + max((end_s - start_s) / self.share, self.first_s)
