"""Trainables as classes: the tuner drives, one ``step`` at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tuneflow.errors import UsageError
from tuneflow.moved import lacks_attribute

__all__ = ["Trainable"]


class Trainable:
    """A training job that the tuner advances step by step. Subclass it and override what you need.

    Attributes:
        config: the configuration in force.
        iteration: steps done, those before a resume included.
        trial_id: the trial's number in five digits.
        logdir: the trial's folder.

    Example:
        >>> class Climb(Trainable):
        ...     def setup(self, config):
        ...         self.x = config["start"]
        ...
        ...     def step(self):
        ...         self.x += 1
        ...         return {"height": self.x}
        >>> climb = Climb({"start": 2})
        >>> climb.step()
        {'height': 3}
    """

    def __init__(self, config: dict[str, Any] | None = None, *, trial_id: str = "", logdir: str = "") -> None:
        self.config: dict[str, Any] = config or {}
        self.trial_id = trial_id
        self.logdir = logdir
        self.iteration = 0
        self.setup(self.config)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            inherited = getattr(super(), "__getattr__", None)  # of a class that is a torch.nn.Module too, say
            if inherited is not None:
                return inherited(name)
            raise lacks_attribute(self, name, "Trainable")

    @property
    def training_iteration(self) -> int:
        """Steps done: Tune's name for ``iteration``."""
        return self.iteration

    def setup(self, config: dict[str, Any]) -> None:
        """Builds the model, the data, the optimizer. Called once, before the first step."""

    def step(self) -> dict[str, Any]:
        """Trains a little and returns metrics. ``{"done": True}`` among them ends the trial.

        Raises:
            UsageError: the class does not override it.
        """
        renamed = f"; {_RENAMED}" if hasattr(self, "_train") else ""
        raise UsageError(f"{type(self).__name__} must override step(self), which returns a dict of metrics{renamed}")

    def save_checkpoint(self, checkpoint_dir: str | os.PathLike[str]) -> Any:
        """Writes all that is needed to go on into the folder ``checkpoint_dir``, or returns it as a dict.

        A dict is pickled into the folder, and ``load_checkpoint`` is given it in place of the folder; of a path in the
        folder, that path. Any other value that is returned is not looked at.
        """
        raise UsageError(_NO_SAVE.format(type(self).__name__))

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Reads what ``save_checkpoint`` wrote, after ``setup``: the folder, or the path or dict that it returned."""
        raise UsageError(_NO_SAVE.format(type(self).__name__))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes over another configuration without being built anew.

        Returns:
            Whether it could; False (the default) has the object thrown away and made again.
        """
        return False

    def log_result(self, result: dict[str, Any]) -> None:
        """Called in the worker with each result that ``step`` returned, to log it elsewhere; does nothing here."""

    def cleanup(self) -> None:
        """Frees what ``setup`` took. Called once, at the end."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> dict[str, float] | None:  # noqa: ARG003
        """Resources of a trial; None for the default, one CPU.

        Args:
            config: the run's search space: its constants as they are, its domains as domains. All trials of a run take
                the same.
        """
        return None

    @classmethod
    def can_checkpoint(cls) -> bool:
        """Whether the class overrides ``save_checkpoint`` and ``load_checkpoint``."""
        return (
            cls.save_checkpoint is not Trainable.save_checkpoint
            and cls.load_checkpoint is not Trainable.load_checkpoint
        )


_RENAMED = (
    "write setup, step, save_checkpoint, load_checkpoint and cleanup for _setup, _train, _save, _restore and _stop"
)
_NO_SAVE = (
    "{0} has to be saved and loaded but does not override save_checkpoint(self, checkpoint_dir) and "
    "load_checkpoint(self, checkpoint_dir); write both, or choose a pruner that does not resume trials"
)
