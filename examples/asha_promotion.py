"""Promotion: every trial pauses at its rung, and the best go on from their checkpoints when a process is free.

Needs ``pip install 'tuneflow[demo]'``. Run it with ``python examples/asha_promotion.py``, shorter with ``--quick``.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import tuneflow as tune
from tuneflow.callbacks import Callback
from tuneflow.pruners import ASHA

N_TRIALS, N_EPOCHS = (6, 3) if "--quick" in sys.argv else (24, 9)


def train(config):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
    images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    labels, valid_labels = (torch.tensor(part) for part in split[2:])

    model = nn.Sequential(nn.Linear(64, config["hidden"]), nn.ReLU(), nn.Linear(config["hidden"], 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    n_done = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:  # promoted: the trial goes on where it paused, the order of the images included
        state = torch.load(Path(checkpoint.path) / "state.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        n_done = state["epoch"]

    for epoch in range(n_done + 1, N_EPOCHS + 1):
        for batch in torch.randperm(len(labels)).split(config["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(valid_images), valid_labels).item()

        def save(folder, epoch=epoch):  # called only when the trial pauses, or often enough for a crash to cost little
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "generator": torch.get_rng_state(), "epoch": epoch}, Path(folder) / "state.pt")

        tune.report({"loss": loss}, checkpoint=save)  # comes back only if the trial goes on


class Resumed(Callback):
    """Notes from which step each trial was resumed."""

    def __init__(self):
        self.steps = {}

    def on_trial_resume(self, trial):
        self.steps.setdefault(trial.number, []).append(trial.start_step)


resumed = Resumed()
analysis = tune.run(
    train,
    {
        "lr": tune.loguniform(1e-4, 1e-1),
        "weight_decay": tune.loguniform(1e-5, 1e-1),
        "hidden": tune.lograndint(16, 256),
        "batch_size": tune.choice([16, 32, 64]),
    },
    metric="loss",
    mode="min",
    num_samples=N_TRIALS,
    scheduler=ASHA(max_resource=N_EPOCHS, reduction_factor=3, promote=True),
    max_concurrent_trials=2,
    callbacks=[resumed],
    seed=0,
)
for number, steps in sorted(resumed.steps.items()):
    print(f"trial {number:2}: resumed after epoch {', '.join(map(str, steps))}")
n_epochs = sum(trial.last_result["training_iteration"] for trial in analysis.trials)
print(f"epochs: {n_epochs} of the {N_TRIALS * N_EPOCHS} that all trials to the end would take")
print("best configuration:", analysis.best_config)
print(f"its loss: {analysis.best_result['loss']:.3f}")
