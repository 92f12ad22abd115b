"""Running one attempt of a trial, whatever kind of trainable it is."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from tuneflow.checkpoint import Checkpoint
from tuneflow.errors import InvalidArgumentType, OutOfMemory, TrialError, UsageError
from tuneflow.objects import note_path, noted_path, write_object
from tuneflow.pruners.base import Continue, Exploit
from tuneflow.trainable import session as sessions
from tuneflow.trainable.class_api import Trainable
from tuneflow.trainable.messages import Failed, Finished
from tuneflow.trainable.program_end import ran_out_of_memory
from tuneflow.trainable.session import Session, TrialInterrupt
from tuneflow.trainable.session_trial import SessionTrial

__all__ = ["Kind", "failure", "kind_of", "run"]

Kind = Literal["config", "reporter", "trial", "class"]


def kind_of(trainable: Any, *, default: Kind) -> Kind:
    """How a trainable wants to be called.

    Args:
        trainable: a function or a ``Trainable`` subclass.
        default: how to call a function of one argument whose name does not tell: "config" in ``tune.run``,
            "trial" in ``study.optimize``.

    Raises:
        InvalidArgumentType: it is neither, or the function takes no argument or too many.
    """
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        return "class"
    if not callable(trainable) or isinstance(trainable, type):
        raise InvalidArgumentType(
            f"trainable={trainable!r} must be a function of (config), (config, reporter) or (trial), or a subclass of "
            f"tuneflow.Trainable"
        )
    if inspect.iscoroutinefunction(trainable):
        raise InvalidArgumentType(
            f"the trainable {_name(trainable)} is a coroutine function, which nobody would await; write a function "
            f"that runs it: asyncio.run({_name(trainable)}(config))"
        )
    own = getattr(trainable, "tuneflow_kind", None)
    if own is not None:
        return own  # type: ignore[no-any-return]
    try:
        signature = inspect.signature(trainable)
    except (TypeError, ValueError):
        return default
    free = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    required = [parameter for parameter in free if parameter.default is parameter.empty]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature.parameters.values()) and not free:
        return default
    if not free or len(required) > 2:
        raise InvalidArgumentType(
            f"the trainable {_name(trainable)}{signature} must take (config), (config, reporter) or (trial); bind "
            f"further arguments with functools.partial or tune.with_parameters"
        )
    if len(required) == 2 and required[1].name != "checkpoint_dir":
        if "report" not in required[1].name:
            raise InvalidArgumentType(
                f"the trainable {_name(trainable)}{signature} takes {required[1].name!r}, which nobody gives it; bind "
                f"it with tune.with_parameters(..., {required[1].name}=...), or call it 'reporter' if it is to report"
            )
        return "reporter"
    first = free[0].name
    if first == "trial" or "Trial" in str(free[0].annotation):
        return "trial"
    return "config" if first in ("config", "configuration", "cfg") else default


def run(session: Session, trainable: Any, kind: Kind) -> Finished | Failed:
    """Runs the trainable until it ends, is stopped, pauses or fails; restarts it on an exploit."""
    assignment = session.assignment
    sessions.enter(session)
    try:
        if kind == "class":
            _run_class(session, trainable)
            value, is_pruned = None, False
        else:
            value, is_pruned = _run_function(session, trainable, kind)
        return Finished(assignment.trial, assignment.attempt, value, is_pruned, kind)
    except Exception as error:
        return failure(session, error)
    except SystemExit as error:
        return failure(session, RuntimeError(f"the trial called sys.exit({error.code!r})"))
    finally:
        sessions.leave(session)


def _run_function(session: Session, trainable: Callable[..., Any], kind: Kind) -> tuple[Any, bool]:
    while True:
        try:
            value = _call(session, trainable, kind)
            if inspect.isgenerator(value):
                _drain(session, value)
                return None, False
            return value, False
        except TrialInterrupt as interrupt:
            if not isinstance(interrupt.decision, Exploit):
                return None, False
            _restart(session, interrupt.decision)
        except Exception as error:
            if _is_trial_pruned(error):
                return None, True
            raise


def _call(session: Session, trainable: Callable[..., Any], kind: Kind) -> Any:
    if kind == "trial":
        return trainable(SessionTrial(session))
    if kind == "reporter":
        return trainable(session.whole(session.assignment.config), sessions.report)
    config = session.whole(session.assignment.config)
    if not _takes_folder(trainable):
        return trainable(config)
    if session.checkpoint is None:
        return trainable(config, checkpoint_dir=None)
    if not isinstance(session.checkpoint, Checkpoint):
        raise UsageError(
            f"checkpoint_dir of {_name(trainable)} is a folder, but the trial goes on from an object, a "
            f"{type(session.checkpoint).__name__}; leave checkpoint_dir out and read it with tune.get_checkpoint()"
        )
    with session.checkpoint.as_directory() as folder:
        return trainable(config, checkpoint_dir=str(folder))


def _takes_folder(trainable: Callable[..., Any]) -> bool:
    """Whether a function has Tune's argument for the checkpoint that it goes on from, and nothing bound to it."""
    try:
        parameter = inspect.signature(trainable).parameters.get("checkpoint_dir")
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.default in (None, parameter.empty)


