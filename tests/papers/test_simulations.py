"""The published settings in few runs. The whole tables: ``benchmarks/papers/``."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from optuna.trial import TrialState

from benchmarks.papers import asha_mispromotion, asha_stragglers, asha_timeline, counting_ones


def test_the_first_fully_trained_trial_comes_when_the_paper_says():
    for seed in range(3):
        assert asha_timeline.first_full(resumes=False, seed=seed) == Fraction(13, 9)
        assert asha_timeline.first_full(resumes=True, seed=seed) == 1


@pytest.mark.parametrize(("sd", "drop"), [(0.56, 0.0), (1.33, 0.01)])
def test_asha_is_ahead_of_synchronous_halving(sd, drop):
    assert asha_stragglers.is_ahead(asha_stragglers.cell(sd, drop, repeats=1))


def test_synchronous_halving_halves_whole_brackets():
    halving = asha_stragglers.SynchronousHalving()
    for trial in range(300):
        halving.on_start(trial, {})
    for trial in range(256):
        assert halving.next_resume() is None
        halving.on_report(trial, 1, float(trial % 256), False)
    assert [halving.next_resume() for _ in range(65)] == [*range(64), None]
    assert halving.take_dropped() == list(range(64, 256))


def test_a_lost_trial_holds_no_rung_up_and_counts_as_its_worst():
    halving = asha_stragglers.SynchronousHalving()
    for trial in range(257):
        halving.on_start(trial, {})
    for trial in range(200):
        halving.on_report(trial, 1, float(trial), False)
    for trial in range(200, 256):
        assert halving.next_resume() is None
        halving.on_end(trial, TrialState.FAIL)
    assert [halving.next_resume() for _ in range(65)] == [*range(64), None]
    assert halving.take_dropped() == list(range(64, 200))
    for trial in range(64):
        halving.on_end(trial, TrialState.FAIL)
    assert halving.next_resume() is None


def test_where_dropped_trials_are_lost_fewer_are_trained_to_the_end():
    again, lost = (asha_stragglers.run("synchronous", 1.33, 0.005, 0, is_lost=is_lost) for is_lost in (False, True))
    assert lost.n_full < again.n_full
    assert asha_stragglers.leads({"ASHA": (3.0, 200.0), "synchronous": (2.0, 100.0)}) == (True, False)


def test_mispromotions_grow_like_the_square_root():
    sizes = (200, 800, 3200)
    means = [statistics.fmean(asha_mispromotion.mispromoted(n, seed) for seed in range(2)) for n in sizes]
    assert 0.3 < asha_mispromotion.slope(sizes, means) < 0.7
    assert means[-1] / sizes[-1] < 0.02
    assert asha_mispromotion.slope((1, 100), (3.0, 30.0)) == pytest.approx(0.5)


def test_counting_ones_counts_ones():
    ones = {**{f"c{i}": 1 for i in range(8)}, **{f"x{i}": 1.0 for i in range(8)}}
    halves = {**{f"c{i}": 0 for i in range(8)}, **{f"x{i}": 0.5 for i in range(8)}}
    rng = np.random.default_rng(0)
    assert counting_ones.expected(ones) == counting_ones.draw(ones, 1, rng) == -1.0
    drawn = [counting_ones.draw(halves, 9, rng) for _ in range(200)]
    spread = math.sqrt(8 * 0.25 / 81) / 16
    assert abs(statistics.fmean(drawn) + 0.25) < 4 * spread / math.sqrt(200)
    assert spread / 2 < statistics.stdev(drawn) < spread * 2


def test_a_model_helps_hyperband():
    seeds = range(2)
    random = [counting_ones.regret("random", seed, 30) for seed in seeds]
    model = [counting_ones.regret("TPE", seed, 30) for seed in seeds]
    assert statistics.fmean(model) < statistics.fmean(random)
    assert counting_ones.p_value([0.1] * 8 + [0.3], [0.2] * 8 + [0.4]) < 0.01 < counting_ones.p_value([2, 1], [1, 2])
