"""The Study as its users see it: ask, tell, enqueue, optimize."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from tuneflow import registry
from tuneflow.adopting import AdoptingStudy
from tuneflow.errors import InvalidArgument, InvalidArgumentType, TrialTakenOver, UsageError
from tuneflow.pruners.base import Pause
from tuneflow.storage.quiet import quiet
from tuneflow.trial import Trial
from tuneflow.views import GIVEN, RETRY_OF

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Study"]


class Study(AdoptingStudy):
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

    is_stopped = False
    """Whether ``stop`` was called since the last ``optimize`` began."""

    had_other_constants: Container[int] = ()
    """Trials that had ended when the constants of the space were changed: their folders say what theirs were."""

    @overload
    def ask(
        self, fixed_distributions: Mapping[str, BaseDistribution] | None = None, *, new: Literal[True] = True
    ) -> Trial: ...

    @overload
    def ask(
        self, fixed_distributions: Mapping[str, BaseDistribution] | None = None, *, new: bool = True
    ) -> Trial | None: ...

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
        for name, given in (fixed_distributions or {}).items():
            if not isinstance(given, BaseDistribution):
                raise InvalidArgumentType(
                    f"fixed_distributions[{name!r}]={given!r} must be one of Optuna's distributions; a value to try "
                    f"goes into study.enqueue_trial, and one of tuneflow's domains into the space of create_study"
                )
        resumed = self.resume(new)
        if resumed is not None or not new:
            return resumed
        return self.start(fixed_distributions)

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
            state: COMPLETE, PRUNED or FAIL; without it COMPLETE. After a pruning ``Stop`` it is PRUNED, whatever
                is told.
            skip_if_finished: do nothing for a trial that has ended, rather than raise.

        Returns:
            The finished trial as Optuna stores it.

        Raises:
            UsageError: the trial has ended, is paused, or is waiting.
            TrialTakenOver: another driver of the study has it now, or something else has ended it.
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
            values = self.objectives.values_of(values)
        try:
            return self.finish(live, state, values)
        except TrialTakenOver as error:
            if skip_if_finished and error.ended_as:
                return self._storage.get_trial(live.storage_id)
            raise

    def _lookup(self, trial: Trial | int, skip_if_finished: bool) -> Trial | None:
        """The live trial that is meant; None where it has ended and that is to be skipped."""
        if isinstance(trial, bool) or not isinstance(trial, (Trial, int)):
            raise InvalidArgumentType(f"trial={trial!r} must be a Trial or its number")
        number = trial if isinstance(trial, int) else trial.number
        if isinstance(trial, Trial) and trial.study is not self:
            raise InvalidArgument(f"trial {number} belongs to another study")
        if isinstance(trial, Trial) and trial.state is TrialState.RUNNING and not self.owns(trial):
            if skip_if_finished and self._storage.get_trial(trial.storage_id).state.is_finished():
                return None
            raise self.lost(trial)
        live = self._live.get(number)
        if live is not None:
            return live
        state = self._storage.get_trial(self._storage_id(number)).state
        if state.is_finished():
            if skip_if_finished:
                return None
            raise UsageError(
                f"trial {number} was told already, as {state.name}; pass skip_if_finished=True to allow that"
            )
        if state is not TrialState.RUNNING:
            raise UsageError(f"trial {number} is {state.name} and cannot be told; ask for it first")
        self.sharing.has_company = True
        self.fold_others()  # what its driver reported
        return self._take_over(number)

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
        point = dict(params)
        if self.space is not None:
            point, cell = self.space.split_point(params)
            point |= {name: self._grids[name].to_param(value) for name, value in cell.items()}
            kept = self.space.kept(params)
            if kept:
                attrs[GIVEN] = kept
        with quiet():  # Optuna tells of points that it leaves out
            self.sampling.enqueue(point, attrs or None, skip_if_exists=skip_if_exists)

    def enqueue_failed(self) -> None:
        """Has the configurations of failed trials tried again, as new trials with the user attribute ``RETRY_OF``.

        A trial that was tried again already is left out: what counts is how that one ended.
        """
        trials = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False)
        retried = {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}
        failed = [trial for trial in trials if trial.state is TrialState.FAIL and trial.number not in retried]
        for frozen in failed:
            given = frozen.user_attrs.get(GIVEN)
            attrs = {RETRY_OF: frozen.number, **({GIVEN: given} if given else {})}
            self.sampling.enqueue(frozen.params, attrs, skip_if_exists=False)

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
        gc_after_trial: bool = False,
        show_progress_bar: bool = True,
    ) -> None:
        """Runs ``objective(trial)`` until ``n_trials`` new trials have ended or ``timeout`` seconds have passed.

        Args:
            objective: takes a trial and returns a value or one per objective; Optuna's own run unchanged.
            n_trials: new trials to run; None for no limit.
            timeout: seconds; None for no limit. With neither limit, runs until ``study.stop()`` or Ctrl-C. Inline, the
                trial that runs then ends in its own time, as in Optuna. In worker processes those that run are ended:
                as PRUNED with their last report, or as FAIL where they have not reported.
            n_jobs: trials at a time, -1 for as many as the machine has room for. More than one run in worker
                processes.
            resources: of each trial, ``{"cpu": 2, "gpu": 0.5}``; needs processes.
            executor: "inline", "processes", "simulated", or an ``Executor``.
            callbacks: listeners (``tuneflow.callbacks.Callback``), or Optuna's ``callback(study, trial)``.
            catch: exceptions of the objective that only fail their trial; any other ends the run.
            gc_after_trial: collect garbage after each trial, in the process that ran it, as in Optuna.
            show_progress_bar: show progress on a terminal.
        """
        bind = getattr(objective, "tuneflow_bind", None)  # of a trainable that wants to know what it is for
        if bind is not None:
            objective = bind(space=self.space, metrics=self.objectives.metrics or (self.objectives.name,))
        registry.resolve("runner", "optimize")(
            self,
            objective,
            n_trials=n_trials,
            timeout_s=timeout,
            n_jobs=n_jobs,
            resources=resources,
            executor=executor,
            callbacks=tuple(callbacks or ()),
            catch=(catch,) if isinstance(catch, type) else tuple(catch),
            gc_after_trial=gc_after_trial,
            show_progress_bar=show_progress_bar,
        )

    def stop(self) -> None:
        """Ends a running ``optimize`` after the trials that run now."""
        self.is_stopped = True

    def add_callback(self, callback: Any) -> None:
        """Has a listener hear what happens in this study, also in an ask/tell loop of one's own.

        Args:
            callback: a ``tuneflow.callbacks.Callback``, a class of one, any object with a method of an event's name,
                or Optuna's ``callback(study, frozen_trial)``.

        Raises:
            InvalidArgumentType: it cannot listen.
            InvalidArgument: its settings break a rule.
        """
        registry.resolve("callbacks", "add")(self, callback)

    def close(self) -> None:
        """Writes everything to disk, lets the listeners close what they hold, and gives unfinished trials to others.

        Other drivers of the study may go on with them, now or later. The study can still be read afterwards.
        """
        self.listeners.emit("on_study_end", self)
        self.sharing.drivers.leave()
        flush = getattr(self._storage, "flush", None)
        if callable(flush):
            flush()
