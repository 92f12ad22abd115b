"""The Study: ask, report, tell. The only owner of trial state."""

from __future__ import annotations

import math
import socket
import warnings
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from tuneflow import registry
from tuneflow.checkpoint import Checkpoint, Deferred, Keeper, SaveRhythm, is_folder_like, stage
from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import InvalidArgument, InvalidArgumentType, MetricMissing, TuneflowWarning, UsageError
from tuneflow.folders import TrialFolders
from tuneflow.listening import Listeners
from tuneflow.plain import plain
from tuneflow.pruners.base import CONTINUE, Continue, Decision, Exploit, Pause, Stop
from tuneflow.samplers.seeding import derive, is_reseedable, reseed
from tuneflow.storage.view import ViewStorage
from tuneflow.trial import Trial
from tuneflow.verdicts import DECISION, PAUSED, Verdicts, encode, is_paused
from tuneflow.views import GIVEN, StudyViews, exploits

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from tuneflow.space import Space

__all__ = ["Study"]

_RUNNING = TrialState.RUNNING


class Study(StudyViews):
    """A set of trials with one space, one sampler, one pruner and one storage. Made by ``create_study``.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(-1, 1)}, mode="min", seed=0)
        >>> for _ in range(20):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, trial.config["x"] ** 2)
        >>> study.best_value < 0.1
        True
    """

    def __init__(
        self,
        inner: optuna.Study,
        *,
        space: Space | None,
        metrics: Sequence[str],
        pruner_metric: str | None,
        make_verdicts: Callable[[Study], Verdicts | None],
        seed: int,
        is_seeded: bool,
        keeper: Keeper,
        folders: TrialFolders,
        clock: Clock | None = None,
        has_metric: bool = True,
    ) -> None:
        super().__init__(inner, space)
        self._has_metric = has_metric
        self.seed = seed
        self.listeners = Listeners()
        self.keeper = keeper
        self.clock: Clock = clock or SystemClock()
        self._metrics = list(metrics)
        self._pruner_metric = pruner_metric
        self.folders = folders
        self._storage = inner._storage
        self._view = ViewStorage(self._storage)
        self._sampling = optuna.Study(inner.study_name, self._view, sampler=inner.sampler, pruner=inner.pruner)
        self._distributions = self._all_distributions()
        self._live: dict[int, Trial] = {}
        self._orphans: list[int] = []
        self._handed_out: list[int] = []
        self._once_paused: set[int] = set()
        self._saving: set[int] = set()
        self._rhythms: dict[int, SaveRhythm] = {}
        self._n_objectives = len(inner.directions)
        self._seeds_sampler = is_seeded and is_reseedable(inner.sampler)
        self._has_warned_restart = False
        self._verdicts = make_verdicts(self)
        self._n_known = self.n_new
        if self._n_known:
            self.rebuild()
        self.is_stopped = False
        self.hostname = socket.gethostname()

    # Ask

    def ask(
        self, fixed_distributions: Mapping[str, BaseDistribution] | None = None, *, new: bool = True
    ) -> Trial | None:
        """A trial to work on: a paused one that may go on, else a new one. Never blocks.

        Args:
            fixed_distributions: Optuna distributions of parameters to suggest at once, as in Optuna, on top
                of the declared space.
            new: False says that no new trials will come: returns a resumable trial or None.

        Returns:
            The trial, with ``start_step`` and ``checkpoint`` set where it is resumed; None only with ``new=False``.
        """
        resumed = self.resume(new)
        if resumed is not None or not new:
            return resumed
        return self.start(fixed_distributions)

    def start(
        self,
        fixed_distributions: Mapping[str, BaseDistribution] | None = None,
        *,
        point: Mapping[str, Any] | None = None,
    ) -> Trial:
        """A new trial, whatever is paused.

        Args:
            fixed_distributions: as for ``ask``.
            point: natural values by flat name that are not to be sampled: a cell of the space's grids.
        """
        distributions = self._distributions
        if fixed_distributions:
            distributions = {**(distributions or {}), **fixed_distributions}
        if self._seeds_sampler:
            reseed(self._sampling.sampler, derive(self.seed, self._n_known))
        if point:
            self._sampling.enqueue_trial({name: self._grids[name].to_param(value) for name, value in point.items()})
        inner = self._sampling.ask(distributions)
        trial = Trial(self, inner, inner.number, _RUNNING)
        self._n_known = trial.number + 1
        self._live[trial.number] = trial
        if self.space is not None and not self.space.is_exact:
            self._storage.set_trial_user_attr(trial.storage_id, "config", plain(trial.config))
        if self._verdicts is not None:
            self._verdicts.start(trial.number, {} if distributions is None else trial.config)
        if self.listeners:
            self.listeners.emit("on_trial_start", trial)
        return trial

    def resume(self, more: bool = True, *, busy: Container[int] = ()) -> Trial | None:
        """A trial that was started before and may go on: of a former driver, to be retried, or paused; or None.

        Args:
            more: False says that no new trials will come.
            busy: trials that have not left their slot yet; they are handed out when they have.
        """
        if self._orphans:
            return self._reenter(self._orphans.pop(0))
        verdicts = self._verdicts
        if verdicts is None or not (verdicts.paused or self._handed_out or not more):
            return None
        while (number := verdicts.next_resume(more)) is not None:
            if number in self._live:
                self._handed_out.append(number)
        self._end_dropped()
        for index, number in enumerate(self._handed_out):
            if number not in busy:
                del self._handed_out[index]
                return self._enter(self._live[number])
        return None

    @property
    def n_paused(self) -> int:
        """How many trials wait to be resumed."""
        return 0 if self._verdicts is None else len(self._verdicts.paused)

    @property
    def n_orphans(self) -> int:
        """How many trials of a former driver ``ask`` will hand out first."""
        return len(self._orphans)

    def _enter(self, trial: Trial) -> Trial:
        """Prepares a trial that was handed out before: where it starts, from what, with which configuration."""
        decision = CONTINUE if self._verdicts is None else self._verdicts.resume(trial.number)
        kept = self.keeper.latest(trial.number)
        step = 0 if kept is None else kept.step
        if kept is None and trial.last_step is not None and not self._has_warned_restart:
            self._has_warned_restart = True
            warnings.warn(
                TuneflowWarning(
                    f"trial {trial.number} goes on without a checkpoint and starts over at step 0; pass "
                    f"checkpoint= to report to resume where it stopped (said once per study)"
                ),
                stacklevel=4,
            )
        behind = trial.last_step is not None and step < trial.last_step
        trial.enter(step=step, checkpoint=None, restart_from=trial.last_step if behind else None)
        if isinstance(decision, Exploit):
            self._exploit(trial, decision, trial.last_step or 0)
        if self.listeners:
            self.listeners.emit("on_trial_resume", trial)
        return trial

    # Report

    def report_for(
        self, trial: Trial, metrics: Mapping[str, Any] | Any, step: int | None = None, checkpoint: Any = None
    ) -> Decision:
        """``Trial.report``: records the value, asks the pruner, keeps the checkpoint."""
        if trial.state is not _RUNNING:
            raise UsageError(f"trial {trial.number} has ended as {trial.state.name}; it cannot report any more")
        answered = trial.decision
        if isinstance(answered, Pause):
            raise UsageError(
                f"trial {trial.number} is paused; drop it and call study.ask(), which hands it back when it may go on"
            )
        value = self._value_of(metrics)
        step = self._next_step(trial) if step is None else _as_step(step)
        if trial.last_step is not None and step <= trial.last_step:
            return self._repeated(trial, step)
        if value is not None:
            self._storage.set_trial_intermediate_value(trial.storage_id, step, value)
            trial.last_value = value
        trial.last_step = step
        trial.n_reports += 1
        if isinstance(answered, Stop):
            return answered
        decision: Decision = CONTINUE
        if self._verdicts is not None and value is not None:
            decision = self._verdicts.report(trial.number, step, value, checkpoint is not None)
        trial.decision = decision
        if decision is not CONTINUE:
            decision = self._apply(trial, step, decision)
        if checkpoint is not None:
            self._take_checkpoint(trial, step, checkpoint, decision, metrics)
        if isinstance(decision, Exploit):
            decision = trial.decision = self._exploit(trial, decision, step)
        if self.listeners:
            self._tell_listeners(trial, metrics, step, decision)
        if isinstance(decision, Pause):
            self._end_dropped()
        return decision

    def _next_step(self, trial: Trial) -> int:
        return (trial.last_step if trial.last_step is not None else trial.start_step) + 1

    def _repeated(self, trial: Trial, step: int) -> Decision:
        """A step that is not new: replayed after a restart, or reported twice."""
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

    def _apply(self, trial: Trial, step: int, decision: Decision) -> Decision:
        """Stores a decision with the trial."""
        stored = encode(decision)
        if stored is not None:
            self._storage.set_trial_user_attr(trial.storage_id, f"{DECISION}{step}", plain(stored))
        if isinstance(decision, Pause):
            self._storage.set_trial_user_attr(trial.storage_id, PAUSED, step)
            self._mark_paused(trial.number)
        return decision

    def _mark_paused(self, number: int) -> None:
        self._once_paused.add(number)
        self._view.n_paused = len(self._once_paused)

    def _exploit(self, trial: Trial, decision: Exploit, step: int) -> Exploit:
        """Fills in the donor's checkpoint, unless it is still being written."""
        if decision.donor not in self._saving:
            copied = self.keeper.copy_from(decision.donor, trial.number, step, lambda: trial.dir)
            decision = replace(decision, checkpoint=copied)
        trial.change_config(decision, step)
        return decision

    def fill_exploit(self, trial: Trial) -> Exploit:
        """The exploit that waited for its donor's checkpoint, now with it."""
        decision = trial.decision
        if not isinstance(decision, Exploit):
            raise UsageError(f"trial {trial.number} was not told to exploit")
        step = trial.start_step
        trial.schedule.pop()
        decision = trial.decision = self._exploit(trial, decision, step)
        return decision

    def _tell_listeners(self, trial: Trial, metrics: Any, step: int, decision: Decision) -> None:
        result = dict(metrics) if isinstance(metrics, Mapping) else {self.objective_name: trial.last_value}
        result.setdefault("training_iteration", step)
        trial.last_result = result
        self.listeners.emit("on_trial_report", trial, result)
        if isinstance(decision, Pause):
            self.listeners.emit("on_trial_pause", trial)
        elif isinstance(decision, Exploit):
            self.listeners.emit("on_trial_exploit", trial, decision)

    # Checkpoints

    def _take_checkpoint(self, trial: Trial, step: int, given: Any, decision: Decision, metrics: Any) -> None:
        wanted = isinstance(decision, Pause) or (isinstance(decision, Continue) and decision.save)
        if isinstance(given, Deferred):
            if wanted:
                self._saving.add(trial.number)
            return
        if isinstance(decision, Exploit):
            return
        if callable(given) and not wanted and not self._is_recovery_due(trial):
            return
        start_s = self.clock.monotonic()
        content = stage(given, trial.dir, step, trial.attempt) if is_folder_like(given) else given
        self.save_for(trial, step, content, metrics, is_own=not callable(given))
        if callable(given) and trial.number in self._rhythms:
            self._rhythms[trial.number].saved(start_s, self.clock.monotonic())

    def save_for(self, trial: Trial, step: int, content: Any, metrics: Any = None, *, is_own: bool = False) -> None:
        """Takes in a checkpoint of ``step``: a ``Staged`` folder, which is moved, or an object.

        Args:
            trial: whose it is.
            step: the step that it was taken at.
            content: the folder or object.
            metrics: the report of that step, for retention by score.
            is_own: the user reported it or a rule asked for it; False for one that only the tuner needs.
        """
        score = self.keeper.retention.score(dict(metrics)) if isinstance(metrics, Mapping) else None
        reason: Any = "reported" if is_own else "needed"
        kept = self.keeper.commit(trial.number, step, content, lambda: trial.dir, score=score, reason=reason)
        self._saving.discard(trial.number)
        if self.listeners and isinstance(kept.content, Checkpoint):
            self.listeners.emit("on_trial_checkpoint", trial, kept.content)

    def save_failed(self, trial: Trial) -> None:
        """A checkpoint that was asked for will not come."""
        self._saving.discard(trial.number)

    def is_saving(self, number: int) -> bool:
        """Whether a checkpoint of the trial was asked for and is not there yet."""
        return number in self._saving

    def _is_recovery_due(self, trial: Trial) -> bool:
        """Whether a function checkpoint is to be made for recovery alone: only where it would outlive the process."""
        if self.folders.is_temporary:
            return False
        rhythm = self._rhythms.get(trial.number)
        if rhythm is None:
            rhythm = self._rhythms[trial.number] = SaveRhythm(self.clock.monotonic())
        return rhythm.is_due(self.clock.monotonic())

    def compute_checkpoint(self, trial: Trial) -> Any:
        """What ``trial.checkpoint`` hands out when it is first asked for."""
        if trial.start_step == 0:
            return None
        return self.keeper.hand_out(trial.number)

    # Tell

    def tell(
        self,
        trial: Trial | int,
        values: float | Sequence[float] | Mapping[str, Any] | None = None,
        state: TrialState | None = None,
        skip_if_finished: bool = False,
    ) -> FrozenTrial:
        """Ends a trial.

        Args:
            trial: the trial or its number.
            values: the objective value, or one per objective. A missing, NaN or non-numeric value marks the
                trial failed and says why; infinite values are kept.
            state: COMPLETE, PRUNED or FAIL; without it, COMPLETE, or PRUNED after a pruning ``Stop``.
            skip_if_finished: do nothing for a trial that has ended, rather than raise.

        Returns:
            The finished trial as Optuna stores it.

        Raises:
            UsageError: the trial has ended, is paused, or is waiting.
            InvalidArgument: there is no such trial, or values and state do not go together.
        """
        live = self._lookup(trial, skip_if_finished)
        if live is None:
            number = trial if isinstance(trial, int) else trial.number
            return self._storage.get_trial(self._storage_id(number))
        if isinstance(live.decision, Pause):
            raise UsageError(
                f"trial {live.number} is paused and cannot be told; study.ask() hands it back when it may go on, "
                f"and the study ends it if it never does"
            )
        if isinstance(values, Mapping):
            values = self._values_of_mapping(values)
        return self.finish(live, state, values)

    def finish(self, trial: Trial, state: TrialState | None = None, values: Any = None, *, reason: str = "") -> FrozenTrial:
        """Ends a live trial, a paused one too; ``tell`` without its checks on the caller.

        Args:
            trial: a live trial of this study.
            state: as for ``tell``.
            values: as for ``tell``; for PRUNED the last reported value is taken, whatever is given.
            reason: why it failed, stored with it.
        """
        stopped = trial.decision
        if isinstance(stopped, Stop) and not stopped.complete and state in (None, TrialState.COMPLETE):
            state, values = TrialState.PRUNED, None
        if isinstance(stopped, Stop) and stopped.complete and values is None and state in (None, TrialState.COMPLETE):
            values = trial.last_value
        if state is TrialState.COMPLETE and not self._has_metric and values is None:
            values = 0.0
        if state is TrialState.COMPLETE and (values is None or values != values):
            state = None
        ended, floats, problem = self._verdict_on(trial, values, state)
        return self._finish(trial, ended, floats, problem or reason)

    def _verdict_on(
        self, trial: Trial, values: Any, state: TrialState | None
    ) -> tuple[TrialState, list[float] | None, str]:
        """State, values and the reason of a failure, by Optuna's rules."""
        if state is TrialState.PRUNED or state is TrialState.FAIL:
            if values is not None:
                raise InvalidArgument(f"values={values!r} cannot be told with state {state.name}; leave them out")
            if state is TrialState.FAIL or trial.last_value is None or trial.last_value != trial.last_value:
                return state, None, ""
            return state, [trial.last_value] if self._n_objectives == 1 else None, ""
        if state is not None and state is not TrialState.COMPLETE:
            raise InvalidArgument(f"state={state!r} cannot be told; use COMPLETE, PRUNED or FAIL")
        listed = list(values) if isinstance(values, (Sequence, tuple)) and not isinstance(values, str) else [values]
        problem = ""
        floats: list[float] = []
        for value in listed:
            try:
                floats.append(float(value))
            except (TypeError, ValueError):
                problem = f"the value {value!r} is not a number"
                break
            if math.isnan(floats[-1]):
                problem = "the value is NaN"
        if not problem and len(floats) != self._n_objectives:
            problem = f"{len(floats)} value(s) were told for {self._n_objectives} objective(s)"
        if not problem:
            return TrialState.COMPLETE, floats, ""
        if state is TrialState.COMPLETE:
            raise InvalidArgument(f"trial {trial.number} cannot be told as COMPLETE: {problem}")
        warnings.warn(TuneflowWarning(f"trial {trial.number} is marked failed: {problem}"), stacklevel=3)
        return TrialState.FAIL, None, problem

    def _finish(self, trial: Trial, state: TrialState, values: list[float] | None, reason: str) -> FrozenTrial:
        storage, storage_id = self._storage, trial.storage_id
        if reason:
            storage.set_trial_user_attr(storage_id, "tuneflow:reason", reason)
        sampling = self._sampling
        sampling._thread_local.cached_all_trials = None
        try:
            sampling.sampler.after_trial(sampling, storage.get_trial(storage_id), state, values)
        finally:
            storage.set_trial_state_values(storage_id, state, values)
        trial.state = state
        del self._live[trial.number]
        self._rhythms.pop(trial.number, None)
        if self._verdicts is not None:
            self._verdicts.end(trial.number, state)
        if self.listeners:
            self.listeners.emit("on_trial_end", trial)
        self.keeper.forget(trial.number)
        if self._verdicts is not None:
            self._once_paused.discard(trial.number)
            self._view.n_paused = len(self._once_paused)
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
                    trial.decision = Stop()
                    self._finish(trial, *self._verdict_on(trial, None, TrialState.PRUNED))

    def _lookup(self, trial: Trial | int, skip_if_finished: bool) -> Trial | None:
        """The live trial that is meant; None where it has ended and that is to be skipped."""
        if isinstance(trial, bool) or not isinstance(trial, (Trial, int)):
            raise InvalidArgumentType(f"trial={trial!r} must be a Trial or its number")
        number = trial if isinstance(trial, int) else trial.number
        live = self._live.get(number)
        if live is not None:
            if isinstance(trial, Trial) and trial is not live:
                raise InvalidArgument(f"trial {number} belongs to another study")
            return live
        state = self._storage.get_trial(self._storage_id(number)).state
        if state.is_finished():
            if skip_if_finished:
                return None
            raise UsageError(f"trial {number} was told already, as {state.name}; pass skip_if_finished=True to allow it")
        if state is not _RUNNING:
            raise UsageError(f"trial {number} is {state.name} and cannot be told; ask for it first")
        return self._take_over(number)

    def _storage_id(self, number: int) -> int:
        try:
            return self._storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)
        except KeyError:
            raise InvalidArgument(
                f"there is no trial {number} in study {self.study_name!r}; tell a trial that ask() returned"
            ) from None

    def ask_optuna_pruner(self, number: int) -> bool:
        """Whether the Optuna pruner of this study would stop a trial after its last report."""
        return self._sampling.pruner.prune(self._sampling, self._storage.get_trial(self._live[number].storage_id))

    # Trials of a former driver

    def rebuild(self) -> None:
        """Folds the stored trials into the pruner; for a study that was loaded."""
        if self._verdicts is None:
            return
        for frozen in self._storage.get_all_trials(self.optuna._study_id, deepcopy=False):
            self._verdicts.replay(frozen, self._config_of_frozen)

    @property
    def n_new(self) -> int:
        """How many trials were ever started."""
        trials = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False)
        return sum(1 for trial in trials if trial.state is not TrialState.WAITING)

    def close(self) -> None:
        """Writes everything to disk; the study can still be read and used afterwards."""
        flush = getattr(self._storage, "flush", None)
        if callable(flush):
            flush()

    def adopt(self) -> int:
        """Takes over the trials that a dead driver left RUNNING; ``ask`` hands out those that were not paused first.

        Returns:
            How many were taken over.
        """
        adopted = 0
        for frozen in self._storage.get_all_trials(self.optuna._study_id, deepcopy=False, states=(_RUNNING,)):
            if frozen.number in self._live:
                continue
            self._take_over(frozen.number)
            adopted += 1
            if PAUSED in frozen.user_attrs:
                self._mark_paused(frozen.number)
            if not is_paused(frozen) or self._verdicts is None:
                self._orphans.append(frozen.number)
        self._orphans.sort()
        return adopted

    def enqueue_failed(self) -> int:
        """Has the configurations of all failed trials tried again, as new trials. Returns how many."""
        failed = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False, states=(TrialState.FAIL,))
        for frozen in failed:
            given = frozen.user_attrs.get(GIVEN)
            self._sampling.enqueue_trial(frozen.params, user_attrs={GIVEN: given} if given else None)
        return len(failed)

    def _take_over(self, number: int) -> Trial:
        frozen = self._storage.get_trial(self._storage_id(number))
        trial = Trial(self, optuna.Trial(self._sampling, frozen._trial_id), number, _RUNNING)
        steps = sorted(frozen.intermediate_values)
        trial.n_reports = len(steps)
        if steps:
            trial.last_step, trial.last_value = steps[-1], frozen.intermediate_values[steps[-1]]
        for step, config, donor in exploits(frozen):
            trial.change_config(Exploit(donor, config), step)
        if is_paused(frozen):
            trial.decision = Pause()
        self._live[number] = trial
        if not self.folders.is_temporary:
            self.keeper.adopt(number, self.folders.of(number))
            self.keeper.drop_after(number, trial.last_step or 0)
        return trial

    def _reenter(self, number: int) -> Trial:
        """Another attempt of a trial whose former one broke off, from its last checkpoint or from zero."""
        trial = self._live[number]
        trial.attempt += 1
        kept = self.keeper.latest(number)
        step = 0 if kept is None else kept.step
        behind = trial.last_step is not None and step < trial.last_step
        trial.enter(step=step, checkpoint=None, restart_from=trial.last_step if behind else None)
        if self.listeners:
            self.listeners.emit("on_trial_resume", trial)
        return trial

    def retry(self, trial: Trial) -> None:
        """Has a live trial handed out again for another attempt."""
        self._orphans.append(trial.number)

    # Configuration, folders, seeds: what a Trial asks back

    def config_of(self, trial: Trial) -> dict[str, Any]:
        """The nested configuration of a trial, from its parameters and the space."""
        return self._config_of_frozen(self._storage.get_trial(trial.storage_id))

    def params_of(self, trial: Trial) -> dict[str, Any]:
        """The flat Optuna parameters of a trial."""
        return self._storage.get_trial(trial.storage_id).params

    def folder_of(self, trial: Trial) -> Path:
        """The trial's own folder."""
        return self.folders.make(trial.number)

    def seed_of(self, trial: Trial) -> int:
        """The trial's own seed, in [0, 2**32)."""
        return derive(self.seed, trial.number, 1)

    # What is tried next

    def enqueue_trial(
        self, params: Mapping[str, Any], user_attrs: dict[str, Any] | None = None, skip_if_exists: bool = False
    ) -> None:
        """Has a point tried next.

        Args:
            params: natural values, nested or flat ("optimizer/lr"); missing entries are sampled. Without a
                declared space, Optuna parameters.
            user_attrs: attributes to store with the trial.
            skip_if_exists: do nothing where the same point was tried or is waiting.

        Raises:
            InvalidArgument: an entry that is not in the space, or a value outside its domain.
        """
        attrs = dict(user_attrs or {})
        if self.space is None:
            point = dict(params)
        else:
            point, cell = self.space.split_point(params)
            point |= {name: self._grids[name].to_param(value) for name, value in cell.items()}
            kept = self.space.kept(params)
            if kept:
                attrs[GIVEN] = kept
        self._sampling.enqueue_trial(point, user_attrs=attrs or None, skip_if_exists=skip_if_exists)

    def _all_distributions(self) -> dict[str, BaseDistribution] | None:
        if self.space is None:
            return None
        return {**self.space.distributions, **{name: grid.distribution() for name, grid in self._grids.items()}}

    # Running

    def optimize(
        self,
        objective: Callable[..., Any],
        n_trials: int | None = None,
        timeout: float | None = None,
        n_jobs: int = 1,
        resources: Mapping[str, float] | None = None,
        executor: Any = None,
        callbacks: Iterable[Any] = (),
        catch: Iterable[type[Exception]] | type[Exception] = (),
        show_progress_bar: bool = True,
    ) -> None:
        """Runs ``objective(trial)`` until ``n_trials`` new trials have ended or ``timeout`` seconds have passed.

        Args:
            objective: takes a trial and returns a value or one per objective; Optuna's own run unchanged.
            n_trials: new trials to run; None for no limit.
            timeout: seconds; None for no limit. With neither limit, runs until ``study.stop()`` or Ctrl-C.
            n_jobs: trials at a time, -1 for as many as the machine has room for. More than one run in worker
                processes.
            resources: of each trial, ``{"cpu": 2, "gpu": 0.5}``; needs processes.
            executor: "inline", "processes", "ray", "simulated", or an ``Executor``.
            callbacks: listeners (``tuneflow.callbacks.Callback``), or Optuna's ``callback(study, trial)``.
            catch: exceptions of the objective that only fail their trial; any other ends the run.
            show_progress_bar: show progress on a terminal.
        """
        registry.resolve("runner", "optimize")(
            self,
            objective,
            n_trials=n_trials,
            timeout_s=timeout,
            n_jobs=n_jobs,
            resources=resources,
            executor=executor,
            callbacks=tuple(callbacks),
            catch=catch if isinstance(catch, tuple) else (catch,) if isinstance(catch, type) else tuple(catch),
            show_progress_bar=show_progress_bar,
        )

    def stop(self) -> None:
        """Ends a running ``optimize`` after the trials that run now."""
        self.is_stopped = True

    def add_callback(self, callback: Any) -> None:
        """Has a listener hear what happens in this study, also in an ask/tell loop of one's own."""
        self.listeners.add(callback)

    # Metrics

    @property
    def has_metric(self) -> bool:
        """Whether trials report something to optimise."""
        return self._has_metric

    @property
    def objective_name(self) -> str:
        """The metric that the pruner and the tables look at."""
        return self._pruner_metric or (self._metrics[0] if self._metrics else "value")

    def _value_of(self, metrics: Any) -> float | None:
        """The pruner's metric in a report; None for a study without one."""
        if not self._has_metric:
            return None
        if isinstance(metrics, Mapping):
            name = self._pruner_metric or (self._metrics[0] if self._metrics else None)
            if name is None:
                raise UsageError(
                    f"a dict was reported ({', '.join(map(str, metrics))}) but the study does not know which entry "
                    f"to optimise; pass metric= to create_study"
                )
            if name not in metrics:
                raise MetricMissing(name, [str(key) for key in metrics])
            metrics = metrics[name]
        try:
            return float(metrics)
        except (TypeError, ValueError):
            raise InvalidArgumentType(f"reported value {metrics!r} is not a number") from None

    def _values_of_mapping(self, values: Mapping[str, Any]) -> list[Any]:
        if not self._metrics:
            raise UsageError("a dict was told but the study has no metric=; tell a number, or name the metric")
        for name in self._metrics:
            if name not in values:
                raise MetricMissing(name, [str(key) for key in values])
        return [values[name] for name in self._metrics]


def _as_step(step: Any) -> int:
    """A step as Optuna takes it: an integer >= 0."""
    try:
        number = int(step)
    except (TypeError, ValueError):
        raise InvalidArgumentType(f"step={step!r} must be an integer") from None
    if number != step:
        raise InvalidArgumentType(f"step={step!r} must be an integer")
    if number < 0:
        raise InvalidArgument(f"step={step} must be >= 0")
    return number
