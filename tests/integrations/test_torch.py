"""The parts of the PyTorch integration, one by one."""

from __future__ import annotations

import collections
import pathlib
import random
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import tuneflow as tune
from tuneflow.errors import CheckpointUnreadable, InvalidArgument, InvalidArgumentType, MetricNotLogged, TuneflowWarning
from tuneflow_integrations.torch import Live, MixedPrecision, ResumableLoader, TorchCheckpoint, set_hyperparameter
from tuneflow_integrations.torch.generators import generator_states, set_generator_states
from tuneflow_integrations.torch.loop import epochs
from tuneflow_integrations.trials import Metrics

torch.set_num_threads(1)


class Holder:
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


# TorchCheckpoint


def test_what_a_state_may_hold_comes_back(tmp_path):
    state = {
        "array": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "flags": np.array([True, False]),
        "scalar": np.float64(0.5),
        "count": np.int64(3),
        "path": pathlib.Path("a/b"),
        "ordered": collections.OrderedDict(b=1, a=2),
        "counter": collections.Counter([2, 2, 3]),
        "default": collections.defaultdict(list, {"x": [1]}),
        3: (1, None, 2j, b"bytes", {4, 5}),
        "tensor": torch.ones(2, dtype=torch.bfloat16),
        "size": torch.Size([1, 2]),
    }
    TorchCheckpoint(holder=Holder(state)).save(tmp_path)
    holder = Holder({})
    TorchCheckpoint(holder=holder).load(tmp_path)
    back = holder.state
    assert back["array"].dtype == np.uint32
    assert np.array_equal(back["array"], state["array"])
    assert back["flags"].tolist() == [True, False]
    assert (back["scalar"], back["count"], back["path"]) == (0.5, 3, "a/b")
    assert type(back["scalar"]) is float
    assert list(back["ordered"]) == ["b", "a"]
    assert back["counter"] == state["counter"]
    assert back["default"] == {"x": [1]}
    assert back[3] == state[3]
    assert torch.equal(back["tensor"], state["tensor"])


@pytest.mark.parametrize("wrong", [Holder(1), object(), np.array(["text"], dtype=object), lambda: None])
def test_what_could_not_be_read_back_is_refused_where_it_is(tmp_path, wrong):
    with pytest.raises(InvalidArgumentType, match=r"^holder\['a'\]\[1\] is a"):
        TorchCheckpoint(holder=Holder({"a": [1, wrong]})).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    checkpoint = TorchCheckpoint(model=nn.Linear(2, 2))
    checkpoint.save(tmp_path, step=1)
    monkeypatch.setattr(torch, "save", lambda content, stream: stream.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoint.save(tmp_path, step=2)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["torch.pt"]
    assert checkpoint.load(tmp_path) == {"step": 1}


def test_objects_and_names_are_checked(tmp_path):
    with pytest.raises(InvalidArgumentType, match=r"epoch=3 must have state_dict"):
        TorchCheckpoint(epoch=3)
    TorchCheckpoint(net=nn.Linear(1, 1), nothing=None).save(tmp_path)
    with pytest.raises(InvalidArgument, match=r"has no model; it holds: net"):
        TorchCheckpoint(model=nn.Linear(1, 1)).load(tmp_path)
    assert TorchCheckpoint(model=nn.Linear(1, 1)).load(tmp_path, strict=False) == {}


def test_a_list_of_objects(tmp_path):
    models = [nn.Linear(1, 1), nn.Linear(1, 1)]
    TorchCheckpoint(models=models).save(tmp_path)
    others = [nn.Linear(1, 1), nn.Linear(1, 1)]
    TorchCheckpoint(models=others).load(tmp_path)
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(models, others, strict=True))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"x" * len(data)])
def test_a_damaged_file_gives_way_to_the_checkpoint_before(tmp_path, damage):
    checkpoint = TorchCheckpoint(model=nn.Linear(2, 2))
    for step in (8, 9, 10):
        checkpoint.save(tmp_path / f"checkpoint_{step:06d}", step=step)
    for step in (9, 10):
        file = tmp_path / f"checkpoint_{step:06d}" / "torch.pt"
        file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(TuneflowWarning, match=r"checkpoint_000010/torch.pt cannot be read .* going on from .*_000008"):
        notes = checkpoint.load(tune.Checkpoint(tmp_path / "checkpoint_000010"))
    assert notes == {"step": 8}
    assert checkpoint.fell_back
    with pytest.raises(CheckpointUnreadable, match="there is none before it"):
        checkpoint.load(tmp_path / "checkpoint_000009" / "nothing.pt")


