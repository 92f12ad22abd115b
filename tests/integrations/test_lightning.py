"""Lightning trainings as trials, with both of its packages: pausing, resuming, exploiting, stopping, bad input."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import tuneflow as tune
from tuneflow.errors import InvalidArgument, MetricNotLogged, TuneflowWarning, UsageError
from tuneflow.pruners import Continue, Exploit, Stop
from tuneflow_integrations.lightning import TuneCallback
from tuneflow_integrations.torch import ResumableLoader

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


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_exploit_trains_with_the_new_rate(pl, scheduler, scripted):
    """In a loop of one's own, in place; groups keep their ratio, the rates are those of a training with the new one."""
    rates = {lr: [r for _, _, r in run(pl, scripted(), lr=lr, scheduler=scheduler)[1]] for lr in (0.1, 0.3)}
    exploit = scripted({(0, 3): Exploit(0, {"lr": 0.3})}, needs_checkpoints=True)
    study, log, model = run(pl, exploit, scheduler=scheduler)
    seen, n_before = [rate for _, _, rate in log], 3 * N_BATCHES
    assert len(seen) == N_EPOCHS * N_BATCHES
    assert seen[:n_before] == rates[0.1][:n_before]
    if scheduler == "Plateau":  # what it sees from there on differs
        assert seen[n_before] == pytest.approx([3 * rate for rate in rates[0.1][n_before]])
    else:
        assert np.array(seen[n_before:]) == pytest.approx(np.array(rates[0.3][n_before:]))
    assert model.hparams.lr == 0.3
    assert study.trials[0].state.name == "COMPLETE"


def test_an_exploit_while_paused_takes_over_the_weights_and_not_the_random_numbers(lightning, scripted, pause):
    pruner = scripted({(0, 2): pause, (1, 2): pause}, on_resume={1: Exploit(0, {"lr": 0.2})})
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner, seed=3)
    logs = {0: [], 1: []}
    for trial in [study.ask(), study.ask()]:
        trial.seed_everything()
        train(lightning, trial, logs[trial.number])
    for trial in [study.ask(new=False), study.ask(new=False)]:
        train(lightning, trial, logs[trial.number])
    first, second = ([entry for entry in logs[number] if entry[0] >= 2] for number in (0, 1))
    assert len(first) == len(second) == 3 * N_BATCHES
    assert second[0][2] == pytest.approx([2 * rate for rate in first[0][2]])
    assert second[0][1] != first[0][1], "other batches, other dropout masks"
    assert pruner.reports == [(0, 1), (0, 2), (1, 1), (1, 2)] + [(n, step) for n in (0, 1) for step in (3, 4, 5)]


def test_an_exploit_that_changes_more_is_returned(lightning, scripted):
    pruner = scripted({(0, 2): Exploit(0, {"lr": 0.1, "width": 2})}, needs_checkpoints=True)
    study = tune.create_study({"lr": 0.1, "width": 1}, metric="loss", mode="min", pruner=pruner)
    trial, decisions, logs = study.ask(), [], []
    while not decisions or isinstance(decisions[-1], Exploit):
        logs.append([])
        model = model_class(lightning)(logs[-1], **trial.config)
        callback = TuneCallback({"loss": "val_loss"}, trial=trial)
        decisions.append(
            callback.fit(make_trainer(lightning, callback), model, *[], **dict(zip(_NAMES, loaders(), strict=True)))
        )
    assert [type(decision) for decision in decisions] == [Exploit, Continue]
    assert [len(log) for log in logs] == [2 * N_BATCHES, 3 * N_BATCHES]
    assert model.hparams.width == 2
    assert trial.last_step == N_EPOCHS


def test_a_stop_stops_in_spite_of_min_epochs(lightning, scripted, stop):
    """And the trainer is as it was afterwards."""
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=scripted({(0, 2): stop}))
    trial, log = study.ask(), []
    callback = TuneCallback({"loss": "val_loss"}, trial=trial)
    trainer = make_trainer(lightning, callback, min_epochs=4, min_steps=19, val_check_interval=2)
    decision = callback.fit(trainer, model_class(lightning)(log, 0.1), **dict(zip(_NAMES, loaders(), strict=True)))
    assert decision == Stop()
    assert callback.decision == Stop()
    assert len(log) == 4
    assert trial.last_step == 2
    assert (trainer.min_epochs, trainer.min_steps) == (4, 19)
    assert trainer.state.status == "finished"
    assert study.tell(trial, 0.0).state.name == "PRUNED"


def _objective(trial):
    pl = importlib.import_module("lightning.pytorch")
    trial.seed_everything()
    callback = TuneCallback({"loss": "val_loss"})  # the trial that runs here
    model = model_class(pl)([], trial.config["lr"])
    callback.fit(
        make_trainer(pl, callback, max_epochs=4, min_epochs=4), model, **dict(zip(_NAMES, loaders(), strict=True))
    )
    return -1.0


