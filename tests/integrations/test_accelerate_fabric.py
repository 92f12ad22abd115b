"""``epochs`` over what Accelerate or Fabric prepared: the same loop, saved and restored by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from accelerate import Accelerator
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tuneflow as tune
import tuneflow_integrations.accelerate
import tuneflow_integrations.fabric
from tuneflow.errors import TuneflowWarning
from tuneflow.pruners import Exploit

torch.set_num_threads(1)
INPUTS = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(32) % 2
N_EPOCHS = 5


def parts(lr):
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": lr / 10}]
    optimizer = torch.optim.Adam(groups, lr=lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    return model, optimizer, scheduler, DataLoader(TensorDataset(INPUTS, LABELS), 8, shuffle=True)


def with_accelerate(trial):
    accelerator = Accelerator(cpu=True)
    model, optimizer, scheduler, loader = accelerator.prepare(*parts(trial.config["lr"]))
    loop = tuneflow_integrations.accelerate.epochs(trial, N_EPOCHS, accelerator)
    return model, optimizer, scheduler, loader, accelerator.backward, loop


def with_fabric(trial):
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    model, optimizer, scheduler, loader = parts(trial.config["lr"])
    model, optimizer = fabric.setup(model, optimizer)
    loader = fabric.setup_dataloaders(loader)
    loop = tuneflow_integrations.fabric.epochs(
        trial, N_EPOCHS, fabric, model=model, optimizer=optimizer, scheduler=scheduler, nothing=None
    )
    return model, optimizer, scheduler, loader, fabric.backward, loop


@pytest.fixture(params=[with_accelerate, with_fabric], ids=["accelerate", "fabric"])
def prepare(request):
    return request.param


def train(trial, prepare, log):
    model, optimizer, scheduler, loader, backward, loop = prepare(trial)
    for epoch in loop:
        for inputs, labels in loader:
            rates = [group["lr"] for group in optimizer.param_groups]
            loss = nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            backward(loss)
            optimizer.step()
            log.append((int(epoch), loss.item(), rates))
        scheduler.step()
        epoch.report(loss=loss.item())


def run(pruner, prepare):
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=pruner, seed=1)
    log, n_asked = [], 0
    while (trial := study.ask(new=not n_asked)) is not None:
        n_asked += 1
        trial.seed_everything() if n_asked == 1 else torch.manual_seed(99)
        train(trial, prepare, log)
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
    return study, log


def test_paused_and_resumed_equals_never_paused(prepare, scripted, pause):
    _, whole = run(scripted(), prepare)
    study, log = run(scripted({(0, 1): pause, (0, 4): pause}), prepare)
    assert log == whole
    assert len(study.trials[0].intermediate_values) == N_EPOCHS


def test_an_exploit_trains_with_the_new_rate(prepare, scripted):
    _, log = run(scripted({(0, 3): Exploit(0, {"lr": 0.4})}, needs_checkpoints=True), prepare)
    rates = {epoch: rate for epoch, _, rate in log}
    assert rates[3] == pytest.approx([0.05, 0.005])
    assert rates[4] == pytest.approx([0.2, 0.02])
    assert rates[5] == pytest.approx([0.1, 0.01])


def test_a_stop_ends_the_loop(prepare, scripted, stop):
    study, log = run(scripted({(0, 2): stop}), prepare)
    assert study.trials[0].state.name == "PRUNED"
    assert log[-1][0] == 2


def test_a_checkpoint_that_is_cut_off_is_told_of(prepare, scripted, pause):
    study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=scripted({(0, 2): pause}))
    train(study.ask(), prepare, [])
    trial, log = study.ask(new=False), []
    for file in sorted(trial.checkpoint.path.rglob("*")):
        if file.is_file() and file.suffix != ".json":
            file.write_bytes(file.read_bytes()[:50])
    with pytest.warns(TuneflowWarning, match=r"trial 0 starts over at epoch 1: checkpoint .* cannot be read"):
        train(trial, prepare, log)
    assert [epoch for epoch, _, _ in log[::4]] == [1, 2, 3, 4, 5]


PROGRAM = textwrap.dedent(
    """
    import json, logging, os, sys, warnings
    warnings.simplefilter("ignore")
    import torch
    from lightning.fabric import Fabric
    from torch import nn
    import tuneflow as tune
    from tuneflow.pruners import Continue, Pause, Pruner
    from tuneflow_integrations.fabric import epochs

    class PausesOnce(Pruner):
        paused = None
        def on_report(self, trial, step, value, checkpoint, decided=None):
            if step == 2:
                self.paused = trial
                return Pause()
            return Continue()
        def next_resume(self, more=True):
            trial, self.paused = self.paused, None
            return trial

    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")

    def train(fabric, folder):
        study = None
        if fabric.is_global_zero:
            study = tune.create_study({"lr": 0.1}, metric="loss", mode="min", pruner=PausesOnce())
        seen = []
        for new in (True, False):
            trial = study.ask(new=new) if study else None
            model = nn.Linear(4, 2)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            model, optimizer = fabric.setup(model, optimizer)
            for epoch in epochs(trial, 3, fabric, model=model, optimizer=optimizer):
                loss = model(torch.ones(2, 4)).sum() ** 2
                optimizer.zero_grad()
                fabric.backward(loss)
                optimizer.step()
                seen.append((int(epoch), loss.item(), torch.rand(1).item()))
                epoch.report(loss=loss.item())
        with open(f"{folder}/rank{fabric.global_rank}.json", "w") as file:
            json.dump(seen, file)

    fabric.launch(train, sys.argv[1])
    """
)


@pytest.mark.timeout(240)
def test_two_processes_pause_and_go_on_together(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=220, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [[epoch for epoch, _, _ in seen] for seen in ranks] == [[1, 2, 3]] * 2
    assert [loss for _, loss, _ in ranks[0]] == pytest.approx([loss for _, loss, _ in ranks[1]])
