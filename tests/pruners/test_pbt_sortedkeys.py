from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.pruners import sortedkeys
from tuneflow.pruners.sortedkeys import SortedKeys

keys = st.tuples(st.floats(allow_nan=False), st.integers(0, 5))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), keys), max_size=80), st.integers(4, 9))
def test_it_behaves_as_a_sorted_list(actions: list[tuple[bool, tuple[float, int]]], load: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sortedkeys, "_LOAD", load)
        mine, model = SortedKeys(), set[tuple[float, int]]()
        for is_added, key in actions:
            if is_added and key not in model:
                mine.add(key)
                model.add(key)
            elif key in model:
                mine.remove(key)
                model.remove(key)
            else:
                with pytest.raises(KeyError):
                    mine.remove(key)
            ordered = sorted(model)
            assert list(mine) == ordered
            assert len(mine) == len(ordered)
            assert [mine[rank] for rank in range(len(ordered))] == ordered
            assert mine.rank(key) == sum(other < key for other in ordered)
            assert (key in mine) == (key in model)
        with pytest.raises(IndexError):
            mine[len(model)]


def test_churn_leaves_no_crumbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sortedkeys, "_LOAD", 20)
    source = random.Random(0)
    mine = SortedKeys()
    held = [(source.random(), number) for number in range(1000)]
    for key in held:
        mine.add(key)
    for turn in range(5000):
        mine.remove(held.pop(source.randrange(len(held))))
        held.append((source.random() - turn / 1000, 1000 + turn))
        mine.add(held[-1])
    assert list(mine) == sorted(held)
    assert len(mine._blocks) <= 1000 / (20 // 4)
    assert min(map(len, mine._blocks)) >= 20 // 4
