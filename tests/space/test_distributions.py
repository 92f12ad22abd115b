"""Every domain draws exactly the distribution that it names, by itself and through Optuna's random sampler."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats

import tuneflow.space as ts
from tuneflow.space import Domain

N = 4000
FALSE_ALARM = 1e-6


def log_shares(values: list[float], q: float) -> dict[Any, float]:
    weights = [math.log((value + q / 2) / (value - q / 2)) for value in values]
    return {value: weight / sum(weights) for value, weight in zip(values, weights, strict=True)}


def equal_shares(values: list[Any]) -> dict[Any, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


def normal_shares(mean: float, sd: float, q: float) -> dict[Any, float]:
    normal = stats.norm(mean, sd)
    counts = range(round((mean - 6 * sd) / q), round((mean + 6 * sd) / q) + 1)
    return {round(k * q, 6): float(normal.cdf((k + 0.5) * q) - normal.cdf((k - 0.5) * q)) for k in counts}


DISCRETE: dict[str, tuple[Domain, dict[Any, float]]] = {
    "quniform": (ts.quniform(3.2, 5.4, 0.2), equal_shares([round(3.2 + 0.2 * k, 1) for k in range(12)])),
    "quniform negative": (ts.quniform(-1, 1, 0.5), equal_shares([-1.0, -0.5, 0.0, 0.5, 1.0])),
    "quniform thirds": (ts.quniform(0, 1, 1 / 3), equal_shares([0.0, 1 / 3, 2 / 3, 1.0])),
    "qloguniform": (ts.qloguniform(0.1, 1, 0.1), log_shares([round(0.1 * k, 1) for k in range(1, 11)], 0.1)),
    "qrandn": (ts.qrandn(10, 2, 0.5), normal_shares(10, 2, 0.5)),
    "qrandn off the grid": (ts.qrandn(0.3, 0.1, 0.25), normal_shares(0.3, 0.1, 0.25)),
    "randint": (ts.randint(-9, 15), equal_shares(list(range(-9, 15)))),
    "randint of one": (ts.randint(3, 4), {3: 1.0}),
    "qrandint": (ts.qrandint(-21, 12, 3), equal_shares(list(range(-21, 13, 3)))),
    "qrandint inside": (ts.qrandint(1, 14, 5), equal_shares([5, 10])),
    "qrandint of one": (ts.qrandint(4, 8, 5), {5: 1.0}),
    "lograndint": (ts.lograndint(1, 10), log_shares(list(range(1, 10)), 1)),
    "qlograndint": (ts.qlograndint(1, 10, 2), log_shares([2, 4, 6, 8, 10], 2)),
    "qlograndint inside": (ts.qlograndint(7, 29, 5), log_shares([10, 15, 20, 25], 5)),
    "choice": (ts.choice(["a", "b", "c"]), equal_shares(["a", "b", "c"])),
    "choice weighted": (ts.choice(["a", "b", "b"]), equal_shares(["a", "b", "b"])),
    "choice of tuples": (ts.choice([(1,), (1, 2)]), equal_shares([(1,), (1, 2)])),
}
CONTINUOUS: dict[str, tuple[Domain, Callable[[Any], Any]]] = {
    "uniform": (ts.uniform(-5, -1), stats.uniform(-5, 4).cdf),
    "loguniform": (ts.loguniform(1e-4, 1e-1), stats.loguniform(1e-4, 1e-1).cdf),
    "loguniform base 2": (ts.loguniform(3, 4, base=2), stats.loguniform(3, 4).cdf),
    "randn": (ts.randn(10, 2), stats.norm(10, 2).cdf),
    "randn small": (ts.randn(-0.5, 1e-7), stats.norm(-0.5, 1e-7).cdf),
}
ALL = {**{name: case[0] for name, case in DISCRETE.items()}, **{name: case[0] for name, case in CONTINUOUS.items()}}


def own_draws(domain: Domain) -> list[Any]:
    rng = np.random.default_rng(11)
    return [domain.sample(rng) for _ in range(N)]


def optuna_draws(domain: Domain) -> list[Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=11))
    frozen = study.ask()._cached_frozen_trial
    distribution = domain.distribution()
    draw = study.sampler.sample_independent
    return [domain.to_natural(draw(study, frozen, "x", distribution)) for _ in range(N)]


@pytest.mark.parametrize("draws", [own_draws, optuna_draws])
@pytest.mark.parametrize("name", DISCRETE)
def test_every_value_has_its_share(name: str, draws: Callable[[Domain], list[Any]]) -> None:
    domain, shares = DISCRETE[name]
    counts = Counter(draws(domain))
    assert set(counts) <= set(shares)
    frequent = [value for value, share in shares.items() if share * N >= 5]
    if len(frequent) < 2:
        assert counts[frequent[0]] == N
        return
    # The rare ones are counted together.
    observed = [counts[value] for value in frequent]
    expected = [shares[value] * N for value in frequent]
    if N - sum(expected) > 1e-6:
        observed.append(N - sum(observed))
        expected.append(N - sum(expected))
    total = sum(expected)
    chi_square = sum((o - e * N / total) ** 2 / (e * N / total) for o, e in zip(observed, expected, strict=True))
    assert stats.chi2(len(observed) - 1).sf(chi_square) > FALSE_ALARM


@pytest.mark.parametrize("draws", [own_draws, optuna_draws])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_density_has_its_shape(name: str, draws: Callable[[Domain], list[Any]]) -> None:
    domain, cdf = CONTINUOUS[name]
    drawn = draws(domain)
    assert len(set(drawn)) > N * 0.999
    assert stats.kstest(drawn, cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("draws", [own_draws, optuna_draws])
@pytest.mark.parametrize("name", ALL)
def test_draws_are_legal_plain_and_print_cleanly(name: str, draws: Callable[[Domain], list[Any]]) -> None:
    domain = ALL[name]
    for value in draws(domain)[:500]:
        assert type(value) in (int, float, str, tuple)
        assert domain.contains(value)
        assert domain.clip(value) == value
        assert type(domain.clip(value)) is type(value)
        assert domain.to_natural(domain.to_param(value)) == value
    if name in ("quniform", "qloguniform", "qrandn"):
        assert all(len(repr(value)) <= 5 for value in draws(domain))


@pytest.mark.parametrize(
    "domain", [ts.uniform(-5, -1), ts.loguniform(1e-4, 1e-1), ts.randint(-9, 15), ts.lograndint(1, 10)], ids=repr
)
def test_an_excluded_bound_is_given_but_never_drawn(domain: Any) -> None:
    assert domain.contains(domain.upper)
    for param in (domain.upper, domain.upper + 1):
        drawn = domain.to_natural(param)
        assert type(drawn) is type(domain.upper)
        assert domain.lower <= drawn < domain.upper
    assert domain.to_natural(domain.upper, given=True) == domain.upper
    assert domain.to_natural(domain.lower - 1) == domain.lower
    assert domain.clip(domain.upper) < domain.upper


@pytest.mark.parametrize("name", ALL)
def test_the_ends_of_the_distribution_are_legal(name: str) -> None:
    domain = ALL[name]
    distribution = domain.distribution()
    ends = (
        distribution.choices
        if isinstance(distribution, optuna.distributions.CategoricalDistribution)
        else (distribution.low, distribution.high)
    )
    for param in ends:
        natural = domain.to_natural(param)
        assert domain.clip(natural) == natural
        again = domain.to_param(natural)
        assert distribution._contains(distribution.to_internal_repr(again))
        # At 8 standard deviations a quantile has few digits left.
        tolerance = 0.1 if isinstance(domain, ts.Randn | ts.QRandn) else 0
        assert domain.to_natural(again) == (pytest.approx(natural, rel=tolerance) if tolerance else natural)
