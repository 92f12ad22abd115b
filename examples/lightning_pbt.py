"""Population based training of a LightningModule: learning rates change on the way, weights are taken over.

The population is compared with the same members, trained with the rates that they started with. Needs
``pip install 'tuneflow[demo,lightning]'``. Run it with ``python examples/lightning_pbt.py``, shorter with ``--quick``.
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
from tuneflow.pruners import PBT
from tuneflow_integrations.lightning import TuneCallback

N_MEMBERS, N_EPOCHS = (4, 8) if "--quick" in sys.argv else (8, 24)
SEED = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 0
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*(many workers|LeafSpec).*")  # of Lightning itself

pixels, digits = load_digits(return_X_y=True)
split = train_test_split(pixels / 16, digits, test_size=0.5, stratify=digits, random_state=0)
TRAIN, VALID = (
    TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y)) for x, y in (split[::2], split[1::2])
)


class Digits(lightning.LightningModule):
    """A small network; nothing in it knows of tuneflow."""

    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def on_validation_epoch_end(self):
        self.log("rate", self.optimizers().param_groups[0]["lr"])  # the one in force

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def train(config):
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    callback = TuneCallback({"loss": "val_loss", "rate": "rate"})  # lr is live by default
    trainer = lightning.Trainer(max_epochs=N_EPOCHS, limit_train_batches=30, callbacks=[callback], **QUIET)
    loaders = DataLoader(TRAIN, 8, shuffle=True), DataLoader(VALID, len(VALID))
    callback.fit(trainer, Digits(config["lr"]), train_dataloaders=loaders[0], val_dataloaders=loaders[1])


if __name__ == "__main__":
    space = {"lr": tune.loguniform(0.003, 1.0)}
    settings = {"metric": "loss", "mode": "min", "num_samples": N_MEMBERS, "verbose": 0, "seed": SEED}
    settings["executor"] = "inline" if "--quick" in sys.argv else "processes"
    fixed = tune.run(train, space, search_alg="random", **settings)
    start = [trial.config for trial in fixed.trials]
    pbt = PBT(space, N_MEMBERS, 2, resample_probability=0.0, perturbation_factors=(1.5, 0.5), synchronous=True)
    population = tune.run(train, space, scheduler=pbt, points_to_evaluate=start, deterministic=True, **settings)
    for name, analysis in {"best fixed member": fixed, "best of the population": population}.items():
        result = analysis.best_result
        print(
            f"{name}: loss {result['loss']:.4f} after {result['training_iteration']} epochs, rate {result['rate']:.4f}"
        )
