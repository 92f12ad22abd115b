"""On a machine with a CUDA device: where trials land, what sharing a GPU gains, AMP that resumes, memory that runs out.

Without a device nothing is measured, and the report says so. Training steps are small, so that a single trial leaves
most of the GPU idle: that is when sharing pays.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import harness

import tuneflow as tune
from tuneflow.errors import OutOfMemory
from tuneflow.pruners import Continue, Pause, Pruner
from tuneflow.runner.resources import machine


class PausesOnce(Pruner):
    """Pauses trial 0 at ``step``; it goes on at once."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._paused: int | None = None

    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        if trial == 0 and step == self._step:
            self._paused = trial
            return Pause()
        return Continue()

    def next_resume(self, more: bool = True) -> int | None:
        trial, self._paused = self._paused, None
        return trial


def train(config: dict[str, Any]) -> None:
    """A small network on random data; float16 with a scaler where ``amp`` is set."""
    import torch
    from torch import nn

    from tuneflow_integrations.torch import MixedPrecision, epochs

    trial = tune.get_trial()
    trial.seed_everything()
    device = torch.device(trial.device)
    model = nn.Sequential(nn.Linear(64, 128), nn.Dropout(0.1), nn.ReLU(), nn.Linear(128, 64)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    precision = MixedPrecision(device, "float16" if config["amp"] else "float32", growth_interval=20)
    inputs = torch.randn(256, 64, device=device)
    for epoch in epochs(None, config["n_epochs"], model=model, optimizer=optimizer, precision=precision):
        for _ in range(config["n_steps"]):
            with precision.autocast():
                loss = (model(inputs) - inputs).square().mean()
            precision.step(loss, optimizer)
        weights = sum(parameter.double().abs().sum().item() for parameter in model.parameters())
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        epoch.report(loss=loss, weights=weights, device=str(loss.device), visible=visible)


def greedy(config: dict[str, Any]) -> dict[str, float]:
    """Takes more memory than any device has, where ``x`` is 0."""
    import torch

    device = tune.get_trial().device
    if config["x"] == 0:
        torch.empty(1 << 45, dtype=torch.uint8, device=device)  # 32 TiB
    return {"loss": float(torch.ones(1000, device=device).sum())}


def run(folder: Path, name: str, n_trials: int, gpu: float, **config: Any) -> tuple[float, Any]:
    """Seconds, and the analysis."""
    space = {"amp": False, "n_epochs": 3, "n_steps": 100, **config}
    start = time.perf_counter()
    analysis = tune.run(
        train, space, metric="loss", mode="min", num_samples=n_trials, search_alg="random", name=name,
        storage_path=folder, resources_per_trial={"cpu": 1, "gpu": gpu}, verbose=0, seed=0,
    )  # fmt: skip
    return time.perf_counter() - start, analysis


def landed(analysis: Any) -> list[tuple[str, str]]:
    """Of each trial the device it computed on, and what it could see."""
    return [(trial.last_result["device"], str(trial.last_result["visible"])) for trial in analysis.trials]


def measure(report: harness.Report, quick: bool) -> None:
    n_gpus = int(machine().gpu)
    if n_gpus == 0:
        report.remark("no CUDA device here: nothing was measured")
        return
    warnings.simplefilter("ignore")
    n_trials, n_steps = (4, 200) if quick else (8, 2000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = landed(run(folder, "devices", 2 * n_gpus, 1.0)[1])
        on_gpu = sum(device == "cuda:0" for device, _ in where)
        report.add(harness.at_least("trials of one GPU each that computed on cuda:0", on_gpu, len(where), "trials"))
        report.add(harness.at_least("devices used by them", len({seen for _, seen in where}), n_gpus, "devices"))

        times = {}
        for share in (1.0, 0.25):
            run(folder, f"warm {share}", 4 * n_gpus, share)  # workers have imported torch and started CUDA
            times[share] = run(folder, f"share {share}", n_trials * n_gpus, share, n_steps=n_steps)[0]
        report.add(harness.note(f"{n_trials} small trainings per GPU, one after another", times[1.0], "s"))
        report.add(harness.note(f"{n_trials} small trainings per GPU, four at a time", times[0.25], "s"))
        report.add(harness.at_least("sooner, four at a time on quarters", times[1.0] / times[0.25], 1.2, "x"))

        weights = []
        for step in (0, 2):
            analysis = tune.run(
                train, {"amp": True, "n_epochs": 4, "n_steps": 50}, metric="loss", mode="min", name=f"amp {step}",
                scheduler=PausesOnce(step), storage_path=folder, resources_per_trial={"gpu": 1}, verbose=0, seed=0,
            )  # fmt: skip
            weights.append(analysis.trials[0].last_result["weights"])
        report.add(
            harness.at_most("float16, paused and resumed: weights differ by", abs(weights[0] - weights[1]), 0.0, "")
        )

        analysis = tune.run(
            greedy, {"x": tune.grid_search([0, 1])}, metric="loss", mode="min", name="memory", storage_path=folder,
            resources_per_trial={"gpu": 1}, max_concurrent_trials=1, raise_on_failed_trial=False, verbose=0,
        )  # fmt: skip
        errors = [trial.error for trial in analysis.trials]
        told = isinstance(errors[0], OutOfMemory)
        report.add(harness.at_least("memory that runs out is told as OutOfMemory", float(told), 1.0, ""))
        report.add(harness.at_least("and the trial after it runs", float(errors[1] is None), 1.0, ""))
    tune.shutdown_workers()


if __name__ == "__main__":
    sys.exit(harness.main(measure))
