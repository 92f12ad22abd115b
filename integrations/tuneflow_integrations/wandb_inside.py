"""A run of W&B inside a trial, where the trial's own code calls ``wandb.log``."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

import wandb

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.plain import plain, without_passwords
from tuneflow.pruners.base import Exploit, Pause, Stop
from tuneflow.trainable import session as sessions
from tuneflow.trainable.class_api import Trainable
from tuneflow.trainable.messages import Assignment, TrialInfo
from tuneflow.trainable.session import Session, TrialInterrupt
from tuneflow.trainable.session_trial import SessionTrial
from tuneflow.trial import Trial
from tuneflow_integrations.wandb_options import WandbOptions
from tuneflow_integrations.wandb_runs import ended, open_run

__all__ = ["setup_wandb", "wandb_mixin"]

_Trainable = TypeVar("_Trainable", bound=Callable[..., Any])
_SUFFIX = "-own"
_SYSTEM = {"x_disable_stats": False, "x_disable_meta": False}  # here it is the trial's own process

_logger = logging.getLogger("tuneflow")

# Runs that stay open while their trial starts again with another one's state, by study and trial.
_kept: dict[tuple[str, int], Any] = {}


def setup_wandb(
    trial: Any = None,
    *,
    project: str | None = None,
    api_key_file: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    **init: Any,
) -> Any:
    """A run of W&B for a trial, named, grouped and configured by it; ``finish()`` it at the end.

    Inside a trial that ``tune.run`` or ``study.optimize`` runs, ``wandb.log`` goes to it too. In a loop of your own
    several may be open at a time; log with the run that is returned.

    Args:
        trial: what ``study.ask()`` returned, an objective's trial, or, as in Ray Tune, a function's ``config``;
            None for the trial that runs here.
        project: as for ``WandbLogger``, as are the others; ``config["wandb"]`` outranks them.
        api_key_file: file with the key.
        api_key: the key.
        init: arguments of ``wandb.init``.

    Raises:
        UsageError: no trial runs here and none was given.
        InvalidArgument: as for ``WandbLogger``; no project.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, mode="min", seed=0)
        >>> trial = study.ask()
        >>> run = setup_wandb(trial, project="my-project", mode="disabled")
        >>> run.log({"loss": trial.config["x"]})
        >>> run.finish()
    """
    given = {"project": project, "api_key_file": api_key_file, "api_key": api_key, **init}
    if isinstance(trial, Trial):
        study = trial.study
        options = _ready(given, study.sections.get("wandb"))
        arguments = options.init_arguments(
            study=study.study_name, number=trial.number, token=study.uid, config=plain(trial.config), suffix=_SUFFIX
        )
        return open_run(options, {**arguments, "reinit": "create_new"})
    if not (trial is None or isinstance(trial, (SessionTrial, TrialInfo, Mapping))):
        raise InvalidArgumentType(
            f"setup_wandb({trial!r}) needs a trial, a trial's configuration, or nothing inside a running trial"
        )
    section = trial.get("wandb") if isinstance(trial, Mapping) else None
    return _start(sessions.current("setup_wandb"), given, section)


def wandb_mixin(trainable: _Trainable) -> _Trainable:
    """Opens a run of W&B for each trial of a function or a ``Trainable`` class, so that it may call ``wandb.log``.

    The settings stand in ``config["wandb"]``: ``project``, ``api_key_file`` or ``api_key``, and any argument of
    ``wandb.init``. Group, id and name follow from the study and the trial unless they are given. The run ends with the
    trial: with its state as a tag, and with exit code 1 where it failed. It stays open when population based training
    gives the trial another configuration.

    A run is the process's that trains. If that is killed, W&B has what had reached it; ``WandbLogger`` loses nothing.

    Args:
        trainable: a function of any of the forms that ``tune.run`` takes, or a subclass of ``tune.Trainable``, which is
            changed in place.

    Raises:
        InvalidArgumentType: it is neither.

    Example:
        >>> import wandb
        >>> import tuneflow as tune
        >>> @wandb_mixin
        ... def train(config):
        ...     wandb.log({"loss": config["x"]})
        ...     tune.report(loss=config["x"])
        >>> train.__name__
        'train'
    """
    if isinstance(trainable, type):
        if not issubclass(trainable, Trainable):
            raise InvalidArgumentType(
                f"wandb_mixin takes a function or a subclass of tune.Trainable, not {trainable!r}"
            )
        _change(trainable)
        return trainable
    if not callable(trainable):
        raise InvalidArgumentType(f"wandb_mixin takes a function or a subclass of tune.Trainable, not {trainable!r}")

    @functools.wraps(trainable)
    def with_run(*arguments: Any, **named: Any) -> Any:
        stay = _Stay("wandb_mixin")
        try:
            value = trainable(*arguments, **named)
        except BaseException as error:
            stay.leave(error)
            raise
        if inspect.isgenerator(value):
            return _during(stay, value)
        stay.leave(None)
        return value

    return with_run  # type: ignore[return-value]


class _Stay:
    """A run while its trial is in a slot, or until it starts anew there."""

    def __init__(self, call: str) -> None:
        self.session = sessions.current(call)
        assignment = self.session.assignment
        self._config = assignment.config
        self._key = (assignment.study_id, assignment.trial)
        run = _kept.pop(self._key, None)
        for key in list(_kept):
            ended(_kept.pop(key), "interrupted", exit_code=1, summary={}, may_go_on=True)
        if run is None:
            run = _start(self.session, {}, None)
        else:
            run.config.update(plain(assignment.config), allow_val_change=True)
        self.run = run

    def leave(self, error: BaseException | None) -> None:
        """The trial leaves its slot, or starts anew with another configuration."""
        assignment = self.session.assignment
        is_exploit = isinstance(error, TrialInterrupt) and isinstance(error.decision, Exploit)
        if is_exploit or (error is None and assignment.config is not self._config):
            _kept[self._key] = self.run
            return
        state, exit_code = self._outcome(error)
        summary: dict[str, Any] = {"attempts": assignment.attempt}
        if state == "failed":
            summary["error"] = without_passwords(f"{type(error).__name__}: {error}")[:2000]
        try:
            self.run.config.update(plain(assignment.config), allow_val_change=True)
            ended(self.run, state, exit_code=exit_code, summary=summary, may_go_on=state == "paused")
        except Exception as problem:  # how the trial ends is not for W&B to say
            _logger.warning("W&B: the run of trial %d could not be ended: %s", assignment.trial, problem)

    def _outcome(self, error: BaseException | None) -> tuple[str, int]:
        decision = error.decision if isinstance(error, TrialInterrupt) else self.session.decision
        is_pruned = type(error).__name__ == "TrialPruned"
        if error is not None and not is_pruned and not isinstance(error, TrialInterrupt):
            return "failed", 1
        if isinstance(decision, Pause):
            return "paused", 1
        if is_pruned or (isinstance(decision, Stop) and not decision.complete):
            return "pruned", 0
        return "complete", 0


def _during(stay: _Stay, values: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """A function that yields its results has ended only when it is exhausted, or closed."""
    try:
        value = yield from values
    except GeneratorExit:
        stay.leave(TrialInterrupt(stay.session.decision))
        raise
    except BaseException as error:
        stay.leave(error)
        raise
    stay.leave(None)
    return value


def _change(cls: type[Trainable]) -> None:
    init: Any = cls.__init__
    reset_config, cleanup = cls.reset_config, cls.cleanup
    stays: Any = "_wandb_stay"

    @functools.wraps(init)
    def init_with_run(self: Any, *arguments: Any, **named: Any) -> None:
        is_outermost = sessions.is_inside() and getattr(self, stays, None) is None
        if is_outermost:
            setattr(self, stays, _Stay("wandb_mixin"))
        try:
            init(self, *arguments, **named)
        except BaseException as error:
            if is_outermost:
                getattr(self, stays).leave(error)
            raise

    @functools.wraps(reset_config)
    def reset_with_run(self: Any, new_config: dict[str, Any]) -> bool:
        is_reset = reset_config(self, new_config)
        stay = getattr(self, stays, None)
        if is_reset and stay is not None:
            stay._config = stay.session.assignment.config
            stay.run.config.update(plain(stay._config), allow_val_change=True)
        return is_reset

    @functools.wraps(cleanup)
    def cleanup_with_run(self: Any) -> None:
        # Called while an exception of step() is on its way up, too: that is how the trial ends then.
        error = sys.exc_info()[1]
        try:
            cleanup(self)
        finally:
            stay = getattr(self, stays, None)
            if stay is not None:
                setattr(self, stays, None)
                stay.leave(error)

    for name, changed in (("__init__", init_with_run), ("reset_config", reset_with_run), ("cleanup", cleanup_with_run)):
        setattr(cls, name, changed)


def _start(session: Session, given: Mapping[str, Any], section: Mapping[str, Any] | None) -> Any:
    """A run for the trial of a session, as W&B's current one."""
    assignment = session.assignment
    own = section if section is not None else assignment.sections.get("wandb")
    options = _ready(given, own)
    if wandb.run is not None:
        wandb.run.finish()  # whatever a trial before has left
    arguments = options.init_arguments(
        study=assignment.name or "study",
        number=assignment.trial,
        token=assignment.study_id or _token_of(assignment),
        config=plain(assignment.config),
        suffix=_SUFFIX,
        settings=_SYSTEM,
    )
    return open_run(options, arguments)


def _ready(given: Mapping[str, Any], section: Mapping[str, Any] | None) -> WandbOptions:
    if section is not None and not isinstance(section, Mapping):
        raise InvalidArgument(
            f"config['wandb']={section!r} must be a dict of settings, {{'project': 'my-project'}} for one"
        )
    options = WandbOptions.merged(given, section)
    options.check_ready()
    return options


def _token_of(assignment: Assignment) -> str:
    """Tells a study from others of its name where nothing better is known: by the place of its files."""
    place = os.path.dirname(assignment.folder)  # noqa: PTH120
    return hashlib.sha256(place.encode()).hexdigest()[:12]
