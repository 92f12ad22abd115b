"""Checkpoints: folders, how they get into a trial's folder, and which of them stay."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.moved import lacks_attribute
from tuneflow.objects import restored
from tuneflow.stoppers.threshold import entry as entry_of

__all__ = [
    "Checkpoint",
    "Deferred",
    "Keeper",
    "Kept",
    "Retention",
    "SaveRhythm",
    "Staged",
    "discard",
    "folder_name",
    "read_notes",
    "stage",
]

_PREFIX = "checkpoint_"
_OLD = ".old_"
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
    return f"{_PREFIX}{step:06d}"


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


Reason = Literal["reported", "kept", "needed", "recovery"]


@dataclass(slots=True)
class Kept:
    """A checkpoint that a trial holds.

    Attributes:
        step: the step it was taken at.
        content: a Checkpoint, or an object of the user's in an ask/tell loop.
        score: lower is better; None where the report had no score.
        reason: "reported" by the user, "kept" by a rule (``checkpoint_freq``, at the end), "needed" by the
            tuner only, for a pause or an exploit, or made for "recovery" alone: the last two go when the next
            arrives.
        size_bytes: size on disk, 0 for objects.
    """

    step: int
    content: Any
    score: float | None
    reason: Reason
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints of a trial stay.

    Attributes:
        keep_num: how many reported or kept ones stay, the best by score or the latest; None for all.
        score_attr: result key to rank by, nested ones as ``a/b``; "min-KEY" for lower is better, as in Tune; None for
            the latest.
        budget_bytes: for all trials together; the oldest spare ones go first. None for no limit.
    """

    keep_num: int | None = None
    score_attr: str | None = None
    budget_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.keep_num is not None and self.keep_num < 1:
            raise InvalidArgument(f"keep_checkpoints_num={self.keep_num} must be >= 1 or None (keep all)")
        if self.score_attr is not None and not isinstance(self.score_attr, str):
            raise InvalidArgumentType(f"checkpoint_score_attr={self.score_attr!r} must be the name of a result")
        if self.budget_bytes is not None and self.budget_bytes < 0:
            raise InvalidArgument(f"checkpoint_budget_bytes={self.budget_bytes} must be >= 0 or None")

    def score(self, result: dict[str, Any]) -> float | None:
        """The score of a result, turned so that lower is better; None where it has none."""
        if self.score_attr is None:
            return None
        is_min = self.score_attr.startswith("min-")
        value = entry_of(result, self.score_attr[4:] if is_min else self.score_attr)
        try:
            score = math.nan if value is None else float(value)  # of NumPy's and torch's scalars too
        except (TypeError, ValueError, RuntimeError):
            return None
        if math.isnan(score):
            return None
        return score if is_min else -score

    def spare(self, kept: list[Kept]) -> list[Kept]:
        """Those of one trial's checkpoints that may go. The latest never does: a resume or an exploit needs it."""
        latest = kept[-1:]
        # What an exploit would copy is the latest that was not made by the clock: it must outlive recovery's.
        copied = [entry for entry in kept if entry.reason != "recovery"][-1:]
        gone = [entry for entry in kept[:-1] if entry.reason in ("needed", "recovery") and entry not in copied]
        if self.keep_num is not None:
            candidates = [entry for entry in kept if entry.reason not in ("needed", "recovery")]
            if self.score_attr is None:
                stay = candidates[-self.keep_num :]
            else:
                order = sorted(
                    candidates, key=lambda e: (e.score is None, e.score if e.score is not None else 0.0, -e.step)
                )
                stay = order[: self.keep_num]
            gone += [entry for entry in candidates if entry not in stay and entry not in [*latest, *copied]]
        return gone


