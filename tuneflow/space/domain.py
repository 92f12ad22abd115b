"""What a domain is: the set of values of one hyperparameter and how they are drawn.

Two kinds of value are told apart throughout:

* the *natural* value, which the user writes and a trial's configuration holds: 32, 0.01, "adam", [64, 64];
* the *param*, which Optuna samples, models and stores. It is the natural value itself where ``is_exact``.

``natural -> param -> natural`` is the identity, except for values that no param can carry: an excluded upper bound,
and the far tails and last digits of a normal distribution. ``Space.kept`` finds those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tuneflow.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

__all__ = ["Domain", "Variable", "holds_variable", "set_fields"]


def set_fields(domain: object, **values: Any) -> None:
    """Sets fields of a frozen dataclass while it is being built."""
    for name, value in values.items():
        object.__setattr__(domain, name, value)


class Variable:
    """An entry of a space that is not a constant: a domain, a grid, or a computed entry."""

    __slots__ = ()


def holds_variable(value: object) -> bool:
    """Whether a variable stands anywhere in nested dicts, lists, tuples and sets."""
    if isinstance(value, Variable):
        return True
    if isinstance(value, dict):
        return any(map(holds_variable, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(holds_variable, value))


class Domain(Variable, ABC):
    """The values of one hyperparameter. Frozen, validated when built, without state."""

    __slots__ = ()

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether the Optuna parameter is the natural value, so that records need nothing beside it."""

    def sample(self, rng: np.random.Generator | None = None) -> Any:
        """Draws a natural value, of plain Python type, from exactly the distribution that the domain names.

        Args:
            rng: where randomness comes from; a new generator, which no seed fixes, without it.
        """
        if rng is None:
            from numpy.random import default_rng

            rng = default_rng()
        return self._draw(rng)

    @abstractmethod
    def _draw(self, rng: np.random.Generator) -> Any:
        """``sample``."""

    @abstractmethod
    def broken_rule(self, value: object) -> str | None:
        """The rule that a value given by a user breaks, in words; None where the value is legal.

        An excluded upper bound is legal here: it is never drawn, but a user may give it.
        """

    def contains(self, value: object) -> bool:
        """Whether a user may give ``value``. An excluded upper bound may be given; NaN never."""
        return self.broken_rule(value) is None

    def accept(self, value: object) -> Any:
        """A value that a user gives, in the domain's own type (64.0 becomes 64 in ``randint``).

        Raises:
            InvalidArgument: the domain does not contain it.
        """
        rule = self.broken_rule(value)
        if rule is not None:
            raise InvalidArgument(f"{value!r} is not in {self!r}: it {rule}")
        return self._cast(value)

    @abstractmethod
    def _cast(self, value: Any) -> Any:
        """A legal value in the domain's own type."""

    @abstractmethod
    def clip(self, value: object) -> Any:
        """The nearest value that could have been drawn: within the bounds, on the grid, of the right type.

        Raises:
            InvalidArgument: there is no nearest one (NaN, not a number, a value that a choice does not offer).
        """

    def neighbours(self, value: object) -> tuple[Any, ...]:
        """The options next to ``value`` in a choice; empty for every other domain."""
        return ()

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """The Optuna distribution of the param."""

    @abstractmethod
    def to_natural(self, param: Any, *, given: bool = False) -> Any:
        """The natural value of a param.

        Args:
            param: what Optuna drew or stored.
            given: False for a drawn one, which is brought into the range (a sampler may clip to an excluded upper
                bound); True for one that a user gave or an older space drew, which is taken as it stands.
        """

    @abstractmethod
    def to_param(self, value: object) -> Any:
        """The param, within ``distribution()``, that stands for a natural value: the nearest where none is equal.

        Raises:
            InvalidArgument: the domain does not contain the value.
        """
