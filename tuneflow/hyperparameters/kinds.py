"""From the description of a hyperparameter back to the hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneflow.errors import InvalidArgument
from tuneflow.hyperparameters.numeric import Float, Int
from tuneflow.hyperparameters.parameters import Boolean, Choice, Condition, Fixed, Parameter

__all__ = ["parameter_from"]

_KINDS: dict[str, type[Parameter]] = {kind.__name__: kind for kind in (Choice, Boolean, Fixed, Int, Float)}


def parameter_from(kind: str, config: Mapping[str, Any]) -> Parameter:
    """The hyperparameter that ``get_config`` described.

    Raises:
        InvalidArgument: there is no such kind.
    """
    if kind not in _KINDS:
        raise InvalidArgument(f"there is no hyperparameter of kind {kind!r}; known are: {', '.join(_KINDS)}")
    given = dict(config)
    conditions = tuple(
        Condition(entry["config"]["name"], tuple(entry["config"]["values"])) for entry in given.pop("conditions", ())
    )
    if "default" in given:
        given["given_default"] = given.pop("default")
    if "values" in given:
        given["values"] = tuple(given["values"])
    return _KINDS[kind](conditions=conditions, **given)
