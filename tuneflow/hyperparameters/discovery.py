"""Finding the space of a function that declares it: it is called until every conditional scope has held once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tuneflow.hyperparameters.declared import HyperParameters
from tuneflow.hyperparameters.parameters import Condition

__all__ = ["discover"]


def discover(build: Callable[[HyperParameters], Any], start: HyperParameters | None = None) -> HyperParameters:
    """The space that ``build`` declares, conditional parts included.

    ``build`` is called with the defaults, then once for each conditional scope that has not held yet, with values under
    which it should.

    Args:
        build: declares hyperparameters on what it is given.
        start: hyperparameters known before.

    Example:
        >>> def build(hp):
        ...     if hp.Boolean("deep"):
        ...         with hp.conditional_scope("deep", [True]):
        ...             hp.Int("layers", 2, 4)
        >>> [parameter.name for parameter in discover(build).space]
        ['deep']

        A scope is found where its ``with`` is reached either way:

        >>> def build(hp):
        ...     hp.Boolean("deep")
        ...     with hp.conditional_scope("deep", [True]):
        ...         hp.Int("layers", 2, 4)
        >>> [parameter.name for parameter in discover(build).space]
        ['deep', 'layers']
    """
    space = HyperParameters() if start is None else start.fresh()
    held: set[tuple[Condition, ...]] = set()
    waiting: dict[tuple[Condition, ...], None] = {}
    tried: set[tuple[Condition, ...]] = set()
    hp = space.fresh()
    while True:
        build(hp)
        space.merge(hp)
        held.update(hp.active_scopes)
        waiting.update(dict.fromkeys(hp.inactive_scopes))
        left = [scope for scope in waiting if scope not in held and scope not in tried]
        if not left:
            return space
        tried.add(left[0])
        hp = space.fresh(_values_for(space, left[0]))


def _values_for(space: HyperParameters, conditions: tuple[Condition, ...]) -> dict[str, Any]:
    """Values under which the conditions hold, those of their parents' own conditions included."""
    values: dict[str, Any] = {}
    for condition in conditions:
        parents = [parameter for parameter in space.space if parameter.name == condition.name]
        for parent in parents:
            fitting = [value for value in condition.values if parent.contains(value)]
            if fitting:
                for name, value in _values_for(space, parent.conditions).items():
                    values.setdefault(name, value)
                values.setdefault(condition.name, fitting[0])
                break
    return values
