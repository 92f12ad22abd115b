"""A choice among any Python values, and the checks of lists of values that it shares with a grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.space.copies import fresh
from tuneflow.space.domain import Domain, holds_variable, set_fields

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

__all__ = ["Choice", "find", "labels", "listed"]

_LONGEST_LABEL = 60


def listed(function: str, values: object) -> tuple[Any, ...]:
    """The values of a choice or a grid as a tuple, NumPy scalars turned into plain Python ones.

    Raises:
        InvalidArgument: there are none; or they are a set, whose order changes between processes; or a string or a
            dict, by mistake.
        InvalidArgumentType: they are no collection at all.
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        kind = type(values).__name__
        advice = "sorted(...) gives a set an order" if isinstance(values, set | frozenset) else "put it into a list"
        raise InvalidArgument(
            f"{function}(values={values!r}): values must be a list or a tuple, not a {kind}; {advice}"
        )
    if not isinstance(values, Iterable):
        raise InvalidArgumentType(f"{function}(values={values!r}): values must be a list or a tuple")
    options = tuple(_plain(value) for value in values)
    if not options:
        raise InvalidArgument(f"{function}(values={values!r}): values must hold at least one value")
    if any(map(holds_variable, options)):
        raise InvalidArgument(
            f"{function}(values={values!r}): a value must not be or hold another domain; "
            "give each its own entry and pick one of them with sample_from"
        )
    return options


def _plain(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; anything else as it is."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value


def _is_plain(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (bool, int, str)


def _equal(left: object, right: object) -> bool:
    """Equality that survives NaN, arrays and values that refuse to be compared; True is not 1."""
    if left is right:
        return True
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        # JSON turns tuples into lists on the way through a file.
        return len(left) == len(right) and all(map(_equal, left, right))
    try:
        return bool(left == right)
    except (TypeError, ValueError, RuntimeError):
        return False


def find(options: tuple[Any, ...], value: object) -> int | None:
    """Index of ``value`` among the options: of the same type where there is one, else of an equal one (1.0 for 1)."""
    value = _plain(value)
    loose = [index for index, option in enumerate(options) if _equal(option, value)]
    for index in loose:
        if type(options[index]) is type(value):
            return index
    return loose[0] if loose else None


def _is_literal(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_literal, value))
    if isinstance(value, dict):
        return all(map(_is_literal, value)) and all(map(_is_literal, value.values()))
    return isinstance(value, float) or _is_plain(value)


def _label(value: object) -> str:
    if isinstance(value, str):
        text = str(value)
    elif isinstance(value, Enum):
        text = f"{type(value).__name__}.{value.name}"
    elif _is_literal(value):
        text = repr(value)
    else:
        # Never the repr of an object: it holds an address, and another process could not resume the study.
        text = str(getattr(value, "__qualname__", type(value).__qualname__))
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 3]}..."


def labels(options: tuple[Any, ...]) -> tuple[str, ...]:
    """One short text per option, the same in every process, all different."""
    texts = tuple(map(_label, options))
    if len(set(texts)) == len(texts):
        return texts
    return tuple(f"{index}: {text}" for index, text in enumerate(texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Domain):
    """One of some values, each with the same probability; a value that stands there twice counts twice.

    The param is the value itself where all of them are None, bool, int, finite float or str and no two are equal to
    Python (True and 1 are). Otherwise it is a label, and a configuration holds a fresh copy of the value.

    Attributes:
        values: any Python values, at least one; types are kept, NumPy scalars become Python ones.

    Example:
        >>> Choice(values=([64, 64], [128])).to_param([128])
        '[128]'
    """

    values: tuple[Any, ...]
    _labels: tuple[str, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = listed("choice", self.values)
        is_exact = all(map(_is_plain, values)) and len(set(values)) == len(values)
        set_fields(self, values=values, _labels=None if is_exact else labels(values))

    @property
    def is_exact(self) -> bool:
        return self._labels is None

    def _draw(self, rng: np.random.Generator) -> Any:
        return fresh(self.values[int(rng.integers(len(self.values)))])

    def broken_rule(self, value: object) -> str | None:
        return None if find(self.values, value) is not None else "must be one of its values"

    def _index(self, value: object) -> int:
        index = find(self.values, value)
        if index is None:
            raise InvalidArgument(f"{value!r} is not in {self!r}: it must be one of its values")
        return index

    def _cast(self, value: Any) -> Any:
        return fresh(self.values[self._index(value)])

    def clip(self, value: object) -> Any:
        return self.accept(value)

    def neighbours(self, value: object) -> tuple[Any, ...]:
        index = self._index(value)
        return tuple(fresh(self.values[i]) for i in (index - 1, index + 1) if 0 <= i < len(self.values))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values if self._labels is None else self._labels)

    def to_natural(self, param: Any, *, given: bool = False) -> Any:
        if self._labels is None:
            return param
        try:
            return fresh(self.values[self._labels.index(param)])
        except ValueError:
            known = ", ".join(self._labels)
            raise InvalidArgument(
                f"{param!r} is no parameter of a choice among: {known}; the study holds it for other values"
            ) from None

    def to_param(self, value: object) -> Any:
        index = self._index(value)
        return self.values[index] if self._labels is None else self._labels[index]