class Keeper:
    """The checkpoints of one study's trials: takes them in, hands them out, deletes what no rule needs.

    Objects are deep-copied before they come in and on the way out: a live ``state_dict`` changes under its holder.
    """

    def __init__(self, retention: Retention | None = None) -> None:
        self.retention = retention or Retention()
        self._kept: dict[int, list[Kept]] = {}
        self._total_bytes = 0

    def latest(self, trial: int) -> Kept | None:
        """The checkpoint that the trial would resume from."""
        kept = self._kept.get(trial)
        return kept[-1] if kept else None

    def all(self, trial: int) -> list[Kept]:
        """All checkpoints of a trial, in order of step."""
        return list(self._kept.get(trial, ()))

    def hand_out(self, trial: int) -> Any:
        """What the trial resumes from: a Checkpoint, or a deep copy of the object that was reported."""
        kept = self.latest(trial)
        if kept is None:
            return None
        return kept.content if isinstance(kept.content, Checkpoint) else copy.deepcopy(kept.content)

    def commit(
        self, trial: int, step: int, given: Any, folder: Callable[[], Path], *, score: float | None, reason: Reason
    ) -> Kept:
        """Takes a checkpoint in.

        Args:
            trial: number of the trial.
            step: the step that it was taken at.
            given: a ``Staged`` folder (moved), or an object that nobody else holds.
            folder: gives the trial's folder; asked only for folders.
            score: for retention; lower is better.
            reason: why it is there.
        """
        if isinstance(given, Staged):
            target = folder() / folder_name(step)
            _replace(given.path, target)
            kept = Kept(step, Checkpoint(target), score, reason, _size(target) if self._counts else 0)
        else:
            kept = Kept(step, given, score, reason)
        self._total_bytes += kept.size_bytes
        entries = self._kept.get(trial)
        if not entries:
            self._kept[trial] = [kept]
        else:
            entries[:] = [*(entry for entry in entries if entry.step != step), kept]
            for spare in self.retention.spare(entries):
                self._delete(trial, spare)
        if self._counts:
            self._fit_budget()
        return kept

    def adopt(self, trial: int, folder: Path) -> None:
        """Takes over the checkpoints that lie in a trial's folder, and clears away half-written ones."""
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if path.name.startswith(_OLD) and not (final := folder / path.name[len(_OLD) :]).exists():
                path.rename(final)  # it was being replaced, and the new one had not been moved to its place
            elif path.name.startswith((".attempt_", _OLD)):
                shutil.rmtree(path, ignore_errors=True)
        found = self._stored(folder)
        self._kept[trial] = found
        self._total_bytes += sum(entry.size_bytes for entry in found)

    def _stored(self, folder: Path) -> list[Kept]:
        """The checkpoints that lie in a trial's folder, by step."""
        found = []
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith(_PREFIX) and path.name[len(_PREFIX) :].isdigit():
                size = _size(path) if self._counts else 0
                found.append(Kept(int(path.name[len(_PREFIX) :]), Checkpoint(path), None, "reported", size))
        return sorted(found, key=lambda entry: entry.step)

    def copy_from(
        self, donor: int, trial: int, step: int, folder: Callable[[], Path], donor_folder: Path | None = None
    ) -> Any:
        """Makes the donor's latest checkpoint the trial's own at ``step``; returns it, None if the donor has none.

        A donor of another driver is known by its folder, ``donor_folder``, where that can be reached from here.

        Folders are copied by hard links where the file system allows: the trial then holds all that it needs,
        whatever becomes of the donor's folder.
        """
        # Never one that was made by the clock for recovery: the copy must not depend on the machine's timing.
        kept = self._kept.get(donor, [])
        source = next((entry for entry in reversed(kept) if entry.reason != "recovery"), None)
        if source is None and donor_folder is not None and donor not in self._kept:
            source = next(iter(reversed(self._stored(donor_folder))), None)
        if source is None:
            return None
        if not isinstance(source.content, Checkpoint):
            self.commit(trial, step, copy.deepcopy(source.content), folder, score=None, reason="needed")
            return copy.deepcopy(source.content)
        if donor == trial:
            return source.content
        target = folder() / f".attempt_000_{folder_name(step)}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        try:
            shutil.copytree(source.content.path, target, copy_function=_link)
            _note_copy(target, donor)
        except OSError:
            if donor in self._kept:
                raise
            shutil.rmtree(target, ignore_errors=True)
            return None  # its driver has put a newer one in its place meanwhile
        return self.commit(trial, step, Staged(target), folder, score=None, reason="needed").content

    def drop_after(self, trial: int, step: int) -> None:
        """Deletes checkpoints past ``step``: they belong to steps that were never recorded."""
        for entry in [entry for entry in self._kept.get(trial, []) if entry.step > step]:
            self._delete(trial, entry)

    def forget(self, trial: int) -> None:
        """The trial ended: objects go, folders stay where they are, spare ones are deleted."""
        entries = self._kept.get(trial)
        if entries is None:
            return
        entries[:] = [entry for entry in entries if isinstance(entry.content, Checkpoint)]
        if not entries:
            del self._kept[trial]

    @property
    def _counts(self) -> bool:
        return self.retention.budget_bytes is not None

    def _fit_budget(self) -> None:
        budget = self.retention.budget_bytes or 0
        if self._total_bytes <= budget:
            return
        spare = [
            (entry.step, trial, entry)
            for trial, kept in self._kept.items()
            for entry in kept[:-1]
            if entry is not next((other for other in reversed(kept) if other.reason != "recovery"), None)
        ]
        for _, trial, entry in sorted(spare, key=lambda item: item[:2]):
            if self._total_bytes <= budget:
                return
            self._delete(trial, entry)

    def _delete(self, trial: int, entry: Kept) -> None:
        self._kept[trial].remove(entry)
        self._total_bytes -= entry.size_bytes
        if isinstance(entry.content, Checkpoint):
            shutil.rmtree(entry.content.path, ignore_errors=True)


def _replace(source: Path, target: Path) -> None:
    """Moves a folder to its final name in one step; one that stood there before is replaced."""
    if target.exists():
        old = target.with_name(_OLD + target.name)
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        source.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        source.rename(target)


def _note_copy(folder: Path, donor: int) -> None:
    draft = folder / f"{_NOTES}.new"
    draft.write_text(json.dumps({**read_notes(Checkpoint(folder)), _COPIED: donor}))
    draft.replace(folder / _NOTES)  # and not written over, as the donor has the same file


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
