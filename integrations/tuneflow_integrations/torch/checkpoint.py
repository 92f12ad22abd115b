"""A training's state in one file: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow_integrations.torch.generators import generator_states, set_generator_states
from tuneflow_integrations.torch.safe import pack, unpack
from tuneflow_integrations.trials import newest_readable

__all__ = ["TorchCheckpoint", "write_file"]


class TorchCheckpoint:
    """Saves and loads named objects: models, optimizers, schedulers, scalers, loaders, whatever has a ``state_dict``.

    The file is written beside its place, brought to the disk and moved there in one step. It holds tensors and plain
    values only and is read with ``weights_only=True``.

    Args:
        generators: also the states of Python's, NumPy's, torch's and CUDA's generators.
        objects: by name; None is left out. A list of objects is saved one by one.

    Attributes:
        loaded_generators: the generators' states of the file that was loaded last; None where it holds none.
        fell_back: whether that file was an earlier one than the one asked for.

    Example:
        >>> import tempfile, torch
        >>> model = torch.nn.Linear(2, 1)
        >>> checkpoint = TorchCheckpoint(model=model)
        >>> folder = tempfile.mkdtemp()
        >>> _ = checkpoint.save(folder, step=3)
        >>> checkpoint.load(folder)
        {'step': 3}
    """

    file_name = "torch.pt"

    def __init__(self, *, generators: bool = True, **objects: Any) -> None:
        self.generators = generators
        self.loaded_generators: dict[str, Any] | None = None
        self.fell_back = False
        self.objects: dict[str, Any] = {}
        for name, given in objects.items():
            if given is None:
                continue
            for key, entry in _parts(name, given):
                if not (hasattr(entry, "state_dict") and hasattr(entry, "load_state_dict")):
                    raise InvalidArgumentType(
                        f"{key}={entry!r} must have state_dict() and load_state_dict(state); leave it out, or give "
                        f"plain values as notes: save(folder, {name}=...)"
                    )
                self.objects[key] = entry

    def save(self, folder: str | os.PathLike[str], /, **notes: Any) -> Path:
        """Writes ``torch.pt`` into ``folder``, which is made if it is missing, and returns the file.

        Args:
            folder: where to.
            notes: plain values that ``load`` returns.

        Raises:
            InvalidArgumentType: a state holds what could not be read back safely; the message says where.
        """
        content = {
            "objects": {name: pack(entry.state_dict(), name) for name, entry in self.objects.items()},
            "notes": pack(notes, "notes"),
        }
        if self.generators:
            content["generators"] = generator_states()
        file = Path(folder) / self.file_name
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, content)
        return file

    def load(
        self, source: Any, *, generators: bool | None = None, map_location: Any = "cpu", strict: bool = True
    ) -> dict[str, Any]:
        """Loads what was saved into the objects and returns the notes.

        A file that was cut off is passed over with a warning for that of the trial's checkpoint before it.

        Args:
            source: a ``tune.Checkpoint``, its folder, or the file.
            generators: set the generators' states too; as at construction where it is left out.
            map_location: where tensors are read to; ``load_state_dict`` moves them to where the objects are.
            strict: refuse a file that lacks one of the objects; else that object stays as it is.

        Raises:
            CheckpointUnreadable: neither it nor any before it can be read.
            InvalidArgument: an object is missing in the file.
        """
        content, file, self.fell_back = newest_readable(
            source, self.file_name, lambda path: torch.load(path, map_location=map_location, weights_only=True)
        )
        states: Mapping[str, Any] = content["objects"]
        missing = [name for name in self.objects if name not in states]
        if strict and missing:
            raise InvalidArgument(
                f"checkpoint {file} has no {', '.join(missing)}; it holds: {', '.join(states) or 'nothing'}. Give "
                f"the names that were saved, or strict=False"
            )
        for name, entry in self.objects.items():
            if name in states:
                entry.load_state_dict(unpack(states[name]))
        self.loaded_generators = content.get("generators")
        if (self.generators if generators is None else generators) and self.loaded_generators is not None:
            set_generator_states(self.loaded_generators)
        notes: dict[str, Any] = unpack(content["notes"])
        return notes


def _parts(name: str, given: Any) -> list[tuple[str, Any]]:
    if isinstance(given, (list, tuple)):
        return [(f"{name}.{index}", entry) for index, entry in enumerate(given)]
    return [(name, given)]


def write_file(file: Path, content: Any) -> None:
    """``torch.save`` that leaves either the whole file or what was there before, also after a loss of power."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