def _drain(session: Session, yielded: Iterator[Any]) -> None:
    """Each value that a generator yields is a report; on an interrupt its ``finally`` blocks run."""
    try:
        for value in yielded:
            decision = session.report(value)
            if not isinstance(decision, Continue):
                raise session.interrupt(decision)
    finally:
        yielded.close()  # type: ignore[attr-defined]


def _restart(session: Session, decision: Exploit) -> None:
    session.restart(decision.checkpoint, decision.config, session.last_step)


def _run_class(session: Session, cls: type[Trainable]) -> None:
    """Steps an object of the class until it is done or told to leave."""
    session.in_class = True  # from setup to cleanup
    try:
        instance = _make(session, cls)
        try:
            while True:
                result = instance.step()
                if not isinstance(result, Mapping):
                    raise UsageError(
                        f"{cls.__name__}.step returned {result!r}; it must return a dict of metrics, for instance "
                        f"return {{'loss': loss}}"
                    )
                instance.iteration += 1
                instance.log_result(dict(result))
                decision = session.report(dict(result), _saver(instance) if cls.can_checkpoint() else None)
                if isinstance(decision, Exploit):
                    instance = _exploit(session, cls, instance, decision)
                elif decision.should_stop or result.get("done"):
                    return
        finally:
            instance.cleanup()
    finally:
        session.in_class = False


def _saver(instance: Trainable) -> Callable[[Any], Any]:
    def save(folder: Any) -> None:
        state = instance.save_checkpoint(str(folder))
        if isinstance(state, dict):  # Tune's other way to save
            write_object(folder, state)
        elif isinstance(state, (str, os.PathLike)):  # and so is this
            note_path(folder, state)

    return save


def _make(session: Session, cls: type[Trainable]) -> Trainable:
    info = session.info
    config = session.whole(session.assignment.config)
    instance = cls(config, trial_id=info.trial_id, logdir=session.assignment.folder)
    _load(session, instance)
    return instance


def _load(session: Session, instance: Trainable) -> None:
    if isinstance(session.checkpoint, Checkpoint):
        with session.checkpoint.as_directory() as folder:
            instance.load_checkpoint(str(noted_path(folder)))
    elif session.checkpoint is not None:
        instance.load_checkpoint(session.checkpoint)
    instance.iteration = session.iteration


def _exploit(session: Session, cls: type[Trainable], instance: Trainable, decision: Exploit) -> Trainable:
    _restart(session, decision)
    config = session.whole(decision.config)
    if instance.reset_config(config):
        instance.config = config
        _load(session, instance)
        return instance
    instance.cleanup()
    return _make(session, cls)


def _is_trial_pruned(error: BaseException) -> bool:
    """Whether it is Optuna's ``TrialPruned``; Optuna is not imported for that."""
    optuna = sys.modules.get("optuna")
    return optuna is not None and isinstance(error, optuna.TrialPruned)


def failure(session: Session, error: BaseException) -> Failed:
    """The closing event of a trial whose code raised."""
    assignment = session.assignment
    if isinstance(error, TrialError):  # of a program: what it printed says more than our own frames
        text = error.traceback_text or str(error)
        return Failed(assignment.trial, assignment.attempt, error, str(error), text, isinstance(error, OutOfMemory))
    frames = traceback.extract_tb(error.__traceback__)
    skipped = sum(1 for frame in frames if frame.filename == __file__)
    kept = error.__traceback__
    for _ in range(skipped):
        if kept is not None and kept.tb_frame.f_code.co_filename == __file__:
            kept = kept.tb_next
    text = "".join(traceback.format_exception(type(error), error, kept))
    return Failed(
        assignment.trial,
        assignment.attempt,
        error,
        "".join(traceback.format_exception_only(type(error), error)).strip(),
        text,
        ran_out_of_memory(error),
    )


def _name(trainable: Any) -> str:
    return getattr(trainable, "__name__", type(trainable).__name__)
