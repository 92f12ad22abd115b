"""The machine inside a Study: the only owner of trial state.

A trial's states and what moves it between them:

* running: from ``start``; from ``resume``, where it was paused, retried, or left by a former driver;
* paused: a report was answered ``Pause``; in Optuna's storage it stays RUNNING with ``tuneflow:paused``;
* ended: ``finish`` writes COMPLETE, PRUNED or FAIL; paused trials that the pruner gives up end as PRUNED.
"""

from __future__ import annotations

import contextlib
import socket
import warnings
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import TrialFailed, TrialTakenOver, TuneflowWarning, UsageError
from tuneflow.folders import TrialFolders
from tuneflow.keeping import Keeper
from tuneflow.listening import Listeners
from tuneflow.owning import OwningStudy
from tuneflow.plain import plain
from tuneflow.pruners.base import CONTINUE, Decision, Exploit, Pause, Stop
from tuneflow.samplers.seeding import derive
from tuneflow.sampling import Sampling
from tuneflow.saving import Saving, refuse_without_checkpoint
from tuneflow.telling import Objectives, as_step, judge
from tuneflow.trial import Trial
from tuneflow.verdicts import DECISION, OVER, PAUSED, Verdicts, encode

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from tuneflow.space import Space

__all__ = ["StudyCore"]

_RUNNING = TrialState.RUNNING


