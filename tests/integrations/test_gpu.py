"""Trials on CUDA devices. Skipped where there is none."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

import tuneflow as tune
from tuneflow.errors import OutOfMemory
from tuneflow_integrations.torch import MixedPrecision, TorchCheckpoint, epochs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    # Of Lightning 2.6 itself.
    pytest.mark.filterwarnings("ignore:.*(many workers|logging interval|LeafSpec|treespec)"),
]


def _train(config):
    trial = tune.get_trial()
    trial.seed_everything()
    device = torch.device(trial.device)
    model = nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 32)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    precision = MixedPrecision(device, config["dtype"], init_scale=2.0**10, growth_interval=5)
    inputs = torch.randn(64, 32, device=device)
    for epoch in epochs(None, 4, model=model, optimizer=optimizer, precision=precision):
        for _ in range(10):
            with precision.autocast():
                loss = (model(inputs) - inputs).square().mean()
            precision.step(loss, optimizer, clip_norm=1.0)
        epoch.report(
            loss=loss, device=str(loss.device), scale=precision.scaler.get_scale(), share=trial.resources["gpu"]
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_mixed_precision_resumes_identically(dtype, scripted, pause, tmp_path):
    results = []
    for name, script in (("whole", {}), ("paused", {(0, 2): pause})):
        analysis = tune.run(
            _train, {"dtype": dtype}, metric="loss", mode="min", scheduler=scripted(script), name=name,
            storage_path=tmp_path, resources_per_trial={"gpu": 1}, verbose=0, seed=1,
        )  # fmt: skip
        results.append(next(iter(analysis.trial_dataframes.values())))
    whole, paused = results
    assert list(paused["loss"]) == list(whole["loss"])
    assert list(paused["scale"]) == list(whole["scale"])
    assert (len(set(whole["scale"])) > 1) == (dtype == "float16")


def test_trials_that_share_a_gpu_compute_on_it(tmp_path):
    analysis = tune.run(
        _train, {"dtype": "float32"}, metric="loss", mode="min", num_samples=4, search_alg="random",
        storage_path=tmp_path, resources_per_trial={"cpu": 1, "gpu": 0.5}, verbose=0, seed=1,
    )  # fmt: skip
    assert [trial.last_result["device"] for trial in analysis.trials] == ["cuda:0"] * 4
    assert {trial.last_result["share"] for trial in analysis.trials} == {0.5}


def _greedy(config):
    if config["x"] == 0:
        torch.empty(1 << 45, dtype=torch.uint8, device=tune.get_trial().device)
    return {"loss": torch.ones(10, device=tune.get_trial().device).sum().item()}


def test_memory_that_runs_out_is_told_and_survived(tmp_path):
    analysis = tune.run(
        _greedy, {"x": tune.grid_search([0, 1])}, metric="loss", mode="min", storage_path=tmp_path, verbose=0,
        resources_per_trial={"gpu": 1}, max_concurrent_trials=1, raise_on_failed_trial=False,
    )  # fmt: skip
    first, second = analysis.trials
    assert isinstance(first.error, OutOfMemory)
    assert second.last_result["loss"] == 10.0


def _generators(config):
    folder = tune.get_trial().dir
    device = tune.get_trial().device
    torch.rand(1, device=device)
    TorchCheckpoint().save(folder)
    drawn = torch.rand(4, device=device)
    TorchCheckpoint().load(folder)
    return {"loss": float((torch.rand(4, device=device) - drawn).abs().sum())}


def test_cudas_generators_are_restored(tmp_path):
    analysis = tune.run(
        _generators, {"x": 1}, metric="loss", mode="min", storage_path=tmp_path, resources_per_trial={"gpu": 1},
        verbose=0,
    )  # fmt: skip
    assert analysis.best_result["loss"] == 0.0


def _lightning(config):
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    from tuneflow_integrations.lightning import TuneCallback

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

        def training_step(self, batch, index):
            return self.net(batch[0]).square().mean()

        def validation_step(self, batch, index):
            self.log("val_loss", self.net(batch[0]).float().square().mean())
            self.log("on_gpu", float(self.device.type == "cuda"))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.1)

    tune.get_trial().seed_everything()
    callback = TuneCallback({"loss": "val_loss", "on_gpu": "on_gpu"})
    trainer = lightning.Trainer(
        max_epochs=4, devices=1, precision="16-mixed", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = TensorDataset(torch.randn(32, 4, generator=torch.Generator().manual_seed(0)))
    loaders = DataLoader(data, 8, shuffle=True), DataLoader(data, 32)
    callback.fit(trainer, Model(), train_dataloaders=loaders[0], val_dataloaders=loaders[1])


def test_lightning_on_a_gpu_resumes_identically(scripted, pause, tmp_path):
    pytest.importorskip("lightning")
    losses = []
    for name, script in (("whole", {}), ("paused", {(0, 2): pause})):
        analysis = tune.run(
            _lightning, {"x": 1}, metric="loss", mode="min", scheduler=scripted(script), name=name, verbose=0,
            storage_path=tmp_path, resources_per_trial={"gpu": 1}, seed=1,
        )  # fmt: skip
        results = next(iter(analysis.trial_dataframes.values()))
        assert set(results["on_gpu"]) == {1.0}
        losses.append(list(results["loss"]))
    assert losses[0] == losses[1]
