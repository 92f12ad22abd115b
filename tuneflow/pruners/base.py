"""What a pruner is, and the decisions it takes.

The rules between a Study and its pruner:

* ``bind`` comes first and once; ``on_start`` comes once per trial, before its first report.
* Steps of a trial only grow. A value is *lower is better*; NaN has become +inf on the way.
* A trial that was answered ``Pause`` is silent until ``next_resume`` has handed it out and ``on_resume`` has
  answered for it, or until ``take_dropped`` has handed it out, after which ``on_end`` follows.
* A trial that was answered ``Stop`` may still report (its caller may be slow): such reports are answered ``Stop``.
* ``on_end`` comes once per trial, whatever happened to it, also while it runs or is paused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from optuna.trial import TrialState

    from tuneflow.checkpoint import Checkpoint
    from tuneflow.space import Space

__all__ = ["CONTINUE", "PAUSE", "Continue", "Decision", "Exploit", "NoPruner", "Pause", "Pruner", "Stop"]


class Decision:
    """What becomes of a trial after a report: ``Continue``, ``Stop``, ``Pause`` or ``Exploit``."""

    __slots__ = ()
    should_stop: ClassVar[bool] = False
    """True where the trial has to leave its slot now: ``Stop`` and ``Pause``."""


@dataclass(frozen=True, slots=True)
class Continue(Decision):
    """The trial goes on; ``save`` asks for a checkpoint now, where one can be made."""

    save: bool = False


@dataclass(frozen=True, slots=True)
class Stop(Decision):
    """The trial ends: as complete (it had its full budget) or as pruned."""

    should_stop: ClassVar[bool] = True
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Pause(Decision):
    """The trial leaves its slot and may be handed back by ``Study.ask`` later."""

    should_stop: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Exploit(Decision):
    """The trial goes on from another trial's checkpoint with another configuration.

    Attributes:
        donor: number of the trial that is copied.
        config: the new nested configuration of natural values.
        checkpoint: the donor's checkpoint; a pruner leaves it None and the Study fills it in.
    """

    donor: int
    config: dict[str, Any]
    checkpoint: Checkpoint | Any | None = None


CONTINUE = Continue()
"""The one decision that is taken a million times."""
PAUSE = Pause()


class Pruner(ABC):
    """Decides who goes on. Pure: no clock, no I/O, no randomness but the generator that it is given.

    The state is a fold over the calls, so that a pruner can be rebuilt from what a storage holds:
    ``on_report(..., decided=...)`` folds in a report whose decision was taken before, by this driver in an
    earlier life or by another one. Where a decision is random, it derives from (seed, trial, step) and not
    from the order of the calls.
    """

    needs_checkpoints: ClassVar[bool] = False
    """True where the method is meaningless unless trials can be saved and loaded (PBT)."""

    reads_storage: ClassVar[bool] = False
    """True where decisions read the reports from the study's storage, which then holds the report being decided on."""

    def bind(self, space: Space | None, rng: np.random.Generator) -> None:  # noqa: B027
        """Called once by the Study, before the first trial.

        Args:
            space: the declared space, None for a study that is defined by run.
            rng: the only source of randomness that the pruner may use.
        """

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:  # noqa: B027
        """A trial begins. Called once per trial, not when it is resumed.

        Args:
            trial: number of the trial.
            config: its nested configuration; empty where parameters come by ``suggest_*`` later.
        """

    @abstractmethod
    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        """A trial has reached ``step`` with ``value``.

        Args:
            trial: number of the trial.
            step: steps done so far; greater than at the trial's report before.
            value: lower is better; never NaN (a NaN that was reported arrives as +inf).
            checkpoint: whether a checkpoint of this step is given or can be made.
            decided: the decision already taken for this report; fold it in and return it. Where a trial had paused and
                went on, a second call for the same step says so, with ``Continue`` or ``Exploit``: there is no
                ``on_resume`` then.

        Returns:
            The decision for this trial. Cost: O(log n) in the number n of trials known.
        """

    def on_resume(self, trial: int) -> Decision:
        """A paused trial is about to go on. Returns ``Continue``, or an ``Exploit`` decided while it was paused."""
        return CONTINUE

    def on_end(self, trial: int, state: TrialState) -> None:  # noqa: B027
        """A trial ended as COMPLETE, PRUNED or FAIL. A failed one must never be waited for."""

    def next_resume(self, more: bool = True) -> int | None:
        """Hands out, once, a paused trial that may go on now; None where there is none.

        Args:
            more: False says that no new trials will come: incomplete rungs decide with what they have.
        """
        return None

    def take_dropped(self) -> list[int]:
        """Hands out, once, the paused trials that will never go on. The Study ends them as pruned."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """The whole state as JSON values, random state included."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Takes over what ``state_dict`` returned, after ``bind``."""


class NoPruner(Pruner):
    """Lets every trial run to its end.

    Example:
        >>> NoPruner().on_report(0, 1, 0.5, False)
        Continue(save=False)
    """

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        return CONTINUE if decided is None else decided
