"""Saving and loading what ``HyperModel.build`` returned: a saver per kind of model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tuneflow import registry
from tuneflow.errors import InvalidArgumentType
from tuneflow.objects import read_pickle, write_pickle

__all__ = ["PickleSaver", "Saver", "saver_for"]

_BY_CLASS = {("keras", "Model"): "keras", ("torch", "Module"): "torch"}


class Saver(Protocol):
    """How a kind of model is saved.

    Two methods are optional: ``release()`` is called when a trial is done with its model, ``load_changed`` instead of
    ``load`` for a model with other hyperparameters than the saved one.
    """

    def save(self, model: Any, folder: Path) -> None:
        """Writes the model into an empty folder."""
        ...

    def load(self, model: Any, folder: Path) -> Any:
        """The model that was saved: ``model``, freshly built alike, filled with what was saved; or another object."""
        ...


class PickleSaver:
    """Saves anything that can be pickled.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> PickleSaver().save({"weights": [1, 2]}, folder)
        >>> PickleSaver().load({}, folder)
        {'weights': [1, 2]}
    """

    file = "model.pkl"

    def save(self, model: Any, folder: Path) -> None:
        """Pickles the model.

        Raises:
            UsageError: it cannot be pickled.
        """
        instead = (
            "pass saver=(save, load), two functions save(model, folder) and load(model, folder), or keep_models=0 to "
            "save none"
        )
        write_pickle(folder / self.file, model, what="model", instead=instead)

    def load(self, model: Any, folder: Path) -> Any:
        """What was pickled; where others may have written it, a ``TuneflowWarning`` says so."""
        return read_pickle(folder / self.file)


class _Pair:
    """Two functions of the user's."""

    def __init__(self, save: Callable[[Any, str], Any], load: Callable[[Any, str], Any]) -> None:
        self._save, self._load = save, load

    def save(self, model: Any, folder: Path) -> None:
        self._save(model, str(folder))

    def load(self, model: Any, folder: Path) -> Any:
        """What the user's function returned; the model itself where that is None."""
        loaded = self._load(model, str(folder))
        return model if loaded is None else loaded


def saver_for(model: Any, given: Any = None) -> Saver:
    """How to save a model.

    Args:
        model: what ``build`` returned. Keras models and torch modules are known by their classes' names, so that
            neither library is imported for anything else.
        given: a pair ``(save, load)`` of functions of ``(model, folder)``, an object with both as methods, or None to
            choose by the model.

    Raises:
        InvalidArgumentType: ``given`` is none of these.
    """
    if given is not None:
        if isinstance(given, (tuple, list)) and len(given) == 2 and all(map(callable, given)):
            return _Pair(*given)
        if callable(getattr(given, "save", None)) and callable(getattr(given, "load", None)):
            return given  # type: ignore[no-any-return]
        raise InvalidArgumentType(
            f"saver={given!r} must be a pair of functions save(model, folder) and load(model, folder), or an object "
            f"with both as methods"
        )
    names = {(cls.__module__.split(".")[0], cls.__name__) for cls in type(model).__mro__}
    for known, name in _BY_CLASS.items():  # Keras first: on its torch backend its models are torch modules too
        if known in names:
            made: Saver = registry.resolve("saver", name)()
            return made
    return PickleSaver()
