"""HyperModels: code that builds a model from hyperparameters and trains it, KerasTuner's way, for any framework."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tuneflow.errors import InvalidArgumentType, UsageError
from tuneflow.hyperparameters import HyperParameters

__all__ = ["HyperModel", "accepts", "as_hypermodel"]


class HyperModel:
    """Builds and trains a model. Subclass it, override ``build`` and, for a training loop of your own, ``fit``.

    What ``build`` returns may be anything: a Keras model, a torch module, an estimator, a dict.

    Args:
        name: for people; the class's name without it.
        tunable: False has every hyperparameter keep its default.

    Example:
        >>> import tuneflow as tune
        >>> class Parabola(tune.HyperModel):
        ...     def build(self, hp):
        ...         return {"x": hp.Float("x", -1.0, 1.0)}
        ...
        ...     def fit(self, hp, model, callbacks=None):
        ...         return (model["x"] - hp.Choice("target", [0.0, 0.5])) ** 2
        >>> import tempfile
        >>> tuner = tune.RandomSearch(Parabola(), max_trials=20, seed=1, directory=tempfile.mkdtemp(), verbose=0)
        >>> tuner.search()
        >>> tuner.study.best_value < 0.1
        True
    """

    def __init__(self, name: str | None = None, tunable: bool = True) -> None:
        self.name = name
        self.tunable = tunable

    def build(self, hp: HyperParameters) -> Any:
        """Builds a model; every hyperparameter that it needs is declared on ``hp``.

        Raises:
            UsageError: the class does not override it.
        """
        raise UsageError(f"{type(self).__name__} must override build(self, hp), which returns a model")

    def fit(self, hp: HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains the model and says how good it is.

        Args:
            hp: further hyperparameters may be declared here.
            model: what ``build`` returned, with its weights where the trial goes on from a checkpoint.
            args: what was passed to ``search``.
            kwargs: what was passed to ``search``; ``callbacks``, of which each gets ``set_model(model)`` and
                ``on_epoch_end(epoch, logs)``; and where the trial goes on, ``initial_epoch``, the epochs done.

        Returns:
            A number, a dict of metrics, or an object with ``history``, a dict of lists. None says that the best epoch
            reported to the callbacks counts.
        """
        return model.fit(*args, **kwargs)

    def declare_hyperparameters(self, hp: HyperParameters) -> None:
        """Called before the first ``build``: declares what ``build`` may not reach."""


class _Function(HyperModel):
    """A HyperModel whose ``build`` is a function."""

    def __init__(self, build: Callable[[HyperParameters], Any]) -> None:
        super().__init__(getattr(build, "__name__", None))
        self._function = build

    def build(self, hp: HyperParameters) -> Any:
        return self._function(hp)


def as_hypermodel(given: Any) -> Any:
    """The HyperModel that an argument names: anything with ``build(hp)``, KerasTuner's own included, or a function.

    Raises:
        InvalidArgumentType: it is neither.
    """
    if isinstance(given, type):
        raise InvalidArgumentType(f"hypermodel={given!r} is a class; pass an object, {given.__name__}()")
    if callable(getattr(given, "build", None)):
        return given
    if callable(given):
        return _Function(given)
    raise InvalidArgumentType(
        f"hypermodel={given!r} must be a tuneflow.HyperModel, an object with a method build(hp), or a function of hp"
    )


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of this name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return True
    return name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY
