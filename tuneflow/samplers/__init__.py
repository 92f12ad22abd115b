"""Samplers: what to try next. Names for Optuna's samplers and for those of other libraries."""

from __future__ import annotations

from tuneflow.samplers.naming import make_sampler, sampler_names
from tuneflow.samplers.seeding import is_reseedable, reseed

__all__ = ["is_reseedable", "make_sampler", "reseed", "sampler_names"]


def __getattr__(name: str) -> object:
    """Optuna's own sampler classes, so that ``tuneflow.samplers.TPESampler`` reads as in Optuna."""
    import optuna.samplers

    if name.startswith("_") or not hasattr(optuna.samplers, name):
        raise AttributeError(f"module 'tuneflow.samplers' has no attribute {name!r}")
    return getattr(optuna.samplers, name)
