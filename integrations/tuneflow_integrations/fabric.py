"""Lightning Fabric: ``epochs`` over the objects of a ``Fabric`` training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tuneflow_integrations.ranks import Shared
from tuneflow_integrations.torch.generators import generator_states, set_generator_states
from tuneflow_integrations.torch.live import Live
from tuneflow_integrations.torch.loop import Epoch, frame
from tuneflow_integrations.trials import Target, newest_readable

__all__ = ["epochs"]


class _State:
    def __init__(self, fabric: Any, objects: Mapping[str, Any]) -> None:
        self._fabric = fabric
        self._objects = {name: entry for name, entry in objects.items() if entry is not None}

    def save(self, folder: Any, notes: dict[str, Any]) -> None:
        states: list[Any] = [generator_states()]
        if self._fabric.world_size > 1:
            states = [None] * self._fabric.world_size
            torch.distributed.all_gather_object(states, generator_states())
        content = {**self._objects, "tuneflow": {"notes": notes, "generators": states}}
        self._fabric.save(Path(folder) / "fabric.ckpt", content)

    def load(self, source: Any, is_own: Callable[[dict[str, Any]], bool]) -> tuple[dict[str, Any], bool]:
        content, _, fell_back = newest_readable(source, "fabric.ckpt", self._read)
        notes: dict[str, Any] = content["tuneflow"]["notes"]
        if is_own(notes):
            set_generator_states(content["tuneflow"]["generators"][self._fabric.global_rank])
        return notes, fell_back

    def _read(self, path: Path) -> dict[str, Any]:
        rest: dict[str, Any] = self._fabric.load(path, dict(self._objects))
        return rest

    def apply(self, live: Live, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        with_optimizer = {name: entry for name, entry in self._objects.items() if hasattr(entry, "optimizer")}
        optimizers = [entry for entry in self._objects.values() if hasattr(entry, "param_groups")]
        schedulers = [entry for entry in with_optimizer.values() if not hasattr(entry, "param_groups")]
        live.apply(old, new, optimizers, schedulers)


def epochs(
    trial: Any,
    n: int,
    fabric: Any,
    *,
    live: Sequence[str] | Mapping[str, str | tuple[int, str]] = ("lr",),
    checkpoint: bool = True,
    **objects: Any,
) -> Iterator[Epoch]:
    """The epochs that are left to a trial, with ``fabric.save`` and ``fabric.load``.

    Like ``tuneflow_integrations.torch.epochs``. In a distributed job rank 0 reports, all stop together.

    Args:
        trial: a trial of tuneflow's or of Optuna's; None for the one that runs here.
        n: epochs in all.
        fabric: the ``Fabric``, launched.
        live: entries of the configuration that restored optimizers take over.
        checkpoint: False never saves.
        objects: by name, as ``fabric.setup`` returned them; None is left out.

    Yields:
        The number of the epoch, from 1, with a method ``report``.
    """
    reporter = Target(trial, "epochs") if fabric.is_global_zero else None
    shared = Shared(reporter) if fabric.world_size == 1 else Shared(reporter, fabric.broadcast)
    return frame(shared, n, _State(fabric, objects) if checkpoint else None, live)
