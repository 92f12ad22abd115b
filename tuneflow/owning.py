"""Which trials of a study are this driver's, and what the other drivers do with theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState

from tuneflow.drivers import DRIVER
from tuneflow.errors import TrialTakenOver
from tuneflow.sharing import Sharing
from tuneflow.trial import Trial
from tuneflow.verdicts import Verdicts
from tuneflow.views import StudyViews

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from tuneflow.pruners.base import Exploit
    from tuneflow.space import Space

__all__ = ["OwningStudy"]


class OwningStudy(StudyViews):
    """Keeps the trials that have not ended and that this driver works on or holds back.

    Attributes:
        sharing: the other drivers.
    """

    _verdicts: Verdicts | None = None

    def __init__(self, inner: optuna.Study, space: Space | None) -> None:
        super().__init__(inner, space)
        self.sharing = Sharing(inner)
        self._distributions = self._all_distributions()
        self._live: dict[int, Trial] = {}
        self._returning: list[int] = []  # resumed by a former driver, whose slots they still hold
        self._again: list[int] = []  # another attempt
        self._handed_out: list[int] = []  # the pruner has them go on, as soon as they have left their slots
        self._uncopied: dict[int, Exploit] = {}  # told to exploit by a former driver, which had no time for the copy
        self._queues = (self._returning, self._again, self._handed_out)

    def _all_distributions(self) -> dict[str, BaseDistribution] | None:
        if self.space is None:
            return None
        return {**self.space.distributions, **{name: grid.distribution() for name, grid in self._grids.items()}}

    # Our own

    def retry(self, trial: Trial) -> None:
        """Has a live trial handed out again for another attempt; leaves alone what is another driver's now."""
        if self.owns(trial):
            self._again.append(trial.number)

    def owns(self, trial: Trial) -> bool:
        """Whether a trial that has not ended is still this driver's own; see ``drivers.py``."""
        self._settle_losses()
        return self._live.get(trial.number) is trial

    def _settle_losses(self) -> None:
        """Lets go of the trials that another driver has taken over, when this one seemed dead, and goes on."""
        drivers = self.sharing.drivers
        if drivers.is_forked:
            self._settle_fork()
        if drivers.is_late:
            drivers.give_sign()  # before the others' trials are written to
        if not drivers.has_lost:
            return
        drivers.begin_anew()
        for trial in list(self._live.values()):
            frozen = self._storage.get_trial(trial.storage_id)
            if not frozen.state.is_finished() and frozen.system_attrs.get(DRIVER) in drivers.own_ids:
                drivers.take(frozen)  # the others did not see it: it was made since
                continue
            self._let_go(trial)

    def _let_go(self, trial: Trial, ended_as: TrialState | None = None) -> None:
        """The trial is somebody else's; or it has ended, and this driver is the one to tell its pruner."""
        number = trial.number
        self._take_out(number)
        if self._verdicts is None:
            return
        if ended_as is None:
            self._verdicts.give_away(number, trial.last_step)
        else:
            self._verdicts.end_elsewhere(number, ended_as)

    def _take_out(self, number: int) -> None:
        """The trial is no longer one that this driver works on or holds back."""
        del self._live[number]
        self._uncopied.pop(number, None)
        for waiting in self._queues:
            if number in waiting:
                waiting.remove(number)

    def lost(self, trial: Trial) -> TrialTakenOver:
        """What is to be raised for a trial that is not this driver's any more.

        Another driver has taken it over, or something has ended it that is none: a dashboard, Optuna's own ``tell``.
        """
        frozen = self._storage.get_trial(trial.storage_id)
        is_ours = frozen.system_attrs.get(DRIVER, "") in self.sharing.drivers.own_ids
        ended_as = frozen.state if is_ours and frozen.state.is_finished() else None
        if self._live.get(trial.number) is trial:
            self._let_go(trial, ended_as)
        return TrialTakenOver(trial.number, "" if ended_as is None else ended_as.name)

    def _has_ended_elsewhere(self, trial: Trial) -> bool:
        """Whether something else has ended a trial that waited here; lets go of it then."""
        if not self._storage.get_trial(trial.storage_id).state.is_finished():
            return False
        self.lost(trial)
        return True

    def _settle_fork(self) -> None:
        """In a forked child: another driver from now on. It may report to the trials that ran, and resumes none."""
        drivers, verdicts = self.sharing.drivers, self._verdicts
        inherited = drivers.own_ids.copy()
        drivers.begin_anew()
        for waiting in self._queues:
            waiting.clear()
        if verdicts is None:
            return
        for number in list(verdicts.paused):
            verdicts.give_away(number, self._live.pop(number).last_step)
        for frozen in self._storage.get_all_trials(self.optuna._study_id, deepcopy=False):
            if frozen.state.is_finished() and frozen.system_attrs.get(DRIVER) in inherited:
                verdicts.is_over(frozen.number)

    @property
    def has_interrupted(self) -> bool:
        """Whether trials wait here that were at work when their driver went, or that get another attempt."""
        return bool(self._returning or self._again)

    def live_trials(self) -> list[Trial]:
        """The trials that have not ended and that this driver owns, in order of number."""
        return [self._live[number] for number in sorted(self._live)]

    @property
    def needs_checkpoints(self) -> bool:
        """Whether the pruner is meaningless unless trials can be saved and loaded."""
        return self._verdicts is not None and self._verdicts.pruner.needs_checkpoints

    @property
    def n_paused(self) -> int:
        """How many trials wait to be resumed."""
        return 0 if self._verdicts is None else len(self._verdicts.paused)

    # The others'

    def fold_others(self) -> None:
        """Takes in what other drivers have reported."""
        if self._verdicts is not None:
            for frozen in self.sharing.changes():
                self._fold(self._verdicts, frozen)

    def _fold(self, verdicts: Verdicts, frozen: FrozenTrial) -> None:
        if frozen.number in self._live or frozen.state is TrialState.WAITING:
            return
        # One that is being made has no parameters yet. Only population-based methods look at them.
        is_whole = self._distributions is None or self._distributions.keys() <= frozen.params.keys()
        if is_whole:
            changed = {step: config for step, config, _ in self._exploits_of(frozen)}
            verdicts.fold(frozen, self._config_of_frozen(frozen), changed)
        elif not self.needs_checkpoints:
            verdicts.fold(frozen, {}, {})

    def _rebuild(self) -> None:
        """Folds the stored trials into the pruner."""
        if self._verdicts is None:
            return
        for frozen in self._storage.get_all_trials(self.optuna._study_id, deepcopy=False):
            self._fold(self._verdicts, frozen)