def test_generators_are_restored(tmp_path):
    generators = TorchCheckpoint()
    generators.save(tmp_path)
    random.gauss(0, 1)
    drawn = _draw()
    generators.load(tmp_path)
    random.gauss(0, 1)
    assert _draw() == drawn
    generators.load(tmp_path, generators=False)
    assert random.random() != drawn[0]


# set_hyperparameter

KINDS = {
    "none": lambda o: None,
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4], 0.5),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 8, eta_min=0.003),
    "WarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, eta_min=0.003),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (epoch + 1)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 9),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(
        o, [g["lr"] / 10 for g in o.param_groups], [g["lr"] for g in o.param_groups], 3, cycle_momentum=False
    ),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, [g["lr"] for g in o.param_groups], total_steps=12, cycle_momentum=False
    ),
    "Chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "Sequential": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(o, 8, eta_min=0.003)],
        milestones=[3],
    ),
}


def _rates(kind, lr, change=None, n=8):
    weights = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    optimizer = torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": lr / 4}], lr=lr)
    scheduler = KINDS[kind](optimizer)
    rates = []
    for step in range(n):
        if change is not None and step == change[0]:
            set_hyperparameter(optimizer, scheduler, "lr", change[1], lr)
        rates.append([group["lr"] for group in optimizer.param_groups])
        if scheduler is not None:
            assert step == 0 or scheduler.get_last_lr() == pytest.approx(rates[-1])
            optimizer.step()
            scheduler.step()
    return rates


@pytest.mark.parametrize("kind", KINDS)
@hypothesis.given(step=st.integers(0, 7), lr=st.floats(1e-2, 1.0), new=st.floats(1e-2, 1.0))
@hypothesis.settings(max_examples=15)
def test_a_rate_that_changes_goes_on_as_if_it_had_always_been_so(kind, step, lr, new):
    expected = _rates(kind, lr)[:step] + _rates(kind, new)[step:]
    assert np.array(_rates(kind, lr, (step, new))) == pytest.approx(np.array(expected), rel=1e-6)


def test_other_options():
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW([{"params": [layer.weight]}, {"params": [layer.bias], "weight_decay": 0.0}], lr=0.1)
    set_hyperparameter(optimizer, None, "weight_decay", 0.2, 0.01)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0], "no decay stays none"
    set_hyperparameter(optimizer, None, "beta2", 0.9)
    set_hyperparameter(optimizer, None, "momentum", 0.7)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.7, 0.9)}
    set_hyperparameter(optimizer, None, "lr", np.float32(0.5), 0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5], "from nothing there is no ratio"
    with pytest.raises(InvalidArgument, match=r"AdamW has no option 'lrate'; its parameter groups have: .*lr, "):
        set_hyperparameter(optimizer, None, "lrate", 0.1)
    with pytest.raises(InvalidArgumentType, match="new='high' must be a number"):
        set_hyperparameter(optimizer, None, "lr", "high")
    with pytest.raises(InvalidArgument, match="not a number"):
        set_hyperparameter(optimizer, None, "amsgrad", 1)


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.1), foreach=False)
    held = optimizer.param_groups[0]["lr"]
    scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
    optimizer.step()
    scheduler.step()
    set_hyperparameter(optimizer, scheduler, "lr", 0.2, 0.1)
    assert optimizer.param_groups[0]["lr"] is held
    assert held.item() == pytest.approx(0.1)


