"""Keys in sorted order that come and go: rank of a key, key of a rank."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

__all__ = ["SortedKeys"]

_LOAD = 2000
"""Keys per block when a full block is split: moving half a block in memory costs less than looking for the place."""


class _Block:
    """Neighbouring keys, values and numbers in arrays of their own.

    A search in an array reads a few lines of memory that lie together. In a list of tuples every comparison would read
    two objects from anywhere, which with 100,000 keys no cache holds.
    """

    __slots__ = ("numbers", "values")

    def __init__(self, values: array[float], numbers: array[int]) -> None:
        self.values, self.numbers = values, numbers

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, here: int) -> tuple[float, int]:
        return self.values[here], self.numbers[here]

    def find(self, key: tuple[float, int]) -> int:
        """How many keys of the block are smaller than ``key``."""
        value, number = key
        values = self.values
        first = bisect_left(values, value)
        if first == len(values) or values[first] != value:
            return first
        return bisect_left(self.numbers, number, first, bisect_right(values, value, first))

    def has_at(self, here: int, key: tuple[float, int]) -> bool:
        """Whether ``key`` is the one at ``here``."""
        return here < len(self.values) and self.numbers[here] == key[1] and self.values[here] == key[0]

    def insert(self, here: int, key: tuple[float, int]) -> None:
        """Takes ``key`` in before the one at ``here``."""
        self.values.insert(here, key[0])
        self.numbers.insert(here, key[1])

    def delete(self, here: int) -> None:
        """Takes the key at ``here`` out."""
        del self.values[here]
        del self.numbers[here]

    def split(self, here: int) -> tuple[_Block, _Block]:
        """The keys before ``here``, and the others."""
        return (
            _Block(self.values[:here], self.numbers[:here]),
            _Block(self.values[here:], self.numbers[here:]),
        )

    def joined(self, other: _Block) -> _Block:
        """Its keys and those of the block behind it."""
        return _Block(self.values + other.values, self.numbers + other.numbers)


class SortedKeys:
    """A sorted collection of distinct ``(value, number)`` keys, kept in blocks of some thousands.

    Adding, removing, ``rank`` and indexing bisect within one block and step over the others: a few microseconds for
    100,000 keys. Values are floats, but not NaN, which has no place in an order; numbers fit into 64 bits.

    Example:
        >>> keys = SortedKeys()
        >>> for key in [(0.5, 0), (0.1, 1), (0.5, 2)]:
        ...     keys.add(key)
        >>> keys[0], keys.rank((0.5, 2)), len(keys)
        ((0.1, 1), 2, 3)
    """

    __slots__ = ("_blocks", "_highest", "_length")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._highest: list[tuple[float, int]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[float, int]]:
        for block in self._blocks:
            yield from zip(block.values, block.numbers, strict=True)

    def __contains__(self, key: tuple[float, int]) -> bool:
        where = bisect_left(self._highest, key)
        if where == len(self._blocks):
            return False
        block = self._blocks[where]
        return block.has_at(block.find(key), key)

    def __getitem__(self, rank: int) -> tuple[float, int]:
        if not 0 <= rank < self._length:
            raise IndexError(f"rank {rank} of {self._length} keys")
        for block in self._blocks:
            if rank < len(block.values):
                return block[rank]
            rank -= len(block.values)
        raise AssertionError("the blocks hold fewer keys than were counted")

    def rank(self, key: tuple[float, int]) -> int:
        """How many keys are smaller than ``key``, which need not be among them."""
        where = bisect_left(self._highest, key)
        before = sum([len(block.values) for block in self._blocks[:where]])
        return before if where == len(self._blocks) else before + self._blocks[where].find(key)

    def add(self, key: tuple[float, int]) -> None:
        """Takes ``key`` in; it must not be there yet."""
        where = bisect_left(self._highest, key)
        if where < len(self._blocks):
            block = self._blocks[where]
            block.insert(block.find(key), key)
        elif self._blocks:  # beyond the highest of all
            where -= 1
            block = self._blocks[where]
            block.insert(len(block), key)
            self._highest[where] = key
        else:
            block = _Block(array("d", key[:1]), array("q", key[1:]))
            self._blocks.append(block)
            self._highest.append(key)
        self._length += 1
        if len(block) > 2 * _LOAD:
            self._blocks[where : where + 1] = block.split(_LOAD)
            self._highest[where : where + 1] = [block[_LOAD - 1], block[-1]]

    def remove(self, key: tuple[float, int]) -> None:
        """Takes ``key`` out. Raises ``KeyError`` where it is not there."""
        where = bisect_left(self._highest, key)
        if where == len(self._blocks):
            raise KeyError(key)
        block = self._blocks[where]
        here = block.find(key)
        if not block.has_at(here, key):
            raise KeyError(key)
        block.delete(here)
        self._length -= 1
        if len(block) < _LOAD // 4:
            self._merge(where)
        elif here == len(block):
            self._highest[where] = block[-1]

    def _merge(self, where: int) -> None:
        """Joins a block that has become small to its neighbour, so that long churn leaves no crumbs."""
        if len(self._blocks) == 1:
            if len(self._blocks[0]):
                self._highest[0] = self._blocks[0][-1]
            else:
                self._blocks.clear()
                self._highest.clear()
            return
        left = where - 1 if where else 0
        joined = self._blocks[left].joined(self._blocks[left + 1])
        self._blocks[left : left + 2] = [joined]
        self._highest[left : left + 2] = [joined[-1]]
