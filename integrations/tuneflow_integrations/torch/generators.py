"""The states of the global generators: Python's, NumPy's, torch's and CUDA's. Training code draws from all of them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from tuneflow.seeding import seed_everything

__all__ = ["generator_states", "reseed", "seed_torch", "set_generator_states"]


def seed_torch(seed: int) -> None:
    """Seeds torch's generators, those of all CUDA devices included, without starting CUDA.

    Args:
        seed: in [0, 2**32).
    """
    torch.manual_seed(seed)


def reseed(seed: int, step: int) -> None:
    """Seeds all of them for a trial that goes on from another one's checkpoint at ``step``.

    With the other's states the two would draw the same batches and dropout masks from there on.
    """
    entropy = np.random.SeedSequence([seed, step]).generate_state(1)
    seed_everything(int(entropy[0]))


def generator_states() -> dict[str, Any]:
    """The states, of tensors and plain values only, so that ``torch.load`` takes them with ``weights_only=True``."""
    of_numpy: Any = np.random.get_state()  # noqa: NPY002
    kind, key, position, has_gauss, gauss = of_numpy
    version, words, gauss_next = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(key).astype(np.int64)), int(position), int(has_gauss)],
        "numpy_gauss": float(gauss),
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss_next],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Takes over what ``generator_states`` returned. Of CUDA's, those of the devices that are visible now."""
    torch.set_rng_state(states["torch"].cpu())
    kind, key, position, has_gauss = states["numpy"]
    np.random.set_state(  # noqa: NPY002
        (kind, key.cpu().numpy().astype(np.uint32), position, has_gauss, states["numpy_gauss"])
    )
    version, words, gauss_next = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss_next))
    if "cuda" in states and torch.cuda.is_available():
        n_devices = torch.cuda.device_count()
        for device, state in enumerate(states["cuda"]):
            if device < n_devices:
                torch.cuda.set_rng_state(state.cpu(), device)
