"""``Study.optimize``: the study's own runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tuneflow import registry
from tuneflow.arguments import spelt
from tuneflow.errors import InvalidArgument, InvalidArgumentType, UnknownName
from tuneflow.runner.executor import Executor
from tuneflow.runner.inline import InlineExecutor
from tuneflow.runner.loop import Loop
from tuneflow.runner.processes import ProcessExecutor
from tuneflow.runner.resources import Resources, check_fits, machine, request_from
from tuneflow.runner.rules import Rules
from tuneflow.study import Study
from tuneflow.trainable.binding import collecting

__all__ = ["executor_from", "optimize"]


def executor_from(
    given: Any, *, total: Resources | None, default_kind: Any, default: str = "processes"
) -> tuple[Executor, bool]:
    """The executor that ``executor=`` asks for, and whether it was made here (and is to be shut down here)."""
    if given is None:
        given = default
    if isinstance(given, Executor):
        return given, False
    if given == "inline":
        return InlineExecutor(total, default_kind=default_kind), True
    if given == "processes":
        return ProcessExecutor(total, default_kind=default_kind), True
    if isinstance(given, str):
        known = registry.known("executor")
        if given not in known:
            raise UnknownName("executor", given, sorted({"inline", "processes", *known}))
        made: Executor = registry.resolve("executor", given)(total=total, default_kind=default_kind)
        return made, True
    raise InvalidArgumentType(
        f"executor={given!r} must be a name ({', '.join(['inline', 'processes', *registry.known('executor')])}) or an "
        f"Executor"
    )


def optimize(
    study: Study,
    objective: Callable[..., Any],
    *,
    n_trials: int | None,
    timeout_s: float | None,
    n_jobs: int,
    resources: Mapping[str, float] | None,
    executor: Any,
    callbacks: tuple[Any, ...],
    catch: tuple[type[Exception], ...],
    gc_after_trial: bool,
    show_progress_bar: bool,
) -> None:
    """Runs an objective; see ``Study.optimize``."""
    if gc_after_trial and objective is not None:
        objective = collecting(objective)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0 or n_jobs < -1:
        raise InvalidArgument(f"n_jobs={n_jobs!r} must be >= 1, or -1 for as many as the machine has room for")
    with spelt({"resources_per_trial": "resources"}):
        request = request_from(resources)
    available = executor.total() if isinstance(executor, Executor) else machine()
    if n_jobs == -1 or (n_jobs == 1 and isinstance(executor, Executor)):
        n_jobs = check_fits(request, available)  # an executor of the caller's own brings its slots
    is_inline = n_jobs == 1 and resources is None
    total = Resources(cpu=max(available.cpu, request.cpu * n_jobs), gpu=available.gpu)
    with spelt({"timeout_s": "timeout"}):
        rules = Rules(
            n_trials=n_trials,
            timeout_s=timeout_s,
            max_concurrent=n_jobs,
            request=request,
            catch=catch,
            default_kind="trial",
            name=study.study_name,
            echoes=True,
        )
    chosen, is_own = executor_from(
        executor, total=total, default_kind="trial", default="inline" if is_inline else "processes"
    )
    listeners = registry.resolve("callbacks", "adapt")(
        study, callbacks, n_trials=n_trials, timeout_s=timeout_s, n_slots=n_jobs, show_progress=show_progress_bar
    )
    for listener in listeners:
        study.listeners.add(listener)
    study.is_stopped = False
    study.listeners.emit("on_study_start", study)
    try:
        Loop(study, chosen, objective, rules).run()
    finally:
        study.listeners.emit("on_study_end", study)
        for listener in listeners:
            study.listeners.remove(listener)
        if is_own:
            chosen.shutdown()
