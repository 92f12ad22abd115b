"""A study's checkpoints: which are made, where they go, who waits for one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuneflow.checkpoint import Checkpoint, Deferred, SaveRhythm, Staged, is_copy_of, is_folder_like, stage
from tuneflow.clock import Clock
from tuneflow.errors import CheckpointMissing, InvalidArgument, TuneflowWarning
from tuneflow.folders import TrialFolders
from tuneflow.keeping import Keeper, Reason
from tuneflow.listening import Listeners
from tuneflow.pruners.base import Continue, Decision, Exploit, Pause
from tuneflow.trial import Trial

__all__ = ["Saving", "is_needed", "refuse_without_checkpoint"]


def is_needed(decision: Decision) -> bool:
    """Whether a decision asks for the checkpoint of the report that it answers."""
    return isinstance(decision, Pause) or (isinstance(decision, Continue) and decision.save)


def refuse_without_checkpoint(decision: Decision, number: int, pruner: str) -> None:
    """For a pruner that is meaningless without checkpoints: a report that should have brought one is refused.

    Raises:
        CheckpointMissing: the decision needs the checkpoint.
    """
    if is_needed(decision):
        raise CheckpointMissing(
            f"trial {number} reported without a checkpoint, but {pruner} loads trials from each other's: pass one with "
            f"every report, tune.report(metrics, checkpoint=save) with a function save(folder), or in a loop of your "
            f"own trial.report(value, step, checkpoint=state); a Trainable class overrides save_checkpoint and "
            f"load_checkpoint"
        )


class Saving:
    """Takes checkpoints in and hands them out.

    Attributes:
        keeper: holds them.
    """

    def __init__(self, keeper: Keeper, folders: TrialFolders, listeners: Listeners, clock: Clock) -> None:
        self.keeper = keeper
        self._folders = folders
        self._listeners = listeners
        self._clock = clock
        self._pending: set[int] = set()
        self._has_warned = False
        self._rhythms: dict[int, SaveRhythm] = {}

    def check(self, given: Any) -> Any:
        """Finds a checkpoint that cannot be kept before anything is decided on it. Objects are copied here.

        Raises:
            InvalidArgument: the path does not exist, or the object cannot be copied.
        """
        if isinstance(given, (Deferred, Staged)) or callable(given):
            return given
        if is_folder_like(given):
            path = given.path if isinstance(given, Checkpoint) else Path(given)
            if not path.exists():
                raise InvalidArgument(f"checkpoint path {str(path)!r} does not exist; write the checkpoint first")
            return given
        try:
            return copy.deepcopy(given)
        except Exception as error:
            raise InvalidArgument(
                f"a checkpoint of type {type(given).__name__} cannot be copied ({error}); pass a state_dict, a folder "
                f"or a function save(folder)"
            ) from error

    def take(self, trial: Trial, step: int, given: Any, decision: Decision, metrics: Any) -> None:
        """A report came with a checkpoint.

        A folder or an object is kept; a function is called only where the decision or recovery needs it; one
        that can be made elsewhere is noted as on its way where it is needed.
        """
        # A trial that is to go on from its own state needs what it has just given.
        is_own_copy = isinstance(decision, Exploit) and decision.donor == trial.number
        needs_it = is_needed(decision) or is_own_copy
        if isinstance(given, Deferred):
            if needs_it:
                self._pending.add(trial.number)
            return
        if isinstance(decision, Exploit) and not is_own_copy:
            return  # the donor's takes its place
        is_function = callable(given)
        if is_function and not needs_it and not self._is_recovery_due(trial):
            return
        start_s = self._clock.monotonic()
        content = stage(given, trial.dir, step, trial.attempt) if is_folder_like(given) else given
        reason: Reason = "reported" if not is_function else "needed" if needs_it else "recovery"
        self.save(trial, step, content, metrics, reason=reason)
        if is_function and trial.number in self._rhythms:
            self._rhythms[trial.number].saved(start_s, self._clock.monotonic())

    def save(self, trial: Trial, step: int, content: Any, metrics: Any = None, *, reason: Reason = "needed") -> None:
        """Keeps a checkpoint of ``step``: a ``Staged`` folder, which is moved, or an object.

        Args:
            trial: whose it is.
            step: the step that it was taken at.
            content: the folder or object.
            metrics: the report of that step, for retention by score.
            reason: why it was made; see ``Kept``.
        """
        score = None
        if isinstance(metrics, Mapping):
            score = self.keeper.retention.score(dict(metrics))
            self._warn_unranked(trial, score, metrics)
        kept = self.keeper.commit(trial.number, step, content, _folder(trial), score=score, reason=reason)
        self._pending.discard(trial.number)
        # A paused trial that the pruner has given up has ended, perhaps while it still saved: nothing is heard of it.
        if self._listeners and isinstance(kept.content, Checkpoint) and not trial.state.is_finished():
            self._listeners.emit("on_trial_checkpoint", trial, kept.content)

    def _warn_unranked(self, trial: Trial, score: float | None, metrics: Mapping[str, Any]) -> None:
        wanted = self.keeper.retention.score_attr
        if score is None and wanted is not None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"checkpoint_score_attr={wanted!r} names no number in a result of trial {trial.trial_id}, which holds: "
                f"{', '.join(map(str, metrics))}; such a checkpoint ranks last, the latest before the others (said "
                f"once per study)",
                TuneflowWarning,
                stacklevel=2,
            )

    def expect(self, trial: Trial) -> None:
        """A checkpoint is on its way, or will be when the trial has come to where it was."""
        self._pending.add(trial.number)

    def give_up(self, trial: Trial) -> None:
        """A checkpoint that was on its way will not come."""
        self._pending.discard(trial.number)

    def is_pending(self, number: int) -> bool:
        """Whether a checkpoint of the trial is on its way."""
        return number in self._pending

    def copy(self, donor: int, trial: Trial, step: int) -> Any:
        """Makes the donor's latest checkpoint the trial's own at ``step`` and returns it."""
        theirs = None if self._folders.is_temporary else self._folders.of(donor)
        return self.keeper.copy_from(donor, trial.number, step, _folder(trial), theirs)

    def has_copied(self, donor: int, trial: Trial, step: int) -> bool:
        """Whether ``copy`` was done, perhaps by a driver before this one; True where copies do not outlive a driver."""
        if self._folders.is_temporary or donor == trial.number:
            return True
        kept = self.keeper.latest(trial.number)
        return kept is not None and kept.step == step and is_copy_of(kept.content, donor)

    def start_of(self, number: int) -> int:
        """The step from which a trial would go on: that of its latest checkpoint, 0 without one."""
        kept = self.keeper.latest(number)
        return 0 if kept is None else kept.step

    def has_any(self, number: int) -> bool:
        """Whether the trial has a checkpoint."""
        return self.keeper.latest(number) is not None

    def adopt(self, number: int, last_step: int) -> None:
        """Takes over what a former driver left in the trial's folder, up to the last recorded step."""
        if not self._folders.is_temporary:
            self.keeper.adopt(number, self._folders.of(number))
            self.keeper.drop_after(number, last_step)

    def end(self, number: int) -> None:
        """The trial has ended."""
        self._rhythms.pop(number, None)
        self._pending.discard(number)
        self.keeper.forget(number)

    def _is_recovery_due(self, trial: Trial) -> bool:
        """Whether a function is to be called for recovery alone: only where the result would outlive the process."""
        if self._folders.is_temporary:
            return False
        rhythm = self._rhythms.get(trial.number)
        if rhythm is None:
            rhythm = self._rhythms[trial.number] = SaveRhythm(self._clock.monotonic())
        return rhythm.is_due(self._clock.monotonic())


def _folder(trial: Trial) -> Callable[[], Any]:
    return lambda: trial.dir
