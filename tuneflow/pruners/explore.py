"""How PBT changes a configuration that a member takes over from a better one."""

from __future__ import annotations

import copy
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tuneflow.arguments import check_real
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners.configs import copy_config, get_entry, plain, set_entry

if TYPE_CHECKING:
    import numpy as np

    from tuneflow.space import Space

__all__ = [
    "CustomExplore",
    "Explorer",
    "MutationDomain",
    "apply_custom",
    "changed_config",
    "check_names",
    "flatten_mutations",
]

CustomExplore = Callable[[dict[str, Any], "np.random.Generator"], dict[str, Any]]


@runtime_checkable
class MutationDomain(Protocol):
    """What a domain has to know to be mutated. ``tuneflow.space.Domain`` does."""

    def sample(self, rng: np.random.Generator) -> Any:
        """A value drawn anew."""
        ...

    def clip(self, value: object) -> Any:
        """The nearest value that could have been drawn. Raises ``InvalidArgument`` where there is none."""
        ...

    def neighbours(self, value: object) -> tuple[Any, ...]:
        """The options next to ``value`` in a choice; empty for every other domain."""
        ...


class Mutation(ABC):
    """How one entry of a configuration is changed."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Any:
        """The entry drawn anew."""

    @abstractmethod
    def perturb(self, value: Any, factor: float, rng: np.random.Generator) -> Any:
        """The entry moved a little away from ``value``, by ``factor`` where it is a number."""


@dataclass(frozen=True, slots=True)
class _InDomain(Mutation):
    domain: MutationDomain

    def sample(self, rng: np.random.Generator) -> Any:
        return self.domain.sample(rng)

    def perturb(self, value: Any, factor: float, rng: np.random.Generator) -> Any:
        try:
            neighbours = self.domain.neighbours(value)
            if neighbours:
                return _pick(neighbours, rng)
            if _is_number(value):
                return self.domain.clip(value * factor)
        except InvalidArgument:  # NaN, or a value that the choice does not offer
            pass
        return self.domain.sample(rng)


@dataclass(frozen=True, slots=True)
class _AmongValues(Mutation):
    values: tuple[Any, ...]

    def sample(self, rng: np.random.Generator) -> Any:
        return _pick(self.values, rng)

    def perturb(self, value: Any, factor: float, rng: np.random.Generator) -> Any:
        here = _index(self.values, value)
        if here is None:
            return self.sample(rng)
        return _pick(self.values[max(0, here - 1) : here] + self.values[here + 1 : here + 2] or self.values, rng)


@dataclass(frozen=True, slots=True)
class _Function(Mutation):
    function: Callable[..., Any]
    takes_rng: bool
    domain: MutationDomain | None

    def sample(self, rng: np.random.Generator) -> Any:
        return self.function(rng) if self.takes_rng else self.function()

    def perturb(self, value: Any, factor: float, rng: np.random.Generator) -> Any:
        if not _is_number(value) or not math.isfinite(value):
            return self.sample(rng)
        if self.domain is None:
            return round(value * factor) if isinstance(value, int) else value * factor
        try:
            return self.domain.clip(value * factor)
        except InvalidArgument:  # a choice of numbers: between its options there is nothing
            return self.sample(rng)


class Explorer:
    """Changes the mutated entries of a configuration.

    Per entry, with ``resample_probability`` a new value is drawn; else a number is multiplied by one of
    ``factors`` and brought back to the nearest legal value of its domain (integers stay integers, quantised values
    stay on their grid), and an option of a choice or of a list of values moves to one of the two beside it. A function
    says how to draw anew; its numbers are multiplied too, within the space's own domain of that entry where there
    is one. An entry that the configuration lacks, or whose value cannot be moved, is drawn anew.

    Args:
        mutations: entries by name, nested or flat (``"optimizer/lr"``): a domain, a sequence of values, or a function
            ``() -> value`` or ``(rng) -> value``.
        resample_probability: in [0, 1].
        factors: at least one finite number above zero.
        custom_explore: ``(config, rng) -> config``, called last with a configuration of its own.

    Raises:
        InvalidArgument: a number out of its range; no mutations and no ``custom_explore``; an empty list.
        InvalidArgumentType: a mutation that is none of the above.

    Example:
        >>> import numpy
        >>> explore = Explorer({"optimizer": {"name": ["sgd", "adam", "lion"]}}, resample_probability=0.0)
        >>> explore({"optimizer": {"name": "sgd"}, "epochs": 3}, numpy.random.default_rng(0))
        {'optimizer': {'name': 'adam'}, 'epochs': 3}
    """

    def __init__(
        self,
        mutations: Mapping[str, Any],
        resample_probability: float = 0.25,
        factors: Any = (1.2, 0.8),
        custom_explore: CustomExplore | None = None,
    ) -> None:
        check_real("resample_probability", resample_probability)
        if not 0 <= resample_probability <= 1:
            raise InvalidArgument(f"resample_probability={resample_probability!r} must lie in [0, 1]")
        if not isinstance(factors, Sequence) or isinstance(factors, str):
            raise InvalidArgumentType(f"perturbation_factors={factors!r} must be a list of numbers")
        if not factors or not all(_is_number(factor) and 0 < factor < math.inf for factor in factors):
            raise InvalidArgument(f"perturbation_factors={factors!r} must be one or more finite numbers above zero")
        if custom_explore is not None and not callable(custom_explore):
            raise InvalidArgumentType(f"custom_explore={custom_explore!r} must be a function (config, rng) -> config")
        self._resample_probability = resample_probability
        self._factors = tuple(factors)
        self._custom = custom_explore
        self._space: Space | None = None
        self._mutations = {name: _mutation(name, given) for name, given in flatten_mutations(mutations).items()}
        if not self._mutations and custom_explore is None:
            raise InvalidArgument("mutations is empty: name an entry to mutate, or pass custom_explore")

    @property
    def names(self) -> list[str]:
        """The flat names of the entries that are mutated."""
        return list(self._mutations)

    def bound_to(self, space: Space) -> Explorer:
        """A copy for the configurations of ``space``.

        Functions stay within the space's own domains, and entries that the space computes from mutated ones follow.

        Raises:
            InvalidArgument: the space lacks an entry that is mutated.
        """
        known = space.flatten(space.definition)
        check_names(self.names, list(known))
        bound = copy.copy(self)
        bound._space = space
        bound._mutations = {
            name: replace(mutation, domain=space.domains.get(name)) if isinstance(mutation, _Function) else mutation
            for name, mutation in self._mutations.items()
        }
        return bound

    def __call__(self, config: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """A new configuration of plain Python values; ``config`` is left as it is.

        Raises:
            InvalidArgumentType: ``custom_explore`` returned no dict.
        """
        changes: dict[str, Any] = {}
        for name, mutation in self._mutations.items():
            found, value = get_entry(config, name)
            if not found or rng.random() < self._resample_probability:
                changed = mutation.sample(rng)
            else:
                changed = mutation.perturb(value, _pick(self._factors, rng), rng)
            changes[name] = plain(changed)
        result = changed_config(config, changes, self._space)
        return result if self._custom is None else apply_custom(self._custom, result, rng)


def changed_config(config: Mapping[str, Any], changes: Mapping[str, Any], space: Space | None) -> dict[str, Any]:
    """A copy of ``config`` with values changed by flat name, and what the space computes from them computed anew."""
    if space is not None and space.has_computed:
        return copy_config(space.replace(config, changes))
    result = copy_config(config)
    for name, value in changes.items():
        set_entry(result, name, value)
    return result


def apply_custom(custom: CustomExplore, config: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """What ``custom_explore`` makes of a configuration, in plain Python values."""
    changed = custom(config, rng)
    if not isinstance(changed, Mapping):
        raise InvalidArgumentType(
            f"custom_explore returned {type(changed).__name__}; it must return the new configuration, a dict"
        )
    return copy_config(changed)


def flatten_mutations(mutations: Mapping[str, Any]) -> dict[str, Any]:
    """Mutations by flat name: ``{"optimizer": {"lr": ...}}`` becomes ``{"optimizer/lr": ...}``."""
    if not isinstance(mutations, Mapping):
        raise InvalidArgumentType(f"mutations={mutations!r} must be a dict of entries to mutate")
    flat: dict[str, Any] = {}
    for key, value in mutations.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}/{name}": inner for name, inner in flatten_mutations(value).items()})
        else:
            flat[str(key)] = value
    return flat


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Raises ``InvalidArgument`` where a mutation names nothing of the space."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidArgument(
            f"mutations name {', '.join(map(repr, unknown))}, which the space does not hold; "
            f"it holds: {', '.join(known) or 'nothing'}. Nested entries are named by their path, joined by '/'"
        )


def _mutation(name: str, given: Any) -> Mutation:
    from tuneflow.space import Variable

    if isinstance(given, MutationDomain):
        return _InDomain(given)
    if isinstance(given, list | tuple | range):
        if not given:
            raise InvalidArgument(f"mutations[{name!r}] is an empty list; give the values to choose from")
        return _AmongValues(tuple(given))
    if callable(given) and not isinstance(given, Variable):
        return _Function(given, _takes_rng(name, given), None)
    raise InvalidArgumentType(
        f"mutations[{name!r}]={given!r} must be a domain, a list of values or a plain function that draws one"
    )


def _takes_rng(name: str, function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins do not tell; those that draw a number take nothing
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    keyword = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(required) > 1 or keyword:
        raise InvalidArgumentType(f"mutations[{name!r}] must be a function () -> value or (rng) -> value")
    return bool(required) or any(p.name == "rng" for p in positional[:1])


def _pick(values: Sequence[Any], rng: np.random.Generator) -> Any:
    return values[int(rng.random() * len(values))]


def _index(values: Sequence[Any], value: Any) -> int | None:
    """Where ``value`` stands, told apart from an equal one of another type (True and 1) where both are there."""
    equal = [index for index, other in enumerate(values) if other is value or _equal(other, value)]
    same = [index for index in equal if type(values[index]) is type(value)]
    return next(iter(same or equal), None)


def _equal(left: Any, right: Any) -> bool:
    try:
        return bool(left == right)
    except (TypeError, ValueError):  # arrays compare element by element
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
