"""A Lightning module on handwritten digits: ASHA stops the weak trials, MLflow has a run per trial and the best model.

Needs ``pip install 'tuneflow[lightning,mlflow,sklearn]'``. Run it with ``python examples/mlflow_lightning.py``, shorter
with ``--quick``; then look at the runs with ``mlflow server --backend-store-uri sqlite:///mlflow.db``. A server of your
own is named by the environment variable MLFLOW_TRACKING_URI.
"""

import os
import sys

import lightning
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tuneflow as tune
from tuneflow.pruners import ASHA
from tuneflow_integrations.lightning import TuneCallback
from tuneflow_integrations.mlflow import MLflowLogger

N_TRIALS, N_EPOCHS = (4, 3) if "--quick" in sys.argv else (16, 9)
URI = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")


class Digits(lightning.LightningModule):
    """A small network for images of 8 x 8 pixels."""

    def __init__(self, width, lr, optimizer):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch, _):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def validation_step(self, batch, _):
        images, labels = batch
        scores = self.net(images)
        self.log("val_loss", nn.functional.cross_entropy(scores, labels))
        self.log("val_acc", (scores.argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[self.hparams.optimizer]
        return kind(self.parameters(), lr=self.hparams.lr)


def loaders():
    pixels, labels = load_digits(return_X_y=True)
    parts = train_test_split(pixels / 16, labels, test_size=0.3, stratify=labels, random_state=0)
    images, valid = (torch.tensor(part, dtype=torch.float32) for part in parts[:2])
    labels, valid_labels = map(torch.tensor, parts[2:])
    train = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    return train, DataLoader(TensorDataset(valid, valid_labels), batch_size=256)


def train(config):
    lightning.seed_everything(tune.get_trial().seed, verbose=False)
    torch.set_num_threads(1)
    callback = TuneCallback({"loss": "val_loss", "accuracy": "val_acc"})
    trainer = lightning.Trainer(max_epochs=N_EPOCHS, callbacks=[callback], accelerator="cpu", logger=False)
    callback.fit(trainer, Digits(**config), train_dataloaders=loaders()[0], val_dataloaders=loaders()[1])


if __name__ == "__main__":
    space = {
        "width": tune.choice([16, 32, 64]),
        "lr": tune.loguniform(1e-3, 1e-1),
        "optimizer": tune.choice(["adam", "sgd"]),
    }
    analysis = tune.run(
        train, space, metric="loss", mode="min", num_samples=N_TRIALS, scheduler=ASHA(N_EPOCHS, reduction_factor=3),
        callbacks=[MLflowLogger(URI, "digits", tags={"data": "digits"})], checkpoint_at_end=True, verbose=1, seed=0,
    )  # fmt: skip
    best = analysis.best_result
    print(f"best: {analysis.best_config}, loss {best['loss']:.3f}, accuracy {best['accuracy']:.3f}")
    print(f"runs: {N_TRIALS} trials below {analysis.folder.name!r} in the experiment 'digits' at {URI}")