def test_live_values_of_several_optimizers():
    one, two = (torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1) for _ in range(2))
    old, new = {"a": {"lr": 0.1}, "b": {"lr": 0.1}}, {"a": {"lr": 0.2}, "b": {"lr": 0.3}}
    with pytest.raises(InvalidArgument, match=r"could mean each of a/lr, b/lr; .*live=\{'a/lr': \(0, 'lr'\)"):
        Live().apply(old, new, [one, two], [])
    assert Live().apply(old, old, [one, two], []) == {}
    live = Live({"a/lr": (0, "lr"), "b/lr": (1, "lr")})
    assert live.apply(old, new, [one, two], []) == {"a/lr": 0.2, "b/lr": 0.3}
    assert [entry.param_groups[0]["lr"] for entry in (one, two)] == [0.2, 0.3]
    assert Live().apply({"learning_rate": 0.1}, {"learning_rate": 0.4}, [one], []) == {"learning_rate": 0.4}
    assert one.param_groups[0]["lr"] == pytest.approx(0.8)
    with pytest.raises(InvalidArgument, match="to optimizer 1, but there are 1"):
        live.apply(old, new, [one], [])
    with pytest.raises(InvalidArgument, match=r"live=\('lr',\)"):
        Live("lr")


# MixedPrecision


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float16"])
def test_mixed_precision_trains_and_keeps_its_scale(dtype, tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    precision = MixedPrecision("cpu", dtype, init_scale=4.0, growth_interval=2)
    inputs = torch.randn(32, 4)
    losses = []
    for _ in range(20):
        with precision.autocast():
            out = model(inputs)
            assert out.dtype is precision.dtype
            loss = ((out.float() - inputs[:, :1]) ** 2).mean()
        precision.step(loss, optimizer, clip_norm=1.0)
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(parameter.grad is None for parameter in model.parameters())
    TorchCheckpoint(precision=precision).save(tmp_path)
    other = MixedPrecision("cpu", dtype)
    TorchCheckpoint(precision=other).load(tmp_path)
    assert other.scaler.get_scale() == precision.scaler.get_scale()
    assert (other.scaler.get_scale() == 1.0) == (dtype != "float16")


def test_clipping_comes_after_unscaling():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    MixedPrecision("cpu", "float16", init_scale=1024.0).step((weight * 3.0).sum(), optimizer, clip_norm=1.0)
    assert weight.item() == pytest.approx(-1.0, abs=1e-4)


def test_an_unknown_precision_is_refused():
    with pytest.raises(InvalidArgument, match="dtype='half' must be one of"):
        MixedPrecision("cpu", "half")


# ResumableLoader


class Numbers(IterableDataset):
    def __iter__(self):
        return iter(range(10))


def _loaders():
    data = TensorDataset(torch.arange(10))
    return {
        "shuffled": lambda: DataLoader(data, 3, shuffle=True),
        "own generator": lambda: DataLoader(data, 3, shuffle=True, generator=torch.Generator().manual_seed(1)),
        "in order": lambda: DataLoader(data, 3),
        "single": lambda: DataLoader(data, batch_size=None, shuffle=True),
        "iterable": lambda: DataLoader(Numbers(), 3),
        "workers": lambda: DataLoader(data, 3, shuffle=True, num_workers=1),
    }


def _items(batch):
    return torch.as_tensor(batch[0] if isinstance(batch, list) else batch).reshape(-1).tolist()


@pytest.mark.parametrize("kind", list(_loaders()))
def test_a_loader_goes_on_where_it_was(kind, recwarn):
    make = _loaders()[kind]
    place = 2
    torch.manual_seed(7)
    loader = ResumableLoader(make())
    whole = [[_items(batch) for batch in loader] for _ in range(2)]
    torch.manual_seed(7)
    loader = ResumableLoader(make())
    iterator = iter(loader)
    parts = [_items(next(iterator)) for _ in range(place)]
    place_state, drawn = loader.state_dict(), torch.get_rng_state()
    del iterator
    torch.manual_seed(99)
    resumed = ResumableLoader(make())
    resumed.load_state_dict(place_state)
    torch.set_rng_state(drawn)  # as a checkpoint's generators do
    parts += [_items(batch) for batch in resumed]
    assert parts == whole[0]
    assert [_items(batch) for batch in resumed] == whole[1], "and the epoch after it is the same, too"
    assert len(resumed) == len(make()) if kind != "iterable" else True


def test_a_loader_saved_between_epochs_starts_a_whole_one():
    loader = ResumableLoader(DataLoader(TensorDataset(torch.arange(10)), 3, shuffle=True))
    iterator = iter(loader)
    for _ in range(len(loader)):  # as Lightning does: never asks past the end
        next(iterator)
    other = ResumableLoader(DataLoader(TensorDataset(torch.arange(10)), 3, shuffle=True))
    other.load_state_dict(loader.state_dict())
    assert len(list(other)) == 4
    assert (other.batch_size, len(other.dataset)) == (3, 10)


def test_what_is_no_loader_is_refused():
    with pytest.raises(InvalidArgumentType, match=r"must be a torch\.utils\.data\.DataLoader"):
        ResumableLoader([1, 2])
    with pytest.raises(InvalidArgumentType, match="persistent_workers"):
        ResumableLoader(DataLoader([1], num_workers=1, persistent_workers=True))


# The trial's own


def _draw():
    return [random.random(), np.random.normal(), torch.rand(1).item()]  # noqa: NPY002


def test_a_trial_seeds_everything():
    drawn = []
    for seed in (1, 1, 2):
        trial = tune.create_study({"x": 1}, seed=seed).ask()
        assert trial.seed_everything() == trial.seed
        drawn.append(_draw())
        assert trial.device == "cpu"
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2], strict=True))
    seen = []

    def objective(trial):
        assert trial.seed_everything() == tune.get_trial().seed_everything() == trial.seed
        seen.append((trial.device, trial.metric, tune.get_trial().metric, trial.last_value))
        trial.report({"loss": np.float32(0.5)}, 1)
        seen.append(trial.last_value)
        return 1.0

    tune.create_study({"x": 1}, metric="loss", mode="min").optimize(objective, n_trials=1, show_progress_bar=False)
    assert seen == [("cpu", "loss", "loss", None), 0.5]


