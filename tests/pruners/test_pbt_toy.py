"""The toy problem of the PBT paper, in few runs. The whole table: ``benchmarks/papers/pbt_toy.py``."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.papers import pbt_toy
from tuneflow.pruners import NoPruner


def test_grid_search_ends_at_the_papers_value() -> None:
    assert pbt_toy.finals(NoPruner, 0.02, 1) == [pytest.approx(0.39, abs=1e-3)]


def test_pbt_comes_close_to_the_optimum() -> None:
    ends = pbt_toy.finals(lambda: pbt_toy.pbt(5), 0.02, 11)
    assert statistics.median(ends) > 0.9 * pbt_toy.OPTIMUM
    assert min(ends) > 0.6


def test_factors_alone_cannot_leave_zero() -> None:
    assert max(pbt_toy.finals(lambda: pbt_toy.multiplied(5), 0.02, 5)) == pytest.approx(0.39, abs=1e-3)


def test_the_population_only_gets_better_but_for_the_noise_of_a_copy() -> None:
    best = pbt_toy.train(pbt_toy.pbt(5), 0.02, 3)
    assert len(best) == pbt_toy.N_STEPS
    assert best[49] < best[99] < best[199]
