"""Hugging Face Accelerate: ``epochs`` over everything that an ``Accelerator`` has prepared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from tuneflow_integrations.ranks import Shared
from tuneflow_integrations.torch.live import Live
from tuneflow_integrations.torch.loop import Epoch, frame
from tuneflow_integrations.trials import Target, newest_readable

__all__ = ["epochs"]

_FOLDER, _NOTES = "accelerate", "tuneflow.json"


class _State:
    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator

    def save(self, folder: Any, notes: dict[str, Any]) -> None:
        target = Path(folder) / _FOLDER
        self._accelerator.save_state(str(target))
        if self._accelerator.is_main_process:
            (target / _NOTES).write_text(json.dumps(notes))

    def load(self, source: Any, is_own: Callable[[dict[str, Any]], bool]) -> tuple[dict[str, Any], bool]:
        notes, _, fell_back = newest_readable(source, _FOLDER, self._read)
        return notes, fell_back

    def _read(self, folder: Path) -> dict[str, Any]:
        self._accelerator.load_state(str(folder))  # the generators' states as well; the loop seeds them anew if need be
        notes: dict[str, Any] = json.loads((folder / _NOTES).read_text())
        return notes

    def apply(self, live: Live, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        live.apply(old, new, self._accelerator._optimizers, self._accelerator._schedulers)


def epochs(
    trial: Any,
    n: int,
    accelerator: Any,
    *,
    live: Sequence[str] | Mapping[str, str | tuple[int, str]] = ("lr",),
    checkpoint: bool = True,
) -> Iterator[Epoch]:
    """The epochs that are left to a trial, with ``accelerator.save_state`` and ``load_state``.

    Like ``tuneflow_integrations.torch.epochs``, for whatever the accelerator has prepared; other objects take part by
    ``accelerator.register_for_checkpointing``. In a distributed job the main process reports, all stop together.

    Args:
        trial: a trial of tuneflow's or of Optuna's; None for the one that runs here.
        n: epochs in all.
        accelerator: the ``Accelerator``, after ``prepare``.
        live: entries of the configuration that restored optimizers take over.
        checkpoint: False never saves.

    Yields:
        The number of the epoch, from 1, with a method ``report``.
    """

    def broadcast(value: Any) -> Any:
        return broadcast_object_list([value])[0]

    reporter = Target(trial, "epochs") if accelerator.is_main_process else None
    shared = Shared(reporter) if accelerator.num_processes == 1 else Shared(reporter, broadcast)
    return frame(shared, n, _State(accelerator) if checkpoint else None, live)
