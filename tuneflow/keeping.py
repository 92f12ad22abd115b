"""Which checkpoints of a trial stay: held by the study, written by ``checkpoint.py``."""

from __future__ import annotations

import copy
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tuneflow.checkpoint import PREFIX, Checkpoint, Staged, folder_name, note_copy
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.stoppers.threshold import entry as entry_of

__all__ = ["Keeper", "Kept", "Reason", "Retention"]

_OLD = ".old_"

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
            if path.name.startswith(PREFIX) and path.name[len(PREFIX) :].isdigit():
                size = _size(path) if self._counts else 0
                found.append(Kept(int(path.name[len(PREFIX) :]), Checkpoint(path), None, "reported", size))
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
            note_copy(target, donor)
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


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
