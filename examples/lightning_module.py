"""A LightningModule as trials: one callback, and ``callback.fit`` in place of ``trainer.fit``.

Needs ``pip install 'tuneflow[demo,lightning]'``. Run it with ``python examples/lightning_module.py``, shorter with
``--quick``.
"""

# needs: lightning
import logging
import sys
import warnings

import lightning
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tuneflow as tune
from tuneflow.pruners import ASHA
from tuneflow_integrations.lightning import TuneCallback

N_TRIALS, N_EPOCHS = (4, 4) if "--quick" in sys.argv else (16, 16)
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*(many workers|LeafSpec).*")  # of Lightning itself


class Digits(lightning.LightningModule):
    """A small network with dropout; nothing in it knows of tuneflow."""

    def __init__(self, lr, dropout):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 10))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        scores = self.net(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(scores, batch[1]))
        self.log("val_accuracy", (scores.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_EPOCHS)]


def data():
    pixels, digits = load_digits(return_X_y=True)
    split = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)
    images, valid_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    labels, valid_labels = (torch.tensor(part) for part in split[2:])
    training = DataLoader(TensorDataset(images, labels), 32, shuffle=True)
    return {
        "train_dataloaders": training,
        "val_dataloaders": DataLoader(TensorDataset(valid_images, valid_labels), 256),
    }


def objective(trial):
    trial.seed_everything()
    torch.set_num_threads(1)
    model = Digits(trial.suggest_float("lr", 1e-4, 1e-1, log=True), trial.suggest_float("dropout", 0.0, 0.5))
    callback = TuneCallback({"loss": "val_loss", "accuracy": "val_accuracy"}, trial=trial)
    trainer = lightning.Trainer(max_epochs=N_EPOCHS, callbacks=[callback], **QUIET)
    callback.fit(trainer, model, **data())
    return trial.last_value


if __name__ == "__main__":
    study = tune.create_study(metric="loss", mode="min", pruner=ASHA(max_resource=N_EPOCHS), seed=0)
    study.optimize(objective, n_trials=N_TRIALS, show_progress_bar=False)
    for trial in study.trials:
        n_epochs = len(trial.intermediate_values)
        print(f"trial {trial.number}: {trial.state.name}, loss {trial.value:.4f} after {n_epochs} epochs")
    print("best parameters:", study.best_params)
