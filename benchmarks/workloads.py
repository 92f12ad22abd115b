"""What both sides of a comparison train, so that it is the same by construction. Standard library only.

A class here is mixed into the trainable class of whoever runs it: ``class Walk(workloads.Walk, tune.Trainable)``.
"""

from __future__ import annotations

import time
from pathlib import Path


class Walk:
    """A loss that falls by ``lr`` in each step of 1 ms, with checkpoints; takes another configuration over."""

    def setup(self, config: dict[str, float]) -> None:
        self.lr, self.loss = config["lr"], 1.0

    def step(self) -> dict[str, float]:
        time.sleep(0.001)
        self.loss *= 1 - self.lr
        return {"loss": self.loss}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "loss").write_text(repr(self.loss))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.loss = float(Path(checkpoint_dir, "loss").read_text())

    def reset_config(self, new_config: dict[str, float]) -> bool:
        self.lr = new_config["lr"]
        return True


class Trivial:
    """Nothing to do and nothing to save; takes another configuration over."""

    iteration: int

    def setup(self, config: dict[str, float]) -> None:
        self.x = config["x"]

    def step(self) -> dict[str, float]:
        return {"loss": self.x + self.iteration}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def reset_config(self, new_config: dict[str, float]) -> bool:
        self.x = new_config["x"]
        return True
