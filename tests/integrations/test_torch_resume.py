"""A training that was paused, or that takes over another's state, in plain PyTorch."""

from __future__ import annotations

import functools
import itertools
import random
import warnings

import numpy as np
import optuna
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import tuneflow as tune
from tuneflow.errors import CheckpointUnreadable, TuneflowWarning, UsageError
from tuneflow.pruners import PBT, Continue, Exploit, Pause, Stop
from tuneflow_integrations.torch import ResumableLoader, TorchCheckpoint, epochs

torch.set_num_threads(1)
_drawn = torch.Generator().manual_seed(0)
INPUTS = torch.randn(40, 6, generator=_drawn)
LABELS = (INPUTS[:, 0] + INPUTS[:, 1] > 0).long()
N_EPOCHS = 6
N_BATCHES = 5

OPTIMIZERS = {
    "SGD": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
    "Adam": lambda groups, lr: torch.optim.Adam(groups, lr=lr),
    "AdamW": lambda groups, lr: torch.optim.AdamW(groups, lr=lr, weight_decay=0.1),
}
# name: how it is made, and whether it steps after every batch
SCHEDULERS = {
    "StepLR": (lambda o, lr: lr_scheduler.StepLR(o, 2, 0.5), False),
    "OneCycle": (lambda o, lr: lr_scheduler.OneCycleLR(o, [lr, lr / 10], total_steps=N_EPOCHS * N_BATCHES), True),
    "Cosine": (lambda o, lr: lr_scheduler.CosineAnnealingLR(o, N_EPOCHS, eta_min=0.001), False),
    "Plateau": (lambda o, lr: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.2), False),
    "Lambda": (lambda o, lr: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch), False),
    "Sequential": (
        lambda o, lr: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(o, N_EPOCHS)],
            milestones=[2],
        ),
        False,
    ),
}


def build(optimizer, scheduler, lr):
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[3].parameters(), "lr": lr / 10}]
    made = OPTIMIZERS[optimizer](groups, lr)
    return model, made, SCHEDULERS[scheduler][0](made, lr)


def train(trial, optimizer, scheduler, log, n=N_EPOCHS, **options):
    """Trains like anybody would; ``log`` gets every batch's loss and the rates it was trained with."""
    model, made, schedule = build(optimizer, scheduler, trial.config["lr"])
    steps_each_batch = SCHEDULERS[scheduler][1]
    loader = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=8, shuffle=True)
    for epoch in epochs(trial, n, model=model, optimizer=made, scheduler=schedule, **options):
        for inputs, labels in loader:
            rates = [group["lr"] for group in made.param_groups]
            made.zero_grad()
            loss = nn.functional.cross_entropy(
                model(inputs + np.random.rand() + random.random()),  # noqa: NPY002
                labels,
            )
            loss.backward()
            made.step()
            log.append((int(epoch), loss.item(), rates))
            if steps_each_batch:
                schedule.step()
        epoch.report(loss=loss)
        if not steps_each_batch:  # after the report: what the body does counts whenever it does it
            schedule.step(*([loss.item()] if scheduler == "Plateau" else []))
    return model


def run(pruner, optimizer, scheduler, lr=0.1):
    study = tune.create_study({"lr": lr}, metric="loss", mode="min", pruner=pruner, seed=3)
    log, model, n_asked = [], None, 0
    while (trial := study.ask(new=not n_asked)) is not None:
        n_asked += 1
        if n_asked == 1:
            trial.seed_everything()
        else:
            torch.manual_seed(99)  # whatever was drawn meanwhile in this process
            random.random()
            np.random.rand()  # noqa: NPY002
        model = train(trial, optimizer, scheduler, log)
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
    return study, log, model


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_paused_and_resumed_equals_never_paused(optimizer, scheduler, scripted, pause):
    _, whole, model = run(scripted(), optimizer, scheduler)
    study, parts, resumed = run(scripted({(0, 1): pause, (0, 4): pause}), optimizer, scheduler)
    assert [epoch for epoch, _, _ in parts] == [epoch for epoch in range(1, N_EPOCHS + 1) for _ in range(N_BATCHES)]
    assert parts == whole
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))
    assert study.trials[0].state.name == "COMPLETE"
    assert sorted(study.trials[0].intermediate_values) == list(range(1, N_EPOCHS + 1))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_exploit_trains_with_the_new_rate(scheduler, scripted):
    """The rates after the exploit are those of a training that had the new rate from the start."""
    rates = {}
    for lr in (0.1, 0.3):
        _, log, _ = run(scripted(), "SGD", scheduler, lr)
        rates[lr] = [rate for _, _, rate in log]
    exploited = Exploit(0, {"lr": 0.3})  # of itself: the same weights, another rate
    _, log, _ = run(scripted({(0, 3): exploited}, needs_checkpoints=True), "SGD", scheduler)
    seen = [rate for _, _, rate in log]
    n_before = 3 * N_BATCHES
    assert seen[:n_before] == rates[0.1][:n_before]
    if scheduler == "Plateau":  # what it has seen differs; just after the exploit nothing has
        assert seen[n_before] == pytest.approx([3 * rate for rate in rates[0.1][n_before]])
    else:
        assert np.array(seen[n_before:]) == pytest.approx(np.array(rates[0.3][n_before:]))
    assert all(fast == pytest.approx(10 * slow) for fast, slow in seen if scheduler not in ("Cosine",))