def test_without_torch_python_and_numpy_are_seeded():
    code = """
import sys
sys.modules["torch"] = None  # an import of it raises ModuleNotFoundError
import random, numpy, tuneflow as tune
trial = tune.create_study({"x": 1}, seed=1).ask()
drawn = []
for _ in range(2):
    trial.seed_everything()
    drawn.append((random.random(), numpy.random.random()))
assert drawn[0] == drawn[1]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_states_are_read_without_running_code(tmp_path):
    def drawn():
        return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002

    torch.save(generator_states(), tmp_path / "states.pt")
    expected = drawn()
    set_generator_states(torch.load(tmp_path / "states.pt", weights_only=True))
    assert drawn() == expected


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True])
def test_a_wrong_number_of_epochs(wrong):
    with pytest.raises(InvalidArgument, match="must be an integer >= 1"):
        epochs(tune.create_study({"x": 1}).ask(), wrong)


def test_a_wrong_trial():
    with pytest.raises(InvalidArgumentType, match="trial=3 must be a trial"):
        epochs(3, 1)


def test_metrics_by_name():
    assert Metrics("a").pick({"a": torch.tensor(0.5), "b": 1}) == {"a": 0.5}
    assert Metrics(["b", "a"]).pick({"a": np.float32(0.5), "b": 1}) == {"b": 1.0, "a": 0.5}
    with pytest.raises(MetricNotLogged, match=r"metric 'c' was not logged; logged are: a, b\. Log it"):
        Metrics({"loss": "c"}).pick({"a": 1, "b": 2})
    with pytest.raises(InvalidArgument, match="at least one metric"):
        Metrics([])


def test_a_study_without_a_name_for_its_metric_takes_the_only_one():
    study = tune.create_study({"x": 1}, mode="min")
    trial = study.ask()
    for epoch in epochs(trial, 1, model=nn.Linear(1, 1)):
        epoch.report(loss=0.25)
    assert trial.last_value == 0.25
