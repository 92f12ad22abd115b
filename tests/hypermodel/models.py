"""HyperModels without a framework, in a module of their own so that worker processes can import them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import tuneflow as tune


class Counter(tune.HyperModel):
    """A model that counts the epochs it was trained for; its loss falls with them. ``fit`` goes on where it is told."""

    def __init__(self, epochs: int = 4, log: str = "") -> None:
        super().__init__()
        self.epochs = epochs
        self.log = log

    def build(self, hp: tune.HyperParameters) -> dict[str, int]:
        hp.Float("x", 0.0, 1.0)
        return {"trained": 0}

    def fit(self, hp: Any, model: Any, callbacks: Any = (), initial_epoch: int = 0, epochs: Any = None) -> None:
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(initial_epoch, epochs or self.epochs):
            model["trained"] += 1
            self.note(hp, epoch)
            loss = hp["x"] + 1 / model["trained"]
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"loss": loss, "trained": model["trained"]})

    def note(self, hp: Any, epoch: int) -> None:
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{hp['x']:.6f} {epoch}\n")


class Dying(Counter):
    """Kills its process, once, in the third trial's third epoch."""

    def note(self, hp: Any, epoch: int) -> None:
        super().note(hp, epoch)
        lines = Path(self.log).read_text().splitlines()
        if epoch == 2 and len({line.split()[0] for line in lines}) == 3 and not Path("killed").exists():
            Path("killed").write_text("")
            os.kill(os.getpid(), signal.SIGKILL)


class Valley(tune.HyperModel):
    """The loss falls to its least in the third epoch and rises again."""

    def build(self, hp: tune.HyperParameters) -> dict[str, Any]:
        return {"x": hp.Float("x", 0.0, 1.0), "epoch": None}

    def fit(self, hp: Any, model: Any, callbacks: Any = ()) -> float:
        losses = [3.0, 2.0, 1.0, 2.0, 3.0]
        for epoch, loss in enumerate(losses):
            model["epoch"] = epoch
            for callback in callbacks:
                callback.set_model(model)
                callback.on_epoch_end(epoch, {"loss": loss + model["x"]})
        return min(losses) + model["x"]