def test_an_exploit_of_another_trial_keeps_its_own_random_numbers(scripted, pause):
    """Two trials: the second takes over the first one's weights while it is paused."""
    pruner = scripted({(0, 2): pause, (1, 2): pause}, on_resume={1: Exploit(0, {"lr": 0.2})})
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner, seed=3)
    logs = {0: [], 1: []}
    for trial in [study.ask(), study.ask()]:
        trial.seed_everything()
        train(trial, "SGD", "Lambda", logs[trial.number], 4)
    for trial in [study.ask(new=False), study.ask(new=False)]:
        train(trial, "SGD", "Lambda", logs[trial.number], 4)
    after = {number: [(loss, rate[0]) for epoch, loss, rate in logs[number] if epoch > 2] for number in (0, 1)}
    assert len(after[0]) == len(after[1]) == 2 * N_BATCHES
    assert after[1][0][1] == pytest.approx(2 * after[0][0][1])
    assert after[0][0][0] != after[1][0][0], "other batches, other dropout masks"


def test_weights_that_are_taken_over_are_not_trained_past_their_schedule(scripted, pause):
    """Trial 1 takes over at its step 2 what trial 0 has trained for 4 of 6 epochs: two are left."""
    pruner = scripted({(0, 4): pause, (1, 2): Exploit(0, {"lr": 0.1})}, needs_checkpoints=True)
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner)
    first, second = study.ask(), study.ask()
    train(first, "SGD", "OneCycle", [])
    log = []
    train(second, "SGD", "OneCycle", log)
    assert [epoch for epoch, _, _ in log[::N_BATCHES]] == [1, 2, 3, 4]


def test_the_loop_ends_for_a_new_start_where_more_than_the_rate_differs(scripted):
    pruner = scripted({(0, 2): Exploit(0, {"lr": 0.1, "width": 2})}, needs_checkpoints=True)
    study = tune.create_study({"lr": 0.1, "width": 1}, metric="loss", mode="min", pruner=pruner)
    trial = study.ask()
    weight = nn.Parameter(torch.zeros(1))
    seen = []
    for _ in range(2):
        model = nn.ParameterList([weight])
        for epoch in epochs(trial, 4, model=model):
            seen.append((int(epoch), trial.config["width"]))
            epoch.report(loss=1.0)
    assert seen == [(1, 1), (2, 1), (3, 2), (4, 2)]


def test_a_changed_option_that_is_not_live_is_told_of(scripted):
    pruner = scripted({(0, 1): Pause()}, on_resume={0: Exploit(0, {"lr": 0.1, "weight_decay": 0.5})})
    study = tune.create_study({"lr": 0.1, "weight_decay": 0.0}, metric="loss", mode="min", pruner=pruner)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in epochs(study.ask(), 2, model=model, optimizer=optimizer):
        epoch.report(loss=1.0)
    with pytest.warns(TuneflowWarning, match=r"weight_decay has changed from 0.0 to 0.5.*live=\(..., 'weight_decay'\)"):
        list_ = epochs(study.ask(), 2, model=model, optimizer=optimizer)
    assert [int(epoch) for epoch in list_ if epoch.report(loss=1.0) is None] == [2]


def _objective(trial):
    trial.seed_everything()
    log = []
    train(trial, "SGD", "Sequential", log)
    return trial.last_value


def _function(config):
    trial = tune.get_trial()
    trial.seed_everything()
    train_trial(config)
    return {"loss": -1.0} if config["lies"] else None


