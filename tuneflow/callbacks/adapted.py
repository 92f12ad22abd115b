"""What may stand in ``callbacks=`` and ``loggers=``, turned into listeners."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.base import Callback
from tuneflow.errors import InvalidArgumentType, TuneflowWarning
from tuneflow.listening import EVENTS

if TYPE_CHECKING:
    from tuneflow.trial import Trial

__all__ = ["OptunaCallback", "as_callback"]


class OptunaCallback(Callback):
    """One of Optuna's ``callback(study, frozen_trial)``, called when a trial has ended.

    It gets the tuneflow ``Study``, not ``study.optuna``: ``study.stop()`` has to end the run that goes on here.
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function

    def on_trial_end(self, trial: Trial) -> None:
        study = trial.study
        # A copy, as Optuna hands out: the storage's own object must not be changed.
        self.function(study, copy.deepcopy(study.optuna._storage.get_trial(trial.storage_id)))

    def __repr__(self) -> str:
        return f"OptunaCallback({self.function!r})"


def as_callback(given: Any) -> Any:
    """The listener that a user means.

    Args:
        given: a ``Callback``; a class of one, which is instantiated without arguments; any object with a method
            of an event's name; or Optuna's ``callback(study, frozen_trial)``.

    Returns:
        The object itself wherever it can listen. A method that only Ray Tune would call is warned about.

    Raises:
        InvalidArgumentType: none of these.

    Example:
        >>> class Quiet(Callback):
        ...     pass
        >>> type(as_callback(Quiet)).__name__
        'Quiet'
        >>> as_callback(lambda study, trial: None).__class__.__name__
        'OptunaCallback'
        >>> as_callback(3)
        Traceback (most recent call last):
        ...
        tuneflow.errors.InvalidArgumentType: callback 3 is no listener; ...
    """
    if isinstance(given, Callback):
        _warn_unheard(given)
        _warn_unfit(given)
        return given
    if isinstance(given, type):
        return _instance(given)
    if _listens(given):
        _warn_unfit(given)
        return given
    if callable(given) and _takes_two(given):
        return OptunaCallback(given)
    raise _refusal(given)


_OF_TUNE = {
    "on_trial_result": "on_trial_report(self, trial, result)",
    "on_trial_complete": "on_trial_end(self, trial)",
    "on_trial_save": "on_trial_checkpoint(self, trial, checkpoint)",
    "on_trial_restore": "on_trial_resume(self, trial)",
    "on_trial_recover": "on_trial_resume(self, trial)",
    "on_checkpoint": "on_trial_checkpoint(self, trial, checkpoint)",
    "on_step_begin": "on_trial_report(self, trial, result)",
    "on_step_end": "on_trial_report(self, trial, result)",
    "on_experiment_end": "on_study_end(self, study)",
    "on_result": "on_trial_report(self, trial, result)",
    "log_trial_start": "on_trial_start(self, trial)",
    "log_trial_result": "on_trial_report(self, trial, result)",
    "log_trial_save": "on_trial_checkpoint(self, trial, checkpoint)",
    "log_trial_restore": "on_trial_resume(self, trial)",
    "log_trial_end": "on_trial_end(self, trial)",
}
"""What Ray Tune's events are called here."""


def _warn_unheard(callback: Callback) -> None:
    """Says that methods which Ray Tune calls are not called here."""
    found = [name for name in _OF_TUNE if callable(getattr(callback, name, None))]
    if found:
        advice = ", ".join(f"{name} is {_OF_TUNE[name]}" for name in found)
        warnings.warn(
            f"{type(callback).__name__} has methods that are never called, as Ray Tune names them; here {advice}",
            TuneflowWarning,
            stacklevel=2,
        )


def _warn_unfit(listener: object) -> None:
    """Says which events a listener cannot hear, since its methods take other arguments: Tune's, most likely."""
    unfit = []
    for event in EVENTS:
        method = getattr(listener, event, None)
        names = list(inspect.signature(getattr(Callback, event)).parameters)
        try:
            if callable(method):
                inspect.signature(method).bind(*names[1:])
        except TypeError:
            unfit.append(f"{event}({', '.join(names)})")
        except ValueError:  # some builtins do not tell
            pass
    if unfit:
        warnings.warn(
            f"{type(listener).__name__} has methods that fail when they are called, as they take other arguments than "
            f"these: {', '.join(unfit)}",
            TuneflowWarning,
            stacklevel=2,
        )


def _listens(given: object) -> bool:
    return any(callable(getattr(given, event, None)) for event in EVENTS)


def _instance(cls: type) -> Any:
    if not _listens(cls) and not any("__call__" in vars(base) for base in cls.__mro__):
        raise _refusal(cls)
    try:
        made = cls()
    except TypeError as error:
        raise InvalidArgumentType(
            f"callback class {cls.__name__} cannot be made without arguments ({error}); pass an object, "
            f"{cls.__name__}(...), instead of the class"
        ) from error
    if isinstance(made, type):  # a metaclass
        raise _refusal(cls)
    return as_callback(made)


def _takes_two(given: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # some builtins do not tell
        return True
    try:
        signature.bind(None, None)
    except TypeError:
        return False
    return True


def _refusal(given: object) -> InvalidArgumentType:
    return InvalidArgumentType(
        f"callback {given!r} is no listener; pass a tuneflow.Callback, a class of one, an object with one of "
        f"{', '.join(EVENTS)}, or Optuna's callback(study, frozen_trial)"
    )