def test_study_optimize_prunes_whatever_the_objective_returns(lightning, scripted, stop):
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=scripted({(1, 2): stop}), seed=1)
    study.optimize(_objective, n_trials=2, show_progress_bar=False)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert [len(trial.intermediate_values) for trial in study.trials] == [4, 2]
    assert study.trials[0].value == -1.0
    assert study.trials[1].value == study.trials[1].intermediate_values[2]


def _function(config):
    pl = importlib.import_module("lightning.pytorch")
    tune.get_trial().seed_everything()
    callback = TuneCallback({"loss": "val_loss"})
    model = model_class(pl)([], config["lr"], config["optimizer"], width=config["width"])
    callback.fit(make_trainer(pl, callback, max_epochs=4), model, **dict(zip(_NAMES, loaders(), strict=True)))
    return {"loss": -1.0} if callback.decision.should_stop else None


def test_tune_run_pauses_resumes_and_exploits(lightning, scripted, pause, tmp_path):
    """An exploit starts the function again, where another width is no matter: it builds the model anew."""
    space = {"lr": 0.1, "optimizer": "Adam", "width": 1}
    new = {"lr": 0.4, "optimizer": "Adam", "width": 2}
    results = []
    changes = {(0, 2): pause, (1, 2): Stop(complete=True), (2, 2): Exploit(1, new)}
    for name, script in (("plain", {}), ("changed", changes)):
        pruner = scripted(script, needs_checkpoints=True)
        analysis = tune.run(
            _function, space, metric="loss", mode="min", num_samples=3, scheduler=pruner, executor="inline",
            checkpoint_freq=1, storage_path=tmp_path, name=name, verbose=0, seed=1,
        )  # fmt: skip
        results.append([list(frame["loss"]) for frame in analysis.trial_dataframes.values()])
    plain, changed = results
    assert [len(curve) for curve in changed] == [4, 2, 4]
    assert changed[0] == plain[0], "paused and resumed"
    assert changed[2][:2] == plain[2][:2]
    assert changed[2][2:] != plain[2][2:]


def test_a_plain_optuna_trial(lightning):
    class Prunes(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.number > 0 and len(trial.intermediate_values) == 2

    def objective(trial):
        lr = trial.suggest_float("lr", 0.1, 0.2)
        callback = TuneCallback("val_loss", trial=trial)
        trainer = make_trainer(lightning, callback, max_epochs=3)
        fit = trainer.fit if trial.number == 2 else lambda *args, **named: callback.fit(trainer, *args, **named)
        fit(model_class(lightning)([], lr), **dict(zip(_NAMES, loaders(), strict=True)))
        return trainer.callback_metrics["val_loss"].item()

    study = optuna.create_study(pruner=Prunes())
    study.optimize(objective, n_trials=3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert [len(trial.intermediate_values) for trial in study.trials] == [3, 2, 2]


def test_manual_optimization_of_two_optimizers(lightning, scripted, pause):
    """Resumes exactly; an exploit sends each rate to its optimizer."""

    class Gan(lightning.LightningModule):
        def __init__(self, config, log):
            super().__init__()
            self.automatic_optimization = False
            self.config, self.recorded = config, log
            self.one, self.two = nn.Linear(6, 2), nn.Linear(6, 2)

        def training_step(self, batch, index):
            losses = []
            for net, optimizer in zip((self.one, self.two), self.optimizers(), strict=True):
                loss = nn.functional.cross_entropy(nn.functional.dropout(net(batch[0])), batch[1])
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                losses.append(loss.item())
            self.recorded.append((losses, [o.param_groups[0]["lr"] for o in self.optimizers()]))

        def on_train_epoch_end(self):
            for scheduler in self.lr_schedulers():
                scheduler.step()

        def validation_step(self, batch, index):
            self.log("val_loss", nn.functional.cross_entropy(self.one(batch[0]), batch[1]))

        def configure_optimizers(self):
            nets = {"one": self.one, "two": self.two}
            optimizers = [torch.optim.Adam(net.parameters(), self.config[name]["lr"]) for name, net in nets.items()]
            return optimizers, [lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in optimizers]

    space = {"one": {"lr": 0.1}, "two": {"lr": 0.2}}
    live = {"one/lr": (0, "lr"), "two/lr": (1, "lr")}

    def run_gan(script, every=None):
        pruner = scripted(script, needs_checkpoints=True)
        study = tune.create_study(space, metric="loss", mode="min", pruner=pruner, seed=2)
        log, n_asked = [], 0
        while (trial := study.ask(new=not n_asked)) is not None:
            n_asked += 1
            torch.manual_seed(n_asked)
            callback = TuneCallback({"loss": "val_loss"}, trial=trial, live=live, every_n_steps=every)
            trainer = make_trainer(lightning, callback, max_epochs=3)
            callback.fit(trainer, Gan(trial.config, log), **dict(zip(_NAMES, loaders(), strict=True)))
            if not trial.is_paused:
                study.tell(trial, trial.last_value)
        return log, study.trials[0].intermediate_values

    whole, values = run_gan({})
    assert len(whole) == 3 * N_BATCHES
    assert sorted(values) == [1, 2, 3]
    assert run_gan({(0, 1): pause, (0, 2): pause}) == (whole, values)
    log, _ = run_gan({(0, 2): Exploit(0, {"one": {"lr": 0.1}, "two": {"lr": 0.4}})})
    assert [rates for _, rates in log[2 * N_BATCHES :]] == [pytest.approx([0.025, 0.1])] * N_BATCHES


def test_a_trial_that_resumes_by_trainer_fit_is_told_what_to_call(lightning, scripted, pause):
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=scripted({(0, 2): pause}))
    train(lightning, study.ask(), [])
    trial = study.ask(new=False)
    trainer = make_trainer(lightning, TuneCallback({"loss": "val_loss"}, trial=trial), max_epochs=3)
    with pytest.warns(TuneflowWarning, match=r"from step 2 but its checkpoint was not loaded: call callback\.fit"):
        trainer.fit(model_class(lightning)([], 0.1), *loaders())
    assert trial.last_step == 3
    assert not trial.is_paused


def test_a_metric_that_is_never_logged(lightning):
    trial = tune.create_study({"lr": 0.1}, metric="loss", mode="min").ask()
    callback = TuneCallback({"loss": "val_los"}, trial=trial)
    with pytest.raises(
        MetricNotLogged, match=r"metric 'val_los' was not logged; logged are: .*val_loss.* Log it in"
    ) as caught:
        train(lightning, trial, [], callback=callback)
    assert "val_loss" in caught.value.reported


def test_a_checkpoint_that_is_cut_off_gives_way_to_the_one_before(lightning, scripted, pause, tmp_path):
    pruner = scripted({(0, 3): pause, (1, 1): pause})
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner, storage=tmp_path / "study.log")
    trial, log = study.ask(), []
    train(lightning, trial, [])
    # What checkpoint_freq would have kept of step 2: the same training, paused there.
    other = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=scripted({(0, 2): pause}))
    earlier = other.ask()
    train(lightning, earlier, [])
    (trial.dir / "checkpoint_000002").mkdir()
    kept = trial.dir / "checkpoint_000002" / "lightning.ckpt"
    kept.write_bytes((other.ask(new=False).checkpoint.path / "lightning.ckpt").read_bytes())
    trial = study.ask(new=False)
    file = trial.checkpoint.path / "lightning.ckpt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.warns(TuneflowWarning, match=r"checkpoint_000003.*cannot be read.*going on from .*checkpoint_000002"):
        train(lightning, trial, log)
    assert [epoch for epoch, _, _ in log[::N_BATCHES]] == [2, 3, 4]
    assert pruner.reports == [(0, step) for step in range(1, N_EPOCHS + 1)], "nothing is reported twice"
    trial, log = study.ask(), []
    train(lightning, trial, [])
    trial = study.ask(new=False)
    (trial.checkpoint.path / "lightning.ckpt").write_bytes(b"")
    with pytest.warns(TuneflowWarning, match=r"trial 1 starts over: checkpoint .* cannot be read"):
        train(lightning, trial, log)
    assert len(log) == N_EPOCHS * N_BATCHES
    assert [step for number, step in pruner.reports if number == 1] == list(range(1, N_EPOCHS + 1))