def train_trial(config):
    model, made, schedule = build("SGD", "StepLR", config["lr"])
    loader = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=8, shuffle=True)
    for epoch in epochs(None, 4, model=model, optimizer=made, scheduler=schedule):
        for inputs, labels in loader:
            made.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            made.step()
        schedule.step()
        epoch.report(loss=loss.item(), lr=made.param_groups[0]["lr"])


def test_an_objective_is_paused_and_resumed_by_study_optimize(scripted, pause):
    values = []
    for script in ({}, {(0, 3): pause}):
        study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=scripted(script), seed=1)
        study.optimize(_objective, n_trials=1, show_progress_bar=False)
        values.append(study.trials[0].intermediate_values)
        assert study.trials[0].state.name == "COMPLETE"
    assert values[0] == values[1]
    assert len(values[0]) == N_EPOCHS


def test_a_function_in_a_worker_process_is_pruned_whatever_it_returns(scripted, stop, pause, tmp_path):
    """Trial 0 is stopped, trial 1 is paused on its way; neither's return value counts."""
    analysis = tune.run(
        _function, {"lr": 0.1, "lies": True}, metric="loss", mode="min", num_samples=2,
        scheduler=scripted({(0, 2): stop, (1, 2): pause}), storage_path=tmp_path, max_concurrent_trials=1, verbose=0,
        seed=1,
    )  # fmt: skip
    stopped, resumed = analysis.trial_dataframes.values()
    assert list(stopped["training_iteration"]) == [1, 2]
    assert -1.0 not in list(stopped["loss"])
    assert list(resumed["lr"])[:4] == [0.1, 0.05, 0.05, 0.025]


def test_a_population_in_one_process_learns(tmp_path):
    space = {"lr": tune.loguniform(1e-3, 1.0), "lies": False}
    pbt = PBT({"lr": space["lr"]}, 3, perturbation_interval=1)
    analysis = tune.run(
        _function, space, metric="loss", mode="min", num_samples=3, scheduler=pbt, executor="inline",
        storage_path=tmp_path, verbose=0, seed=2,
    )  # fmt: skip
    rates = [list(frame["lr"]) for frame in analysis.trial_dataframes.values()]
    # Whoever copies a member that is ahead has the fewer epochs left.
    assert max(len(curve) for curve in rates) == 4
    assert min(len(curve) for curve in rates) >= 2
    ratios = [after / before for curve in rates for before, after in itertools.pairwise(curve)]
    # StepLR halves the rate; whatever else a rate was multiplied by is an exploit's doing.
    assert any(ratio not in (1.0, 0.5) for ratio in ratios)


def test_a_plain_optuna_trial_is_pruned_by_its_own_study():
    class Prunes(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.number == 1 and len(trial.intermediate_values) == 2

    seen = []

    def objective(trial):
        model = nn.Linear(1, 1)
        trial.suggest_float("lr", 0.1, 1.0)
        for epoch in epochs(trial, 3, model=model):
            seen.append((trial.number, int(epoch)))
            epoch.report(loss=torch.tensor(0.5))
        return 0.5

    study = optuna.create_study(pruner=Prunes())
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert seen == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]


def _report_and(trial, then):
    for epoch in epochs(trial, 9, model=nn.Linear(1, 1)):
        epoch.report(loss=1.0)
        epoch.report(loss=1.0) if then is None else then()


def test_what_is_reported_before_a_break_counts(scripted):
    study = tune.create_study({"x": 1}, metric="loss", mode="min")
    trial = study.ask()
    for epoch in epochs(trial, 5, model=nn.Linear(1, 1)):
        epoch.report(loss=1.0 / epoch)
        if epoch == 3:
            break
    assert trial.last_step == 3
    other = study.ask()
    with pytest.raises(ZeroDivisionError):
        _report_and(other, lambda: 1 / 0)
    assert other.last_step == 1


def test_an_epoch_without_a_report_is_an_error():
    study = tune.create_study({"x": 1}, metric="loss", mode="min")
    with pytest.raises(UsageError, match="epoch 1 ended without a report"):
        for _ in epochs(study.ask(), 2, model=nn.Linear(1, 1)):
            pass
    with pytest.raises(UsageError, match="reported twice"):
        _report_and(study.ask(), None)


def test_outside_a_trial_it_says_so():
    with pytest.raises(UsageError, match=r"epochs without trial="):
        epochs(None, 2, model=nn.Linear(1, 1))


def _cut(checkpoint, keep=200):
    file = checkpoint.path / "torch.pt"
    file.write_bytes(file.read_bytes()[:keep])


