"""The toy problem of the PBT paper, in few runs. The whole table: ``benchmarks/papers/pbt_toy.py``."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.papers import pbt_toy
from tuneflow.pruners import NoPruner


def test_grid_search_ends_at_the_papers_value() -> None:
    assert pbt_toy.finals(NoPruner, 0.02, 1) == [pytest.approx(0.39, abs=1e-3)]


@pytest.mark.parametrize("interval", [5, 10])
@pytest.mark.parametrize("learning_rate", [0.01, 0.02])
def test_pbt_comes_close_to_the_optimum(learning_rate: float, interval: int) -> None:
    copied = pbt_toy.finals(lambda: pbt_toy.pbt(interval), learning_rate, 7)
    own = pbt_toy.finals(lambda: pbt_toy.pbt(interval, pbt_toy.noise), learning_rate, 7, copies_h=False)
    for ends in (copied, own):
        assert statistics.median(ends) > 0.9 * pbt_toy.OPTIMUM
        assert 0.6 < min(ends) <= max(ends) < pbt_toy.reachable(learning_rate)


def test_what_can_be_reached_follows_from_the_steps() -> None:
    theta = 0.9 * (1 - 2 * 0.01) ** 200
    assert pbt_toy.reachable(0.01) == pytest.approx(1.2 - 2 * theta**2)


def test_a_member_that_keeps_its_h_only_adds_the_noise() -> None:
    own, donor = pbt_toy.Member((0.5, 0.95), copies_h=False), pbt_toy.Member((1.0, 0.0), copies_h=False)
    donor.saved = (0.1, 0.2)
    own.exploit(pbt_toy.Exploit(1, {"h1": -0.1, "h2": 0.1}), [own, donor])
    assert own.theta == (0.1, 0.2)
    assert own.h == (pytest.approx(0.4), 1.0)
    assert own.config == {"h1": 0.0, "h2": 0.0}


def test_factors_alone_cannot_leave_zero() -> None:
    assert max(pbt_toy.finals(lambda: pbt_toy.multiplied(5), 0.02, 5)) == pytest.approx(0.39, abs=1e-3)


def test_the_population_only_gets_better_but_for_the_noise_of_a_copy() -> None:
    best = pbt_toy.train(pbt_toy.pbt(5), 0.02, 3)
    assert len(best) == pbt_toy.N_STEPS
    assert best[49] < best[99] < best[199]
