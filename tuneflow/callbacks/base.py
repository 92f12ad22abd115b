"""The listener: what can be heard of a study, one method per event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tuneflow.checkpoint import Checkpoint
    from tuneflow.pruners.base import Exploit
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["Callback"]

_Method = TypeVar("_Method", bound=Callable[..., None])


def _does_nothing(method: _Method) -> _Method:
    """Marks an event that the base class leaves empty: it is not even called unless a subclass overrides it."""
    method._does_nothing = True  # type: ignore[attr-defined]
    return method


class Callback:
    """Hears what happens in a study; override the events that matter. All of them run in the driver's process.

    A listener that raises is reported once per event, in the log ``tuneflow``, and hurts nobody: the study goes on, and
    the other listeners hear the event. What is not overridden costs nothing. Pass it as ``callbacks=`` to ``tune.run``
    or ``study.optimize``, or to ``study.add_callback`` in your own loop.

    Of one trial a listener hears ``on_trial_start``, or ``on_trial_resume`` where a former driver began it; then
    reports, checkpoints and exploits, a pause and a resume as often as they happen, and an error with each attempt that
    failed; ``on_trial_end`` last, once. A pause or an exploit follows the report that it was decided on; a checkpoint
    is heard of when it is written, before that report or after it.

    Example:
        >>> import tuneflow as tune
        >>> class Best(tune.Callback):
        ...     def on_study_start(self, study):
        ...         self.best = float("inf")
        ...     def on_trial_report(self, trial, result):
        ...         self.best = min(self.best, result["loss"])
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=0)
        >>> best = Best()
        >>> study.optimize(lambda trial: trial.report({"loss": 0.5}, 1) and 0.5, n_trials=2, callbacks=[best])
        >>> best.best
        0.5
    """

    def configure(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        """Not an event: called before anything starts, with the settings that stood in the configuration.

        What it raises is raised to the user: the place to refuse settings that cannot work.

        Args:
            sections: by the tracker's name, ``{"wandb": {"project": "mine"}}``; those of all trackers, or none.
                ``study.sections`` holds the same later on.
        """

    @_does_nothing
    def on_study_start(self, study: Study) -> None:
        """``tune.run`` or ``study.optimize`` begins; in a loop of one's own, before the first trial is asked for."""

    @_does_nothing
    def on_study_end(self, study: Study) -> None:
        """The run has ended, also by an exception or Ctrl-C; in a loop of one's own, at ``study.close()``.

        Files and connections are to be closed here. Trials that have not ended may go on in a later run.
        """

    @_does_nothing
    def on_trial_start(self, trial: Trial) -> None:
        """A new trial begins. In a define-by-run study ``trial.config`` fills up only later."""

    @_does_nothing
    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        """The trial reported; the decision is taken and stands in ``trial.decision``.

        Args:
            trial: ``trial.last_step`` is the step of the report.
            result: the metrics and ``training_iteration``; under ``tune.run`` what every result carries too. Listeners
                share it: copy it before changing it. Values are as reported, NaN and NumPy or torch scalars included.
        """

    @_does_nothing
    def on_trial_checkpoint(self, trial: Trial, checkpoint: Checkpoint) -> None:
        """A checkpoint folder is complete and in its place. Retention may delete it later: copy what is to stay."""

    @_does_nothing
    def on_trial_pause(self, trial: Trial) -> None:
        """The trial leaves its slot and waits; it goes on with ``on_trial_resume`` or ends with ``on_trial_end``."""

    @_does_nothing
    def on_trial_resume(self, trial: Trial) -> None:
        """The trial enters a slot again: after a pause, for another attempt, or taken over from a dead driver."""

    @_does_nothing
    def on_trial_exploit(self, trial: Trial, decision: Exploit) -> None:
        """The trial goes on from a donor's checkpoint; ``trial.config`` is already the new configuration."""

    @_does_nothing
    def on_trial_error(self, trial: Trial, error: BaseException) -> None:
        """An attempt failed. It may be retried (``on_trial_resume``), else ``on_trial_end`` follows."""

    @_does_nothing
    def on_trial_end(self, trial: Trial) -> None:
        """The trial has ended: ``trial.state`` is COMPLETE, PRUNED or FAIL, ``trial.error`` may be set."""
