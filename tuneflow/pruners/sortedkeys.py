"""Keys in sorted order that come and go: rank of a key, key of a rank."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

__all__ = ["SortedKeys"]

_LOAD = 4000
"""Keys per block when a full block is split: moving half a block in memory costs less than one comparison of tuples."""


class SortedKeys:
    """A sorted collection of distinct ``(value, number)`` keys, kept in blocks of some thousands.

    Adding, removing, ``rank`` and indexing bisect within one block and step over the others: a few microseconds for
    100,000 keys. Values must not be NaN, which has no place in an order.

    Example:
        >>> keys = SortedKeys()
        >>> for key in [(0.5, 0), (0.1, 1), (0.5, 2)]:
        ...     keys.add(key)
        >>> keys[0], keys.rank((0.5, 2)), len(keys)
        ((0.1, 1), 2, 3)
    """

    __slots__ = ("_blocks", "_highest", "_length")

    def __init__(self) -> None:
        self._blocks: list[list[tuple[float, int]]] = []
        self._highest: list[tuple[float, int]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[float, int]]:
        for block in self._blocks:
            yield from block

    def __contains__(self, key: tuple[float, int]) -> bool:
        where = bisect_left(self._highest, key)
        if where == len(self._blocks):
            return False
        block = self._blocks[where]
        return block[bisect_left(block, key)] == key

    def __getitem__(self, rank: int) -> tuple[float, int]:
        if not 0 <= rank < self._length:
            raise IndexError(f"rank {rank} of {self._length} keys")
        for block in self._blocks:
            if rank < len(block):
                return block[rank]
            rank -= len(block)
        raise AssertionError("the blocks hold fewer keys than were counted")

    def rank(self, key: tuple[float, int]) -> int:
        """How many keys are smaller than ``key``, which need not be among them."""
        where = bisect_left(self._highest, key)
        before = sum(map(len, islice(self._blocks, where)))
        return before if where == len(self._blocks) else before + bisect_left(self._blocks[where], key)

    def add(self, key: tuple[float, int]) -> None:
        """Takes ``key`` in; it must not be there yet."""
        self._length += 1
        where = bisect_left(self._highest, key)
        if where < len(self._blocks):
            block = self._blocks[where]
            block.insert(bisect_left(block, key), key)
        elif self._blocks:  # beyond the highest of all
            where -= 1
            block = self._blocks[where]
            block.append(key)
            self._highest[where] = key
        else:
            self._blocks.append([key])
            self._highest.append(key)
            return
        if len(block) > 2 * _LOAD:
            self._blocks[where : where + 1] = [block[:_LOAD], block[_LOAD:]]
            self._highest[where : where + 1] = [block[_LOAD - 1], block[-1]]

    def remove(self, key: tuple[float, int]) -> None:
        """Takes ``key`` out. Raises ``KeyError`` where it is not there."""
        where = bisect_left(self._highest, key)
        if where == len(self._blocks):
            raise KeyError(key)
        block = self._blocks[where]
        here = bisect_left(block, key)
        if block[here] != key:
            raise KeyError(key)
        del block[here]
        self._length -= 1
        if len(block) < _LOAD // 4:
            self._merge(where)
        elif here == len(block):
            self._highest[where] = block[-1]

    def _merge(self, where: int) -> None:
        """Joins a block that has become small to its neighbour, so that long churn leaves no crumbs."""
        if len(self._blocks) == 1:
            self._highest[0:] = self._blocks[0][-1:]
            self._blocks[0:] = [self._blocks[0]] if self._blocks[0] else []
            return
        left = where - 1 if where else 0
        joined = self._blocks[left] + self._blocks[left + 1]
        self._blocks[left : left + 2] = [joined]
        self._highest[left : left + 2] = [joined[-1]]
