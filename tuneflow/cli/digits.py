"""A small convolutional network on scikit-learn's handwritten digits: what ``tuneflow demo`` tunes.

``train`` is an ordinary PyTorch training loop. Three things in it are tuneflow's: it takes its hyperparameters from
``config``, it starts from ``tune.get_checkpoint()`` where there is one, and it calls ``tune.report`` after every epoch.
"""

from __future__ import annotations

import functools
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import tuneflow as tune

__all__ = ["SPACE", "Digits", "evaluate", "load", "make_model", "make_optimizer", "retrain", "train", "train_epoch"]

SPACE = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "weight_decay": tune.loguniform(1e-6, 1e-2),
    "optimizer": tune.choice(["sgd", "adam"]),
    "momentum": tune.uniform(0.5, 0.99),
    "batch_size": tune.choice([32, 64, 128]),
    "channels": tune.choice([4, 8, 16]),
    "hidden": tune.qrandint(16, 128, 16),
    "dropout": tune.uniform(0.0, 0.6),
}


def train(config: dict[str, Any]) -> None:
    """Trains one configuration for ``config["epochs"]`` epochs; reports the validation loss after each."""
    import torch

    torch.set_num_threads(1)  # two workers on two cores would only get in each other's way with more
    data, seed = load(), tune.get_trial().seed
    torch.manual_seed(seed)
    model = make_model(config)
    optimizer = make_optimizer(model, config)
    first_epoch = 1

    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        state = torch.load(Path(checkpoint.path) / "state.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch = state["epoch"] + 1

    for epoch in range(first_epoch, config["epochs"] + 1):
        start_s = time.perf_counter()
        set_rate(optimizer, config, epoch)
        train_epoch(model, optimizer, data.train, config["batch_size"], seed=seed + epoch)
        loss, accuracy = evaluate(model, data.validation)
        epoch_s = time.perf_counter() - start_s

        def save(folder: str, epoch: int = epoch) -> None:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(folder) / "state.pt")

        # Comes back only if the trial goes on. `save` is called only when a checkpoint is needed.
        tune.report({"val_loss": loss, "val_accuracy": accuracy, "epoch_s": epoch_s}, checkpoint=save)


def retrain(config: dict[str, Any], *, seed: int) -> float:
    """Trains the chosen configuration on training and validation images together.

    Returns:
        Its accuracy on the held-out third, which nothing else in this module looks at.
    """
    import torch

    torch.set_num_threads(1)
    data = load()
    torch.manual_seed(seed)
    model = make_model(config)
    optimizer = make_optimizer(model, config)
    images, labels = (torch.cat(pair) for pair in zip(data.train, data.validation, strict=True))
    for epoch in range(1, config["epochs"] + 1):
        set_rate(optimizer, config, epoch)
        train_epoch(model, optimizer, (images, labels), config["batch_size"], seed=seed + epoch)
    return evaluate(model, data.held_out)[1]


class Digits(NamedTuple):
    """The 1,797 images, split once and for all. Each part: images of shape (n, 1, 8, 8) in [0, 1], and labels (n,)."""

    train: Any
    validation: Any
    held_out: Any


@functools.cache
def load() -> Digits:
    """Half of the images to train on, a sixth for validation, a third held out; every part with all ten digits alike.

    A worker process loads them once, whatever number of trials it serves.
    """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    rest, held_out = train_test_split(np.arange(len(labels)), test_size=1 / 3, stratify=labels, random_state=0)
    training, validation = train_test_split(rest, test_size=1 / 4, stratify=labels[rest], random_state=0)
    images = torch.tensor(pixels.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    targets = torch.tensor(labels)
    return Digits(*((images[part], targets[part]) for part in (training, validation, held_out)))


def make_model(config: dict[str, Any]) -> Any:
    """Two convolutions, one hidden layer, ten classes."""
    from torch import nn

    channels, hidden = config["channels"], config["hidden"]
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * 4 * 4, hidden),
        nn.ReLU(),
        nn.Dropout(config["dropout"]),
        nn.Linear(hidden, 10),
    )


def make_optimizer(model: Any, config: dict[str, Any]) -> Any:
    """SGD with momentum, or Adam with the momentum as its first beta."""
    import torch

    common = {"lr": config["lr"], "weight_decay": config["weight_decay"]}
    if config["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=config["momentum"], **common)
    return torch.optim.AdamW(model.parameters(), betas=(config["momentum"], 0.999), **common)


def set_rate(optimizer: Any, config: dict[str, Any], epoch: int) -> None:
    """Half a cosine from ``config["lr"]`` in the first epoch towards 0 after the last."""
    progress = (epoch - 1) / config["epochs"]
    for group in optimizer.param_groups:
        group["lr"] = config["lr"] * (1 + math.cos(math.pi * progress)) / 2


def train_epoch(model: Any, optimizer: Any, data: tuple[Any, Any], batch_size: int, *, seed: int) -> None:
    """One pass over the images in random order. The seed is the epoch's own, so that a resumed trial draws the same."""
    import torch

    torch.manual_seed(seed)
    images, labels = data
    model.train()
    for batch in torch.randperm(len(labels)).split(batch_size):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()


def evaluate(model: Any, data: tuple[Any, Any]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    import torch

    images, labels = data
    model.eval()
    with torch.no_grad():
        scores = model(images)
        loss = torch.nn.functional.cross_entropy(scores, labels).item()
        accuracy = (scores.argmax(dim=1) == labels).float().mean().item()
    return loss, accuracy
