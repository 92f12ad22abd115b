"""Which listeners a run gets."""

from __future__ import annotations

from typing import Any

from tuneflow.study import Study

__all__ = ["for_optimize"]


def for_optimize(
    study: Study,
    callbacks: tuple[Any, ...],
    *,
    n_trials: int | None,
    timeout_s: float | None,
    n_slots: int,
    show_progress: bool,
) -> list[Any]:
    """The listeners of one ``study.optimize``: the user's, and progress on a terminal."""
    listeners: list[Any] = []
    if callbacks:
        from tuneflow.callbacks.adapted import as_callback

        listeners += [as_callback(callback) for callback in callbacks]
    return listeners
