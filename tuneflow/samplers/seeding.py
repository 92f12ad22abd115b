"""Giving a sampler fresh, derived randomness for each trial.

A sampler's generator moves with every draw, so after a restart it would stand elsewhere than in a run that
was never interrupted. Seeding it anew from (study seed, trial number) makes what a trial is given depend on
the trials known so far and on nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["derive", "is_reseedable", "reseed"]


_MASK = (1 << 64) - 1


def derive(seed: int, *path: int) -> int:
    """A 32-bit seed derived from ``seed`` and a path of non-negative numbers.

    Each number is mixed in by a round of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators"), which takes a microsecond where ``numpy.random.SeedSequence`` takes ten.
    """
    state = seed & _MASK
    for number in (*path, 0):
        state = (state + number * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 32


def is_reseedable(sampler: BaseSampler) -> bool:
    """Whether ``reseed`` reaches the sampler's randomness. True for all that Optuna 5 ships; QMC needs none."""
    base = getattr(sampler, "_base_sampler", None)  # of Optuna's PartialFixedSampler
    if base is not None:
        return is_reseedable(base)
    return type(sampler).__name__ == "QMCSampler" or any(
        hasattr(sampler, name) for name in ("_rng", "_cma_rng", "reseed_for_trial")
    )


def reseed(sampler: BaseSampler, seed: int) -> None:
    """Seeds the sampler's generators, and those of samplers inside it, anew."""
    own = getattr(sampler, "reseed_for_trial", None)
    if own is not None:
        own(seed)
        return
    for name in ("_rng", "_cma_rng"):
        generator = getattr(sampler, name, None)
        if generator is not None:
            generator.rng.seed(seed)
    for name in ("_random_sampler", "_independent_sampler", "_base_sampler"):
        inner = getattr(sampler, name, None)
        if inner is not None:
            reseed(inner, seed ^ 0x5BD1E995)