class StudyCore(OwningStudy):
    """What drivers call: the Loop, and the public face ``Study``.

    Attributes:
        objectives: which entries of a report matter.
        seed: of the study; everything random derives from it where the user gave one.
        listeners: hear what happens to trials.
        sampling: what is tried next.
        saving: the trials' checkpoints.
        folders: where trials keep their files.
        clock: where times come from.
        hostname: of this machine.
        sections: trackers' settings that stood beside the space, by the tracker's name; never stored.
    """

    def __init__(
        self,
        inner: optuna.Study,
        *,
        space: Space | None,
        objectives: Objectives,
        make_verdicts: Callable[[StudyCore], Verdicts | None],
        seed: int,
        is_seeded: bool,
        keeper: Keeper,
        folders: TrialFolders,
        clock: Clock | None = None,
        sections: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(inner, space)
        self.objectives = objectives
        self.seed = seed
        self.listeners = Listeners()
        self.folders = folders
        self.clock: Clock = clock or SystemClock()
        self.saving = Saving(keeper, folders, self.listeners, self.clock)
        self.hostname = socket.gethostname()
        self.sections = dict(sections or {})
        self.sampling = Sampling(inner, seed=seed, is_seeded=is_seeded, n_known=self.n_new)
        self._n_objectives = len(inner.directions)
        self._stopped: list[Trial] = []
        self._has_warned_restart = False
        self._verdicts = make_verdicts(self)
        if self._verdicts is not None:
            self.sharing.watch()
        n_new = self.n_new
        self.sharing.begin_at(n_new)
        if n_new:
            self._rebuild()

    # Handing trials out

    def start(
        self,
        fixed_distributions: Mapping[str, BaseDistribution] | None = None,
        *,
        point: Mapping[str, Any] | None = None,
        announces: bool = True,
    ) -> Trial:
        """A new trial, whatever is paused.

        Args:
            fixed_distributions: Optuna distributions to suggest at once, on top of the declared space.
            point: natural values by flat name that are not to be sampled: a cell of the space's grids. By default the
                one whose turn it is.
            announces: tell the listeners; else the caller calls ``announce_start`` once the trial runs.
        """
        if self.listeners.has_new:
            self.listeners.emit("on_study_start", self)
        distributions = self._distributions
        if fixed_distributions:
            distributions = {**(distributions or {}), **fixed_distributions}
        if point is None and self._grids:
            point = self.next_cell()
        pinned = {name: self._grids[name].to_param(value) for name, value in (point or {}).items()}
        self._settle_losses()
        sharing = self.sharing
        company = sharing.company
        self._settle_losses()  # others were looked at
        if company:
            self.sampling.share()
        asked = self.sampling.ask(distributions, pinned, marks=sharing.drivers.marks, company=company)
        sharing.started(asked.number)
        config = None if asked.drawn is None else self._config_of_frozen(asked.drawn)
        trial = Trial(self, asked.storage_id, asked.number, _RUNNING, handle=asked.handle, config=config)
        self._live[trial.number] = trial
        if self.space is not None and not self.space.is_exact:
            self._storage.set_trial_user_attr(trial.storage_id, "config", plain(trial.config))
        if self._verdicts is not None:
            self.fold_others()  # those with lower numbers have started before
            self._verdicts.start(trial.number, {} if distributions is None else trial.config)
        if announces:
            self.announce_start(trial)
        return trial

    def announce_start(self, trial: Trial) -> None:
        """Tells the listeners of a new trial."""
        if self.listeners:
            self.listeners.emit("on_trial_start", trial)

    def resume(self, more: bool = True, *, busy: Container[int] = ()) -> Trial | None:
        """A trial that was started before and may go on: of a former driver, to be retried, or paused; or None.

        Args:
            more: False says that no new trials will come.
            busy: trials that have not left their slot yet; they are handed out when they have.
        """
        if self.listeners.has_new:
            self.listeners.emit("on_study_start", self)
        self._settle_losses()
        while self._returning:
            returning = self._live[self._returning.pop(0)]
            if not self._has_ended_elsewhere(returning):
                return self._unpause(returning, has_entered=True)
        while self._again:
            again = self._live[self._again.pop(0)]
            if not self._has_ended_elsewhere(again):
                return self._reenter(again)
        verdicts = self._verdicts
        if verdicts is None or not (verdicts.paused or self._handed_out or not more):
            return None
        for number in [number for number in self._handed_out if number not in busy]:
            self._handed_out.remove(number)
            handed_out = self._live[number]
            if not self._has_ended_elsewhere(handed_out):
                return self._unpause(handed_out)
        # One at a time: what the pruner holds back is judged anew for the next free slot.
        resumed = None
        while resumed is None and (number_now := verdicts.next_resume(more)) is not None:
            if number_now in busy:
                self._handed_out.append(number_now)
            else:
                found = self._live.get(number_now)
                resumed = None if found is None or self._has_ended_elsewhere(found) else found
        self._end_dropped()
        return None if resumed is None else self._unpause(resumed)

    def _unpause(self, trial: Trial, *, has_entered: bool = False) -> Trial:
        """A paused trial goes on: from its checkpoint, or with the configuration and state of another one.

        One that had entered its slot under a former driver goes on as that had it.
        """
        decision: Decision = CONTINUE
        if self._verdicts is not None and not has_entered:
            decision = self._verdicts.resume(trial.number)
        elif self._verdicts is not None and trial.last_step is not None and trial.last_value is not None:
            self._verdicts.go_on(trial.number, trial.last_step, trial.last_value)
        self._place(trial)
        if isinstance(decision, Exploit):
            step = trial.last_step or 0
            self._store(trial, step, decision)
            decision = self._exploit(trial, decision, step)
        if self.listeners:
            self.listeners.emit("on_trial_resume", trial)
            if isinstance(decision, Exploit):
                self.listeners.emit("on_trial_exploit", trial, decision)
        if trial.last_step is not None and not self.saving.has_any(trial.number) and not self._has_warned_restart:
            self._has_warned_restart = True
            warnings.warn(
                TuneflowWarning(
                    f"trial {trial.number} goes on without a checkpoint and starts over at step 0: none was saved, or "
                    f"it was an object, which ends with the process that reported it; pass checkpoint= to report, as "
                    f"a folder or a function save(folder) where another process may go on (said once per study)"
                ),
                stacklevel=4,
            )
        return trial

    def _reenter(self, trial: Trial) -> Trial:
        """Another attempt of a trial whose former one broke off."""
        trial.attempt += 1
        uncopied = self._uncopied.pop(trial.number, None)
        if uncopied is not None:
            step, *_ = trial.schedule.pop()
            uncopied = self._exploit(trial, uncopied, step)
        self._place(trial)
        trial.decision = uncopied
        if self.listeners:
            self.listeners.emit("on_trial_resume", trial)
            if uncopied is not None:
                self.listeners.emit("on_trial_exploit", trial, uncopied)
        return trial

    def _place(self, trial: Trial) -> None:
        """Where the trial starts: at its last checkpoint, repeating the recorded steps past it, or at zero."""
        step = self.saving.start_of(trial.number)
        is_behind = trial.last_step is not None and (step < trial.last_step or not self.saving.has_any(trial.number))
        checkpoint = self.saving.keeper.hand_out(trial.number)
        trial.enter(step=step, checkpoint=checkpoint, restart_from=trial.last_step if is_behind else None)

    # Reports

    def report_for(
        self,
        trial: Trial,
        metrics: Mapping[str, Any] | Any,
        step: int | None = None,
        checkpoint: Any = None,
        *,
        announces: bool = True,
        is_last: bool = False,
    ) -> Decision:
        """``Trial.report``: records the value, asks the pruner, takes the checkpoint.

        ``announces=False`` leaves it to the caller to ``announce`` the result, once the trial has its answer. A trial
        that ends with this result, whatever is decided (``is_last``), keeps the configuration and state that it had.
        """
        if trial.state is not _RUNNING:
            raise UsageError(f"trial {trial.number} has ended as {trial.state.name}; it cannot report any more")
        if not self.owns(trial):
            raise self.lost(trial)
        answered = trial.decision
        if isinstance(answered, Pause):
            raise UsageError(
                f"trial {trial.number} is paused; drop it and call study.ask(), which hands it back when it may go on"
            )
        value = self.objectives.value_of(metrics)
        last = trial.last_step
        step = trial.next_step if step is None else as_step(step)
        if checkpoint is not None and (last is None or step > last or trial.owed is not None):
            checkpoint = self.saving.check(checkpoint)
        if last is not None and step <= last:
            owed = trial.owed
            if owed is None or step < last or not trial.replays(step):
                return self._repeated(trial, step)
            trial.owed, trial.decision = None, owed
            if checkpoint is not None:
                self.saving.take(trial, step, checkpoint, owed, metrics)
            return owed
        decision: Decision = CONTINUE
        verdicts = self._verdicts
        if value is not None:
            is_stored_first = verdicts is None or verdicts.reads_storage
            try:
                if is_last:
                    self._storage.set_trial_system_attr(trial.storage_id, OVER, step)
                if is_stored_first:
                    self._storage.set_trial_intermediate_value(trial.storage_id, step, value)
                if verdicts is not None and not isinstance(answered, Stop):
                    decision = self._judge(verdicts, trial, step, value, checkpoint is not None, is_last)
                if not is_stored_first:  # whoever reads the value finds what was decided on it
                    self._storage.set_trial_intermediate_value(trial.storage_id, step, value)
            except optuna.exceptions.UpdateFinishedTrialError:
                raise self.lost(trial) from None
            trial.last_value = value
        trial.last_step = step
        trial.n_reports += 1
        if isinstance(answered, Stop):
            return answered
        trial.decision = decision
        if checkpoint is not None:
            self.saving.take(trial, step, checkpoint, decision, metrics)
        if isinstance(decision, Exploit):
            decision = self._exploit(trial, decision, step)
        if announces and self.listeners:
            result = dict(metrics) if isinstance(metrics, Mapping) else {self.objectives.name: trial.last_value}
            result.setdefault("training_iteration", step)
            self.announce(trial, result, decision)
        if announces and isinstance(decision, Pause):
            self._end_dropped()  # after its own report was announced; else at the next resume
        return decision

    def _judge(
        self, verdicts: Verdicts, trial: Trial, step: int, value: float, has_checkpoint: bool, is_last: bool
    ) -> Decision:
        """Asks the pruner, and keeps what it decided."""
        if self.sharing.is_possible:
            self.fold_others()
        decision = verdicts.report(trial.number, step, value, has_checkpoint)
        if is_last and isinstance(decision, Exploit):
            return CONTINUE
        if decision is not CONTINUE:
            if not has_checkpoint and self.needs_checkpoints:
                refuse_without_checkpoint(decision, trial.number, type(verdicts.pruner).__name__)
            self._store(trial, step, decision)
        return decision

    def _repeated(self, trial: Trial, step: int) -> Decision:
        """A step that is not new: done again after a restart, or reported twice."""
        if trial.replays(step):
            return CONTINUE
        warnings.warn(
            TuneflowWarning(
                f"trial {trial.number} reported step {step} after step {trial.last_step}; steps must grow, "
                f"the value is ignored"
            ),
            stacklevel=4,
        )
        return trial.decision or CONTINUE

    def _store(self, trial: Trial, step: int, decision: Decision) -> None:
        """Keeps a decision with the trial, for a rebuild."""
        changes = None
        if isinstance(decision, Exploit):
            changes = self._changes(self.config_of(trial), decision.config)
        stored = encode(decision, changes)
        if stored is not None:
            self._storage.set_trial_user_attr(trial.storage_id, f"{DECISION}{step}", stored)
        if isinstance(decision, Pause):
            self._storage.set_trial_user_attr(trial.storage_id, PAUSED, step)
            self.sampling.mark_paused(trial.number)

    def _exploit(self, trial: Trial, decision: Exploit, step: int) -> Exploit:
        """Fills in the donor's checkpoint, unless that is still on its way."""
        if not self.saving.is_pending(decision.donor):
            copied = self.saving.copy(decision.donor, trial, step)
            if copied is None:
                warnings.warn(
                    TuneflowWarning(
                        f"trial {trial.number} was to go on from trial {decision.donor}, whose checkpoint could not "
                        f"be had; it goes on from its own with the new configuration"
                    ),
                    stacklevel=4,
                )
                copied = self.saving.keeper.hand_out(trial.number)
            else:
                trial.catch_up()
            decision = replace(decision, checkpoint=copied)
        trial.change_config(decision, step)
        trial.decision = decision
        return decision

    def fill_exploit(self, trial: Trial) -> Exploit:
        """The exploit that waited for its donor's checkpoint, now with it."""
        decision = trial.decision
        if not isinstance(decision, Exploit):
            raise UsageError(f"trial {trial.number} was not told to exploit")
        step, *_ = trial.schedule.pop()
        return self._exploit(trial, decision, step)

    def announce(self, trial: Trial, result: dict[str, Any], decision: Decision = CONTINUE) -> None:
        """Tells the listeners of a result, and of what was decided on it."""
        trial.last_result = result
        self.listeners.emit("on_trial_report", trial, result)
        if isinstance(decision, Pause):
            self.listeners.emit("on_trial_pause", trial)
        elif isinstance(decision, Exploit):
            self.listeners.emit("on_trial_exploit", trial, decision)

    # Ends

    def finish(
        self, trial: Trial, state: TrialState | None = None, values: Any = None, *, reason: str = ""
    ) -> FrozenTrial:
        """Ends a live trial, a paused one too; ``Study.tell`` without its checks on the caller.

        Args:
            trial: a live trial of this study.
            state: COMPLETE, PRUNED, FAIL, or None to let the values and the last decision say it.
            values: one per objective; where they are left out, a COMPLETE trial has its last reported value.
            reason: why it failed, stored with it.

        Raises:
            TrialTakenOver: another driver of the study has it now, or something else has ended it.
        """
        if not self.owns(trial):
            raise self.lost(trial)
        stopped = trial.decision
        if isinstance(stopped, Stop) and state in (None, TrialState.COMPLETE):
            if not stopped.complete:
                state, values = TrialState.PRUNED, None
            elif values is None:
                values = trial.last_value
        if state is TrialState.COMPLETE:
            if values is None and not self.objectives.has_metric:
                values = 0.0
            if values is None or values != values:
                state = None  # let the judge say what is wrong
        outcome = judge(values, state, last_value=trial.last_value, n_objectives=self._n_objectives)
        if outcome.problem:
            trial.error = TrialFailed(f"trial {trial.number}: {outcome.problem}", trial=trial.number)
            self.listeners.emit("on_trial_error", trial, trial.error)
        try:
            frozen = self._end(trial, outcome.state, outcome.values, outcome.problem or reason)
        except optuna.exceptions.UpdateFinishedTrialError:
            raise self.lost(trial) from None
        if outcome.problem:
            message = f"trial {trial.number} is marked failed: {outcome.problem}"
            warnings.warn(TuneflowWarning(message), stacklevel=3)
        return frozen

    def _end(self, trial: Trial, state: TrialState, values: list[float] | None, reason: str) -> FrozenTrial:
        storage, storage_id = self._storage, trial.storage_id
        if reason:
            storage.set_trial_user_attr(storage_id, "tuneflow:reason", reason)
        self.sampling.end(trial.number, storage_id, state, values)
        trial.state = state
        if trial.last_result is not None and trial.last_result.get("done") is False:
            trial.last_result = {**trial.last_result, "done": True}  # what listeners were given stays as it was
        self._take_out(trial.number)
        if self._verdicts is not None:
            self._verdicts.end(trial.number, state)
        if self.listeners:
            self.listeners.emit("on_trial_end", trial)
        self.saving.end(trial.number)
        self._end_dropped()
        return storage.get_trial(storage_id)

    def _end_dropped(self) -> None:
        """Ends the paused trials that the pruner has given up."""
        if self._verdicts is None:
            return
        while dropped := self._verdicts.take_dropped():
            for number in dropped:
                trial = self._live.get(number)
                if trial is not None:
                    with contextlib.suppress(TrialTakenOver):  # a dashboard has ended it before
                        self.finish(trial, TrialState.PRUNED)

    def ask_optuna_pruner(self, number: int) -> bool:
        """Whether the Optuna pruner of this study would stop a trial after its last report."""
        return self.sampling.would_prune(self._live[number].storage_id)

    # What a Trial asks back

    def config_of(self, trial: Trial) -> dict[str, Any]:
        """The nested configuration of a trial, from its parameters and the space."""
        return self._config_of_frozen(trial.frozen)

    def params_of(self, trial: Trial) -> dict[str, Any]:
        """The flat Optuna parameters of a trial."""
        return self._storage.get_trial(trial.storage_id).params

    def folder_of(self, trial: Trial) -> Path:
        """The trial's own folder."""
        return self.folders.make(trial.number)

    def handle_of(self, trial: Trial) -> optuna.Trial:
        """Optuna's own object for a trial."""
        return self.sampling.trial(trial.storage_id, trial.number)

    def prepare_draw(self, trial: Trial, handle: optuna.Trial, name: str) -> None:
        """The trial is about to ask for a parameter that may have to be drawn."""
        self.sampling.prepare(handle, trial.number, name)

    def seed_of(self, trial: Trial) -> int:
        """The trial's own seed, in [0, 2**32)."""
        return derive(self.seed, trial.number, 1)
