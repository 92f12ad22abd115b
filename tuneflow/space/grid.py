"""Values that are tried one by one instead of being drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneflow.errors import InvalidArgument
from tuneflow.space.categorical import find, listed
from tuneflow.space.domain import Variable, set_fields

__all__ = ["Grid", "cells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid(Variable):
    """An entry that takes each of its values once per round.

    Attributes:
        values: any Python values, at least one; NumPy scalars become Python ones.

    Example:
        >>> Grid(values=[32, 64]).accept(64)
        64
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        set_fields(self, values=listed("grid_search", self.values))

    def accept(self, value: object) -> Any:
        """The grid's own value that equals ``value``; raises ``InvalidArgument`` where there is none."""
        index = find(self.values, value)
        if index is None:
            raise InvalidArgument(f"{value!r} is not in {self!r}: it must be one of its values")
        return self.values[index]


def cells(grids: Sequence[tuple[str, Sequence[Any]]]) -> Iterator[Mapping[str, Any]]:
    """The cross product of the grids as flat dicts, the first grid varying fastest; one empty cell without grids."""
    if not grids:
        yield {}
        return
    (name, values), rest = grids[0], grids[1:]
    for cell in cells(rest):
        for value in values:
            yield {name: value, **cell}
