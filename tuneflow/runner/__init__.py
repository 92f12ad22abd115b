"""Running trials: the Loop and its executors."""

from __future__ import annotations

__all__ = ["Executor", "InlineExecutor", "ProcessExecutor", "Resources", "SimulatedExecutor", "shutdown_workers"]

_WHERE = {
    "Executor": "tuneflow.runner.executor",
    "InlineExecutor": "tuneflow.runner.inline",
    "ProcessExecutor": "tuneflow.runner.processes",
    "Resources": "tuneflow.runner.resources",
    "SimulatedExecutor": "tuneflow.runner.simulated",
    "shutdown_workers": "tuneflow.runner.pool",
}


def __getattr__(name: str) -> object:
    """Resolved when first used: a worker process imports this package and needs none of it."""
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module 'tuneflow.runner' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
