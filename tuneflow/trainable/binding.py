"""Giving a trainable more than its configuration."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.trainable.class_api import Trainable
from tuneflow.trainable.running import kind_of

__all__ = ["collecting", "with_parameters", "with_resources"]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


def with_parameters(trainable: Any, /, **parameters: Any) -> Any:
    """A trainable that gets ``parameters`` besides its configuration: data sets, tokenizers, whatever is large.

    They are sent to each worker process once, however many trials it serves, and are no hyperparameters: they appear
    in no file and no table. No trial changes another's: each gets lists, dicts and sets of its own, and NumPy arrays
    that can only be read, as in Ray. Other objects are shared by the trials that a worker serves one after the other.

    Args:
        trainable: ``train(config, data)``, ``objective(trial, data)``, or a ``Trainable`` whose
            ``setup(self, config, data)`` takes them.
        parameters: by the names of the arguments.

    Raises:
        InvalidArgument: no parameters, or one that it does not take.
        InvalidArgumentType: it can be called with none.

    Example:
        >>> def train(config, data):
        ...     return {"loss": len(data) * config["x"]}
        >>> with_parameters(train, data=[1, 2])({"x": 3})
        {'loss': 6}
    """
    if not parameters:
        raise InvalidArgument("with_parameters needs at least one parameter: with_parameters(train, data=data)")
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        unbound: Any = trainable.setup
        _check_names(unbound, parameters)
        held = Held(parameters)

        def setup(self: Any, config: dict[str, Any]) -> None:
            unbound(self, config, **held.for_trial())

        body = {"setup": setup, "__module__": trainable.__module__, "tuneflow_parameters": held}
        return type(trainable.__name__, (trainable,), body)
    if not callable(trainable) or hasattr(trainable, "tuneflow_bind"):
        raise InvalidArgumentType(
            f"trainable={trainable!r} must be a function or a subclass of tuneflow.Trainable; a program gets what it "
            f"needs as arguments or from its environment"
        )
    _check_names(trainable, parameters)
    partial = _Bound(trainable, **parameters)
    partial.tuneflow_parameters = Held(parameters)
    if hasattr(trainable, "__name__"):
        functools.update_wrapper(partial, trainable)
        del partial.__wrapped__  # type: ignore[attr-defined]  # its signature lacks what is bound here
    return partial


class Held:
    """Objects for the trials of one process; sent to another one, they are unpickled there once.

    Args:
        parameters: the objects by name.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.names = tuple(parameters)
        self._here: Mapping[str, Any] | None = parameters
        self._sent: tuple[bytes, list[Any]] = (b"", [])

    @property
    def given(self) -> Mapping[str, Any]:
        """The objects themselves."""
        if self._here is None:
            text, buffers = self._sent
            self._here = pickle.loads(text, buffers=buffers)
            self._sent = (b"", [])
        return self._here

    def for_trial(self) -> dict[str, Any]:
        """The objects, in containers of this trial's own."""
        try:
            return {name: _own(value) for name, value in self.given.items()}
        except RecursionError:  # containers that hold themselves
            return copy.deepcopy(dict(self.given))

    def __getstate__(self) -> dict[str, Any]:
        import cloudpickle

        buffers: list[pickle.PickleBuffer] = []  # the memory of arrays is not copied on either side
        text = cloudpickle.dumps(dict(self.given), protocol=5, buffer_callback=buffers.append)
        return {"names": self.names, "_here": None, "_sent": (text, buffers)}


def _own(value: Any) -> Any:
    """A copy of lists, dicts, sets and tuples of them, as deep as they go; arrays read-only; all else as it is."""
    kind = type(value)
    if kind is dict:
        return {key: _own(entry) for key, entry in value.items()}
    if kind is set:
        return set(value)
    if kind is list:
        return list(value) if set(map(type, value)) <= _ATOMS else [_own(entry) for entry in value]
    if kind is tuple:
        return tuple(map(_own, value))
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        value = value.view()
        value.flags.writeable = False
    return value


class _Bound(functools.partial[Any]):
    """A function with objects of its own at each call."""

    tuneflow_parameters: Held

    def __call__(self, /, *arguments: Any, **named: Any) -> Any:
        held = self.tuneflow_parameters.for_trial()
        return self.func(*self.args, *arguments, **{**self.keywords, **held, **named})

    def __reduce__(self) -> Any:
        names = self.tuneflow_parameters.names
        others = {name: value for name, value in self.keywords.items() if name not in names}
        return _bound, (self.func, self.args, others, self.__dict__)


def _bound(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], attributes: dict[str, Any]) -> _Bound:
    """As it was sent; what is held stands in its signature only."""
    held = dict.fromkeys(attributes["tuneflow_parameters"].names)
    bound = _Bound(function, *arguments, **keywords, **held)
    bound.__dict__.update(attributes)
    return bound


def _check_names(function: Any, parameters: Mapping[str, Any]) -> None:
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return
    unknown = [name for name in parameters if name not in known]
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        raise InvalidArgument(
            f"with_parameters was given {', '.join(unknown)}, which {getattr(function, '__qualname__', function)} does "
            f"not take; its arguments are: {', '.join(known)}"
        )


def with_resources(trainable: Any, resources: Mapping[str, float]) -> Any:
    """A trainable whose trials take ``resources`` unless ``resources_per_trial`` says otherwise.

    Args:
        trainable: a function or a ``Trainable``.
        resources: ``{"cpu": 2, "gpu": 0.5}``.

    Example:
        >>> def train(config):
        ...     return {"loss": config["x"]}
        >>> with_resources(train, {"cpu": 2})({"x": 1})
        {'loss': 1}
    """
    if not isinstance(resources, Mapping):
        raise InvalidArgumentType(f"resources={resources!r} must be a dict, {{'cpu': 1, 'gpu': 0.5}} for instance")
    wanted = dict(resources)
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        request = classmethod(lambda cls, config: wanted)  # noqa: ARG005
        return type(
            trainable.__name__,
            (trainable,),
            {"default_resource_request": request, "__module__": trainable.__module__},
        )
    if not callable(trainable):
        raise InvalidArgumentType(f"trainable={trainable!r} must be a function or a subclass of tuneflow.Trainable")
    if hasattr(trainable, "tuneflow_bind"):
        return replace(trainable, tuneflow_resources=wanted)
    partial = functools.partial(trainable)
    if hasattr(trainable, "__name__"):
        functools.update_wrapper(partial, trainable)
    partial.tuneflow_resources = wanted  # type: ignore[attr-defined]
    return partial


def collecting(trainable: Any) -> Any:
    """A trainable that collects garbage when it has ended: reference cycles may hold on to large tensors."""
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        unbound: Any = trainable.cleanup

        def cleanup(self: Any) -> None:
            unbound(self)
            gc.collect()

        return type(trainable.__name__, (trainable,), {"cleanup": cleanup, "__module__": trainable.__module__})
    collected = functools.partial(_run_and_collect, trainable)
    collected.tuneflow_kind = kind_of(trainable, default="trial")  # type: ignore[attr-defined]
    with contextlib.suppress(TypeError, ValueError):  # some functions written in C do not tell
        collected.__signature__ = inspect.signature(trainable)  # type: ignore[attr-defined]
    if hasattr(trainable, "__name__"):
        collected.__name__ = trainable.__name__  # type: ignore[attr-defined]
    return collected


def _run_and_collect(trainable: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return trainable(*arguments, **named)
    finally:
        gc.collect()