def test_numpy_scalars_and_paths_among_the_hyperparameters_resume(lightning, scripted, pause):
    values = {"rate": np.float64(0.5), "sizes": [np.int64(3)], "path": Path("a"), "weights": np.ones(2)}
    _, log, model = run(lightning, scripted({(0, 1): pause}), **values)
    assert len(log) == N_EPOCHS * N_BATCHES
    assert isinstance(model.hparams.path, Path), "only what is in the file has changed"


def test_ddp_is_refused(lightning):
    trial = tune.create_study({"lr": 0.1}, metric="loss", mode="min").ask()
    callback = TuneCallback({"loss": "val_loss"}, trial=trial)
    trainer = make_trainer(lightning, callback, strategy="ddp", devices=2)
    with pytest.raises(InvalidArgument, match=r"starts the whole program again .* use strategy='ddp_spawn'"):
        callback.fit(trainer, model_class(lightning)([], 0.1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": "epoch_end"}, "on='epoch_end' must be"),
        ({"every_n_steps": 0}, "every_n_steps=0 must be an integer >= 1"),
        ({"live": "lr"}, "live='lr' must be a tuple"),
        ({"metrics": []}, "at least one metric"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        TuneCallback(**{"metrics": "val_loss", **arguments})


def test_outside_a_trial_it_says_so(lightning):
    callback = TuneCallback("val_loss")
    with pytest.raises(UsageError, match="TuneCallback without trial="):
        callback.fit(make_trainer(lightning, callback), model_class(lightning)([], 0.1))


def test_without_checkpoints_a_paused_trial_starts_over(lightning, scripted, pause):
    def callback(trial):
        return TuneCallback({"loss": "val_loss"}, trial=trial, checkpoint=False)

    with pytest.warns(TuneflowWarning, match="goes on without a checkpoint"):
        study, log, _ = run(lightning, scripted({(0, 2): pause}), callback=callback)
    assert len(log) == (2 + N_EPOCHS) * N_BATCHES
    assert len(study.trials[0].intermediate_values) == N_EPOCHS
