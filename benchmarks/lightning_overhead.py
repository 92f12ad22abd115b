"""What ``TuneCallback`` adds to each epoch of a Lightning training, reports and checkpoints of a 1 MB model included.

The same training with and without it, in turns, so that a slow moment of the machine hits both. Compared are
the medians over epochs, so run it on a quiet machine.
"""

from __future__ import annotations

import logging
import statistics
import sys
import time
import warnings
from typing import Any

import harness

import tuneflow as tune
from tuneflow.pruners import Continue, Pruner

LIMIT_MS = 5.0


class Saves(Pruner):
    """Has every report saved, as a population that copies after each epoch would."""

    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        return Continue(save=checkpoint)


def epoch_ms(n_epochs: int, how: str) -> list[float]:
    """Milliseconds of each epoch: "bare", "reports" or "saves"."""
    import lightning
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from tuneflow_integrations.lightning import TuneCallback

    class Clock(lightning.Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.ends.append(time.perf_counter())

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(512, 512)  # 1.05 MB

        def training_step(self, batch: Any, index: int) -> Any:
            return self.net(batch[0]).square().mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", self.net(batch[0]).square().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = TensorDataset(torch.randn(64, 512))
    clock = Clock()
    callbacks: list[Any] = [clock]
    trainer_options = {
        "max_epochs": n_epochs, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    loaders = {"train_dataloaders": DataLoader(data, 16), "val_dataloaders": DataLoader(data, 64)}
    if how == "bare":
        lightning.Trainer(callbacks=callbacks, **trainer_options).fit(Model(), **loaders)
    else:
        pruner = Saves() if how == "saves" else None
        study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner)
        callback = TuneCallback({"loss": "val_loss"}, trial=study.ask())
        callback.fit(lightning.Trainer(callbacks=[callback, *callbacks], **trainer_options), Model(), **loaders)
    return [1000 * (end - start) for start, end in zip(clock.ends[1:], clock.ends[2:], strict=False)]


def measure(report: harness.Report, quick: bool) -> None:
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    n_epochs, n_rounds = (12, 2) if quick else (40, 5)
    found: dict[str, list[float]] = {"bare": [], "reports": [], "saves": []}
    epoch_ms(4, "bare")  # everything is imported and warm
    for _ in range(n_rounds):
        for how, times in found.items():
            times += epoch_ms(n_epochs, how)
    bare, reports, saves = (statistics.median(times) for times in found.values())
    report.add(harness.note("Lightning, an epoch of 4 steps and a validation, without the callback", bare, "ms"))
    report.add(harness.note("TuneCallback adds to it: a report", reports - bare, "ms"))
    report.add(
        harness.at_most("TuneCallback adds to it: a report and a checkpoint of 1 MB", saves - bare, LIMIT_MS, "ms")
    )


if __name__ == "__main__":
    sys.exit(harness.main(measure))
