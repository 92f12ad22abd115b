"""What a study's trials have shown so far, each ended trial handed over once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.study import StudyDirection
from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument
from tuneflow.storage.view import PAUSED_ATTRIBUTE

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["Ledger", "Observation", "Running", "loss_of"]


class Observation(NamedTuple):
    """What one trial taught.

    Attributes:
        number: the trial's. One that stands in an earlier observation too has gone on since: this one replaces it.
        params: its parameters, as Optuna stores them.
        loss: lower is better. May be infinite, never NaN.
        trial: the trial itself.
    """

    number: int
    params: Mapping[str, Any]
    loss: float
    trial: FrozenTrial


class Running(NamedTuple):
    """A trial whose outcome is not known yet.

    Attributes:
        number: the trial's.
        params: those that were suggested so far.
    """

    number: int
    params: Mapping[str, Any]


def loss_of(trial: FrozenTrial, is_maximized: bool) -> float | None:
    """The loss of an ended or paused trial: a pruned one's is its last report.

    Returns:
        Lower is better; None where the trial says nothing (it failed, or was pruned before it reported a number).
    """
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return None
    values = trial.values
    value: float
    if values is not None:
        value = values[0]
    elif (last_step := trial.last_step) is not None:
        value = trial.intermediate_values[last_step]
    else:
        return None
    if math.isnan(value):
        return None
    return -value if is_maximized else value


class Ledger:
    """Follows one study. What looking again costs depends on the trials that are new or open, not on the ended ones.

    A paused trial is shown as a pruned one (see ``tuneflow.storage.view``) and teaches what it has reported; when it
    goes on, what it reports then replaces that.

    Attributes:
        observations: what was seen, in the order in which it was; only ever appended to.
        running: trials that run now and have shown nothing yet, as of the last ``follow``.
    """

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.running: list[Running] = []
        self._study: tuple[Any, ...] | None = None
        self._n_seen = 0
        self._open: dict[int, FrozenTrial | None] = {}  # not ended: and as what a paused one was seen
        self._losses: dict[int, float] = {}  # of paused trials

    def follow(self, study: Study, current: int) -> bool:
        """Looks at what is new.

        Args:
            study: the study, as the sampler was given it.
            current: number of the trial that is asked for, which is not among the running.

        Returns:
            Whether this is another study than the last time. The ledger has started over then.

        Raises:
            InvalidArgument: the study has several objectives.
        """
        directions = study.directions
        if len(directions) > 1:
            raise InvalidArgument(
                f"{type(study.sampler).__name__} optimises one objective and the study has {len(directions)}; use "
                f"sampler='tpe', 'nsgaii' or 'gp', or tell the study one number that combines them"
            )
        is_maximized = directions[0] is StudyDirection.MAXIMIZE
        trials = study._get_trials(deepcopy=False, use_cache=True)
        # Studies in memory may share name and id; the first trial's start tells them apart, also after pickling.
        identity = (study.study_name, study._study_id, trials[0].datetime_start if trials else None)
        is_other = self._study is not None and self._study != identity
        if is_other:
            self.__init__()  # type: ignore[misc]
        self._study = identity
        running = []
        for number in [*self._open, *range(self._n_seen, len(trials))]:
            if number >= len(trials):
                continue  # each thread has a list of its own, and this one's is older than what another has seen
            trial = trials[number]
            if trial.state is TrialState.RUNNING or trial.state is TrialState.WAITING:
                self._open[number] = None
                if trial.state is TrialState.RUNNING and number != current and trial.params:
                    running.append(Running(number, trial.params))
            elif self._open.get(number) is not trial:
                self._see(study, trial, is_maximized)
        self._n_seen = max(self._n_seen, len(trials))
        self.running = running
        return is_other

    def _see(self, study: Study, trial: FrozenTrial, is_maximized: bool) -> None:
        number = trial.number
        loss = loss_of(trial, is_maximized)
        if loss is not None and self._losses.get(number) != loss:
            self.observations.append(Observation(number, trial.params, loss, trial))
        if _is_paused(study, trial):
            self._open[number] = trial
            if loss is not None:
                self._losses[number] = loss
        else:
            self._open.pop(number, None)
            self._losses.pop(number, None)


def _is_paused(study: Study, trial: FrozenTrial) -> bool:
    """Whether a trial that is shown as pruned is running below the view."""
    return (
        trial.state is TrialState.PRUNED
        and trial.user_attrs.get(PAUSED_ATTRIBUTE) is not None
        and not study._storage.get_trial(trial._trial_id).state.is_finished()
    )