def test_a_checkpoint_that_is_cut_off_gives_way_to_the_one_before(scripted, pause, tmp_path):
    """The epochs since are trained again, and not reported again."""
    pruner = scripted({(0, 1): Continue(save=True), (0, 2): Continue(save=True), (0, 3): pause})
    study = tune.create_study(
        {"lr": 0.1}, metric="loss", mode="min", pruner=pruner, seed=3, storage=tmp_path / "study.log"
    )
    trial = study.ask()
    trial.seed_everything()
    log = []
    train(trial, "SGD", "StepLR", log, 5)
    trial = study.ask(new=False)
    # Of those that nothing asked to keep only the last is there: one more, as checkpoint_freq would have kept it.
    model, made, schedule = build("SGD", "StepLR", 0.1)
    before = TorchCheckpoint(model=model, optimizer=made, scheduler=schedule)
    before.save(trial.dir / "checkpoint_000002", step=2, epochs=2, trial=0, config={"lr": 0.1})
    _cut(trial.checkpoint)
    with pytest.warns(TuneflowWarning, match=r"checkpoint_000003.*cannot be read.*going on from .*checkpoint_000002"):
        train(trial, "SGD", "StepLR", log, 5)
    assert [epoch for epoch, _, _ in log[::N_BATCHES]] == [1, 2, 3, 3, 4, 5]
    assert pruner.reports == [(0, step) for step in range(1, 6)]


def test_without_a_readable_checkpoint_the_trial_starts_over(scripted, pause):
    pruner = scripted({(0, 2): pause})
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner)
    log = []
    train(study.ask(), "SGD", "StepLR", log, 3)
    trial = study.ask(new=False)
    _cut(trial.checkpoint, keep=0)
    with pytest.warns(TuneflowWarning, match=r"trial 0 starts over at epoch 1: checkpoint .* cannot be read"):
        train(trial, "SGD", "StepLR", log, 3)
    assert [epoch for epoch, _, _ in log[::N_BATCHES]] == [1, 2, 1, 2, 3]
    assert pruner.reports == [(0, 1), (0, 2), (0, 3)]
    with pytest.raises(CheckpointUnreadable):
        TorchCheckpoint().load(trial.checkpoint)


def test_numpy_scalars_in_a_configuration_are_saved(scripted, pause):
    pruner = scripted({(0, 1): pause})
    space = {"lr": tune.choice([np.float64(0.1)]), "n": np.int64(3)}
    study = tune.create_study(space, metric="loss", mode="min", pruner=pruner)
    log = []
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="optuna")  # a choice of a NumPy scalar
            trial = study.ask(new=not log)
        train(trial, "SGD", "StepLR", log, 2)
    assert [epoch for epoch, _, _ in log[::N_BATCHES]] == [1, 2]


def test_a_loader_in_mid_epoch_goes_on_where_it_was(scripted, pause):
    """Reports every two batches, through the parts that ``epochs`` is made of."""

    def mid_epoch(script):
        study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=scripted(script), seed=3)
        log, n_asked = [], 0
        while (trial := study.ask(new=not n_asked)) is not None:
            n_asked += 1
            torch.manual_seed(n_asked)
            model, made, _ = build("Adam", "StepLR", 0.1)
            loader = ResumableLoader(DataLoader(TensorDataset(INPUTS, LABELS), batch_size=8, shuffle=True))
            state = TorchCheckpoint(model=model, optimizer=made, loader=loader)
            step = state.load(trial.checkpoint)["step"] if trial.checkpoint else 0
            while step < 12 and not trial.should_prune():
                for inputs, labels in loader:
                    made.zero_grad()
                    loss = nn.functional.cross_entropy(model(inputs), labels)
                    loss.backward()
                    made.step()
                    step += 1
                    log.append(loss.item())
                    if step % 2 == 0:
                        save = functools.partial(state.save, step=step)
                        if trial.report({"loss": loss.item()}, step, save).should_stop:
                            break
                    if step == 12:
                        break
        return log

    whole = mid_epoch({})
    assert len(whole) == 12
    assert mid_epoch({(0, 4): pause, (0, 8): pause}) == whole


def test_a_stop_at_the_full_budget_is_complete(scripted):
    pruner = scripted({(0, 2): Stop(complete=True)})
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner)
    trial = study.ask()
    train(trial, "SGD", "StepLR", [], 9)
    assert study.tell(trial, trial.last_value).state.name == "COMPLETE"
    assert trial.last_step == 2
