"""Saving torch modules that a HyperModel built."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["TorchSaver"]


class TorchSaver:
    """Saves a module's ``state_dict``; buffers are part of it, the optimizer is not.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> trained, fresh = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        >>> TorchSaver().save(trained, folder)
        >>> torch.equal(TorchSaver().load(fresh, folder).weight, trained.weight)
        True
    """

    file = "weights.pt"

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Writes the weights."""
        torch.save(model.state_dict(), folder / self.file)

    def load(self, model: torch.nn.Module, folder: Path) -> torch.nn.Module:
        """Fills a module that was built alike, on the device that it is on."""
        state = torch.load(folder / self.file, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
        return model
