"""``tune.run``: a whole experiment in one call."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NoReturn

from tuneflow.analysis import ExperimentAnalysis
from tuneflow.analysis.history import PastResult, past_results
from tuneflow.arguments import check_real, spelt
from tuneflow.callbacks.progress import RunInfo
from tuneflow.callbacks.unseen_keys import UnseenKeys
from tuneflow.callbacks.wiring import configure, for_run
from tuneflow.callbacks.wording import constants_of
from tuneflow.clock import SystemClock
from tuneflow.creation import build_study
from tuneflow.errors import InvalidArgument, InvalidArgumentType, TrialsFailed, TuneflowWarning
from tuneflow.experiment_folder import check_folder, check_same, describe, folder_of, label_of, locked, stored_name
from tuneflow.hyperparameters import HyperParameters, Objective
from tuneflow.keeping import Retention
from tuneflow.moved import refuse_unknown
from tuneflow.recall import remember
from tuneflow.runner.batching import BatchingLoop
from tuneflow.runner.executor import Executor
from tuneflow.runner.loop import Loop
from tuneflow.runner.optimizing import executor_from
from tuneflow.runner.output import sweep_unclaimed
from tuneflow.runner.resources import Resources, check_fits, machine, request_from
from tuneflow.runner.rules import Rules
from tuneflow.settings import Settings, either
from tuneflow.space import Space
from tuneflow.stoppers import Stopper, stopper_from
from tuneflow.study import Study
from tuneflow.trainable.class_api import Trainable
from tuneflow.trainable.hypermodel import HyperModel
from tuneflow.trainable.hypermodel_trial import HyperTrainable

__all__ = ["run"]

_PLACES = ("trainable", "name", "storage_path", "resume")
"""Arguments of ``run`` that are not kept with an experiment: its folder may move."""

_SPELLING = {"sampler": "search_alg", "pruner": "scheduler", "timeout_s": "time_budget_s"}
"""What ``run`` calls the arguments of the study and the Loop."""


def run(
    trainable: Any,
    config: Mapping[str, Any] | Space | None = None,
    *,
    metric: str | None = None,
    mode: str | None = None,
    num_samples: int = 1,
    name: str | None = None,
    storage_path: str | os.PathLike[str] | None = None,
    stop: Any = None,
    search_alg: Any = None,
    scheduler: Any = None,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    max_concurrent_trials: int | None = None,
    resources_per_trial: Mapping[str, Any] | Resources | None = None,
    executor: str | Executor | None = None,
    time_budget_s: float | timedelta | None = None,
    trial_timeout_s: float | None = None,
    max_failures: int = 0,
    fail_fast: bool | Literal["raise"] = False,
    raise_on_failed_trial: bool = True,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = False,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
    checkpoint_budget_bytes: int | None = None,
    on_oom: Any = "fail",
    callbacks: Sequence[Any] | None = None,
    loggers: Sequence[Any] | None = None,
    progress_reporter: Any = None,
    verbose: int = 2,
    echo_output: bool | None = None,
    resume: bool | str = False,
    seed: int | None = None,
    deterministic: bool = False,
    **unknown: NoReturn,
) -> ExperimentAnalysis:
    """Runs trials of ``trainable`` over the space ``config`` and returns what they found.

    Args:
        trainable: ``train(config)``, ``train(config, reporter)``, an Optuna ``objective(trial)``, a subclass of
            ``tune.Trainable``, or a ``tune.HyperModel`` whose ``fit`` needs no data from here.
        config: the search space, nested as deep as you like; constants pass through. A dict under "wandb" holds
            settings of that tracker: the trainable sees them, but they are no hyperparameters. Or a
            ``tuneflow.space.Space``, for instance one read from YAML by ``space_from_mapping``.
        metric: the result to optimise; without one only random and grid search run, and no pruner.
        mode: "min" or "max". Metric and mode may stand in the scheduler or the searcher instead.
        num_samples: how many configurations to try, per cell of the space's grids; -1 goes on until a stopper or
            the time budget ends the run.
        name: names the experiment and its folder; made up from the trainable and the time where it is left out.
        storage_path: where experiment folders are; ``./tuneflow_results`` by default.
        stop: ends trials: a dict (any ``result[key] >= value``), a function of ``(trial_id, result)``, a
            ``Stopper``, or a list of these.
        search_alg: a sampler's name, an Optuna sampler, or one of ``tuneflow.search``. TPE by default; random
            search where the space holds a grid or there is no metric.
        scheduler: a pruner's name, a tuneflow or Optuna pruner, or one of ``tuneflow.schedulers``.
        points_to_evaluate: configurations to try first; missing entries are sampled.
        max_concurrent_trials: trials at a time; as many as fit by default.
        resources_per_trial: ``{"cpu": 1, "gpu": 0.5}``; ``"memory_bytes"`` limits what a trial's processes hold.
        executor: "processes" (default), "inline", "simulated", or an ``Executor``.
        time_budget_s: seconds, or a ``datetime.timedelta``, after which the run ends.
        trial_timeout_s: hard limit on one attempt of a trial, in seconds; inline there is none, which is warned of.
        max_failures: further attempts that a failed trial gets, from its last checkpoint; -1 for no limit.
        fail_fast: whether the first failed trial ends the run, and trials that run beside it; "raise" also raises what
            its code raised.
        raise_on_failed_trial: whether to raise ``TrialsFailed`` at the end where trials failed.
        checkpoint_freq: every how many results a trial that can be saved is.
        checkpoint_at_end: whether it is at its end.
        keep_checkpoints_num: how many of a trial's checkpoints stay; all by default.
        checkpoint_score_attr: result key to rank them by; "min-KEY" for lower is better.
        checkpoint_budget_bytes: for the checkpoints of all trials together.
        on_oom: "fail", "prune" or "retry" a trial that ran out of memory.
        callbacks: listeners, in addition to the loggers.
        loggers: the loggers, classes or objects; ``tuneflow.callbacks.DEFAULT_LOGGERS`` by default.
        progress_reporter: shows progress in place of the built-in table.
        verbose: 0 silent, 1 status, 2 status and results, 3 everything.
        echo_output: whether what trials print is shown as well as kept in their folders (``stdout.txt``,
            ``stderr.txt``), each line after its trial's id; by default where ``verbose`` is 3.
        resume: True goes on with the experiment of this name, "auto" does so if it exists, "errored" also tries
            its failed trials again.
        seed: fixes every configuration and decision of a sequential or deterministic run.
        deterministic: handles events in logical order, so that the same seed gives the same run for a given
            number of slots.
        unknown: refused, with what to write instead.

    Returns:
        The analysis of the finished run.

    Raises:
        ExperimentExists: the folder is there and ``resume`` is False.
        TrialsFailed: trials failed; its attribute ``analysis`` holds the rest.
        InvalidArgument: an argument that breaks a rule, before anything runs.
        InvalidArgumentType: an argument that is unknown, or of the wrong kind.
    """
    given = {name: value for name, value in locals().items() if name not in (*_PLACES, "unknown")}
    refuse_unknown("tune.run", unknown, [*given, *_PLACES])
    if isinstance(config, str):
        raise InvalidArgumentType(
            f"config={config!r} must be a search space, a dict of domains and constants; to name the experiment write "
            f"name={config!r}"
        )
    clock = SystemClock()
    if isinstance(time_budget_s, timedelta):
        time_budget_s = time_budget_s.total_seconds()
    if isinstance(config, Space):
        config = config.definition
    with spelt(_SPELLING):
        settings = Settings(trainable, config, metric, mode, num_samples, search_alg, scheduler, seed)
    if isinstance(trainable, HyperModel):
        trainable = _of_hypermodel(trainable, settings)
    bind = getattr(trainable, "tuneflow_bind", None)  # of a trainable that wants to know what it is for
    if bind is not None:
        trainable = bind(space=settings.space, metrics=() if settings.metric is None else (settings.metric,))
    points = either("points_to_evaluate", points_to_evaluate, "points_to_evaluate", search_alg) or ()
    max_concurrent = either("max_concurrent_trials", max_concurrent_trials, "max_concurrent", search_alg)
    request = request_from(_resources_of(trainable, resources_per_trial, config))
    total = machine()
    own = executor if isinstance(executor, Executor) else None
    n_slots = check_fits(request, own.total() if own is not None else total)
    if executor == "inline":
        n_slots = 1
    folder = folder_of(name, storage_path, trainable, clock)
    exists = check_folder(folder, resume)
    n_trials = settings.n_trials
    stopper = stopper_from(stop)
    with spelt(_SPELLING):
        rules = Rules(
            n_trials=n_trials,
            timeout_s=time_budget_s,
            max_concurrent=max_concurrent,
            request=request,
            stopper=stopper,
            max_failures=max_failures,
            fail_fast=fail_fast,
            trial_timeout_s=trial_timeout_s,
            on_oom=on_oom,
            checkpoint_freq=checkpoint_freq,
            checkpoint_at_end=checkpoint_at_end,
            time_attr=settings.time_attr,
            is_deterministic=deterministic,
            name=folder.name,
            echoes=verbose == 3 if echo_output is None else echo_output,
            batch_size=getattr(search_alg, "batch_size", 0),
            points=(lambda index: turns.next(index)) if settings.space.has_grid else None,
        )
    for argument, value in (
        ("keep_checkpoints_num", keep_checkpoints_num),
        ("checkpoint_budget_bytes", checkpoint_budget_bytes),
    ):
        if value is not None:
            check_real(argument, value)
    retention = Retention(
        keep_num=keep_checkpoints_num, score_attr=checkpoint_score_attr, budget_bytes=checkpoint_budget_bytes
    )
    chosen, is_own = executor_from(executor, total=total, default_kind="config")
    study_clock = clock if chosen.clock is None else chosen.clock
    if chosen.needs_pickling:
        chosen.prepare(trainable, "check")
    info = RunInfo(
        metric=settings.metric,
        mode=settings.mode,
        n_trials=n_trials,
        folder=folder,
        scheduler=scheduler,
        n_slots=min(n_slots, max_concurrent or n_slots),
        resources=request,
        total=total,
        timeout_s=time_budget_s,
        name=label_of(trainable),
        counts_earlier=exists,
        constants=constants_of(settings.space),
    )
    listeners = for_run(
        info,
        callbacks=callbacks,
        loggers=loggers,
        progress_reporter=progress_reporter,
        verbose=verbose,
        clock=clock,
    )
    unseen = UnseenKeys(stopper)
    _warn_unsaved(trainable, checkpoint_freq, checkpoint_at_end)
    with spelt(_SPELLING):
        settings.check(points)
    configure(listeners, settings.sections)
    is_same = not exists or check_same(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        sweep_unclaimed(folder)
        study = build_study(
            settings.space if settings.space.definition else None,  # parameters are suggested by the trials, if any
            metric=settings.metric,
            mode=settings.mode,
            sampler=settings.sampler,
            pruner=settings.pruner,
            storage=folder / "study.log",
            study_name=stored_name(folder),
            load_if_exists=exists,
            seed=settings.seed,
            folder=folder,
            retention=retention,
            clock=study_clock,
            has_metric=settings.metric is not None,
            sections=settings.sections,
        )
        if not is_same:
            study.had_other_constants = frozenset(trial.number for trial in study.trials if trial.state.is_finished())
        turns = study.turns()
        if settings.space.has_grid:
            turns.begin(0, study.known())
        study.adopt(turns.of if settings.space.has_grid else None)
        for point in points[: settings.n_trials]:
            study.enqueue_trial(point, skip_if_exists=exists)
        if exists and resume == "errored":
            study.enqueue_failed()
        describe(folder, study, settings, settings.num_samples, trainable, clock, deterministic, request.as_dict())
        how_to_resume = getattr(trainable, "how_to_resume", None)
        if how_to_resume is None:  # else somebody else's call, with data that belong in no file of ours
            remember(folder, trainable, given)
        loop = (BatchingLoop if rules.batch_size else Loop)(study, chosen, trainable, rules)
        known = study.known()
        loop.n_started = study.n_new - sum(trial.is_retry for trial in known)
        if settings.space.has_grid:
            turns.begin(loop.n_started, known)
        try:
            if stopper is not None:
                stopper.start(study_clock)
                past = past_results(folder, study.optuna, study.objectives.name)
                if exists and stopper.looks_back and _had_ended(stopper, past):
                    loop.limits.end_by_rule()
            heard = [*listeners, unseen] if unseen.is_waiting else listeners
            _drive(loop, study, heard, folder, how_to_resume)
        finally:
            if is_own:
                chosen.shutdown()
            study.close()
    unseen.warn(stacklevel=3)
    analysis = ExperimentAnalysis(folder, metric=settings.metric, mode=settings.mode, errors=loop.errors, study=study)
    if loop.errors and fail_fast == "raise":
        error = next(iter(loop.errors.values()))
        raise error.__cause__ or error
    if loop.errors and raise_on_failed_trial:
        raise TrialsFailed(loop.errors, analysis)
    return analysis


def _had_ended(stopper: Stopper, results: Iterable[PastResult]) -> bool:
    """Brings a stopper to where it stood in an earlier run. Returns whether it had ended that."""
    had_ended = False
    for trial_id, result, is_whole in results:
        try:
            stopper(trial_id, result)
        except Exception:
            if is_whole:  # else it may look at what was lost with that run's driver
                raise
        had_ended = had_ended or stopper.stop_all()
    return had_ended


def _warn_unsaved(trainable: Any, freq: int, at_end: bool) -> None:
    """Says that a class which cannot be saved will not be, where checkpoints were asked for."""
    if (freq or at_end) and isinstance(trainable, type) and issubclass(trainable, Trainable):
        if trainable.can_checkpoint():
            return
        argument = f"checkpoint_freq={freq}" if freq else f"checkpoint_at_end={at_end}"
        warnings.warn(
            f"{argument} saves nothing: {trainable.__name__} does not override save_checkpoint(self, checkpoint_dir) "
            f"and load_checkpoint(self, checkpoint_dir); write both",
            TuneflowWarning,
            stacklevel=3,
        )


def _resources_of(trainable: Any, given: Any, config: Mapping[str, Any] | None) -> Any:
    if given is not None:
        return given
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        return trainable.default_resource_request(dict(config or {}))
    return getattr(trainable, "tuneflow_resources", None)


def _of_hypermodel(hypermodel: HyperModel, settings: Settings) -> HyperTrainable:
    if settings.metric is None or settings.mode is None:
        raise InvalidArgument(f"{type(hypermodel).__name__} is a HyperModel and needs metric= and mode=")
    if settings.space.definition:
        raise InvalidArgument(
            f"config= and {type(hypermodel).__name__} both say what to tune; a HyperModel declares its hyperparameters "
            f"in build and fit, so leave config out"
        )
    objective = Objective(settings.metric, "max" if settings.mode == "max" else "min")
    return HyperTrainable(hypermodel, objective, HyperParameters())


def _drive(loop: Loop, study: Study, listeners: Sequence[Any], folder: Path, how: str | None) -> None:
    """Runs the loop with the listeners attached. SIGTERM ends it as Ctrl-C does, and the process with 143."""
    for listener in listeners:
        study.listeners.add(listener)
    study.listeners.emit("on_study_start", study)
    try:
        with _sigterm_as_interrupt():
            loop.run()
    except KeyboardInterrupt as interrupt:
        call = how or f"tune.run(..., name={folder.name!r}, storage_path={str(folder.parent)!r}, resume=True)"
        sys.stderr.write(f"\ninterrupted; finished trials are kept. Go on with {call}\n")
        if isinstance(interrupt, _Terminated):
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        study.listeners.emit("on_study_end", study)
        for listener in listeners:
            study.listeners.remove(listener)


class _Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise _Terminated

    try:
        before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
