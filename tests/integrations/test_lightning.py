"""Lightning trainings as trials, with both of its packages: pausing, resuming, exploiting, stopping, bad input."""

from __future__ import annotations

import importlib
import logging

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from tuneflow_integrations.lightning import TuneCallback
from tuneflow_integrations.torch import ResumableLoader

import tuneflow as tune

torch.set_num_threads(1)
for _name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric", "lightning_fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)

pytestmark = [
    # Advice on the number of workers, on small loaders and on resuming in mid-epoch: the data here are tiny.
    pytest.mark.filterwarnings("ignore:.*(does not have many workers|num_workers)"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings("ignore:.*ended before the epoch ended"),
    # Lightning 2.6 with torch 2.13.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning"),
]

_drawn = torch.Generator().manual_seed(0)
INPUTS = torch.randn(40, 6, generator=_drawn)
LABELS = (INPUTS[:, 0] + INPUTS[:, 1] > 0).long()
DATA = TensorDataset(INPUTS, LABELS)
N_EPOCHS = 5
N_BATCHES = 5

OPTIMIZERS = {
    "SGD": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
    "Adam": lambda groups, lr: torch.optim.Adam(groups, lr=lr),
    "AdamW": lambda groups, lr: torch.optim.AdamW(groups, lr=lr, weight_decay=0.1),
}
SCHEDULERS = {
    "StepLR": lambda o, lr: {"scheduler": lr_scheduler.StepLR(o, 2, 0.5)},
    "OneCycle": lambda o, lr: {
        "scheduler": lr_scheduler.OneCycleLR(o, [lr, lr / 10], total_steps=N_EPOCHS * N_BATCHES),
        "interval": "step",
    },
    "Cosine": lambda o, lr: {"scheduler": lr_scheduler.CosineAnnealingLR(o, N_EPOCHS, eta_min=0.001)},
    "Plateau": lambda o, lr: {
        "scheduler": lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.2),
        "monitor": "val_loss",
    },
    "Lambda": lambda o, lr: {"scheduler": lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch)},
    "Sequential": lambda o, lr: {
        "scheduler": lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(o, N_EPOCHS)],
            milestones=[2],
        )
    },
}


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request):
    return importlib.import_module(request.param)


@pytest.fixture
def lightning():
    return importlib.import_module("lightning.pytorch")


def model_class(pl):
    class Model(pl.LightningModule):
        def __init__(self, log, lr, optimizer="SGD", scheduler="StepLR", **others):
            super().__init__()
            self.save_hyperparameters(ignore=["log"])
            self.recorded = log
            self.net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))

        def training_step(self, batch, index):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            rates = [group["lr"] for group in self.optimizers().param_groups]
            self.recorded.append((self.current_epoch, loss.item(), rates))
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch, index):
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            lr = self.hparams.lr
            groups = [{"params": self.net[0].parameters()}, {"params": self.net[3].parameters(), "lr": lr / 10}]
            optimizer = OPTIMIZERS[self.hparams.optimizer](groups, lr)
            return {"optimizer": optimizer, "lr_scheduler": SCHEDULERS[self.hparams.scheduler](optimizer, lr)}

    return Model


def make_trainer(pl, callback, **options):
    return pl.Trainer(
        **{
            "max_epochs": N_EPOCHS, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False, "callbacks": [callback],
        } | options
    )  # fmt: skip


def loaders():
    return DataLoader(DATA, 8, shuffle=True), DataLoader(DATA, 20)


def train(pl, trial, log, *, callback=None, options=(), data=loaders, **hparams):
    model = model_class(pl)(log, **{"lr": trial.config["lr"], **hparams})
    callback = callback or TuneCallback({"loss": "val_loss"}, trial=trial)
    callback.fit(make_trainer(pl, callback, **dict(options)), model, **dict(zip(_NAMES, data(), strict=True)))
    return model


_NAMES = ("train_dataloaders", "val_dataloaders")


def run(pl, pruner, *, lr=0.1, callback=None, **how):
    """A study of one trial, asked for until it has ended; the log holds every batch's epoch, loss and rates."""
    study = tune.create_study({"lr": lr}, metric="loss", mode="min", pruner=pruner, seed=3)
    log, model, n_asked = [], None, 0
    while (trial := study.ask(new=not n_asked)) is not None:
        n_asked += 1
        trial.seed_everything() if n_asked == 1 else torch.manual_seed(99)
        made = None if callback is None else callback(trial)
        model = train(pl, trial, log, callback=made, **how)
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
    return study, log, model


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_paused_and_resumed_equals_never_paused(pl, optimizer, scheduler, scripted, pause):
    kind = {"optimizer": optimizer, "scheduler": scheduler}
    _, whole, model = run(pl, scripted(), **kind)
    study, parts, resumed = run(pl, scripted({(0, 1): pause, (0, 3): pause}), **kind)
    assert parts == whole
    assert same(model, resumed)
    assert [epoch for epoch, _, _ in whole[::N_BATCHES]] == list(range(N_EPOCHS))
    assert sorted(study.trials[0].intermediate_values) == list(range(1, N_EPOCHS + 1))
    assert study.trials[0].state.name == "COMPLETE"


@pytest.mark.parametrize(
    ("on", "options"),
    [
        ("train_epoch_end", {}),
        ("train_epoch_end", {"limit_val_batches": 0}),
        ("train_epoch_end", {"check_val_every_n_epoch": 2}),
        ("validation_end", {"num_sanity_val_steps": 0}),
        ("validation_end", {"accumulate_grad_batches": 2}),
    ],
    ids=str,
)
def test_other_moments_and_trainers_resume_exactly_too(lightning, on, options, scripted, pause):
    def callback(trial):
        return TuneCallback({"loss": "val_loss" if on == "validation_end" else "train_loss"}, trial=trial, on=on)

    how = {"callback": callback, "options": options, "scheduler": "Sequential"}
    _, whole, model = run(lightning, scripted(), **how)
    study, parts, resumed = run(lightning, scripted({(0, 1): pause, (0, 4): pause}), **how)
    assert parts == whole
    assert same(model, resumed)
    assert len(study.trials[0].intermediate_values) == N_EPOCHS


@pytest.mark.parametrize("how", [{"val_check_interval": 2}, {"every_n_steps": 2}], ids=str)
def test_in_mid_epoch_a_resumable_loader_keeps_its_place(lightning, how, scripted, pause):
    every = how.get("every_n_steps")

    def data():
        return ResumableLoader(DataLoader(DATA, 8, shuffle=True)), DataLoader(DATA, 20)

    def callback(trial):
        return TuneCallback({"loss": "train_loss_step" if every else "val_loss"}, trial=trial, every_n_steps=every)

    options = {"val_check_interval": 2, "max_epochs": 3}
    settings = {"callback": callback, "options": options, "data": data, "scheduler": "OneCycle"}
    _, whole, model = run(lightning, scripted(), **settings)
    study, parts, resumed = run(lightning, scripted({(0, 1): pause, (0, 4): pause}), **settings)
    steps = sorted(study.trials[0].intermediate_values)
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) == (7 if every else 6)
    assert parts == whole
    assert same(model, resumed)
