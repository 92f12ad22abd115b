"""On a machine with a CUDA device: shares, isolation, and a driver that leaves the devices to its trials."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import tuneflow as tune
from tuneflow.errors import OutOfMemory

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def fresh_workers():
    yield
    tune.shutdown_workers()  # nothing keeps a device between tests


def run(trainable, tmp_path, **given):
    given = {"metric": "loss", "mode": "min", "storage_path": tmp_path, "name": "gpu", "verbose": 0, **given}
    return tune.run(trainable, **given)


def meets(config):
    """Says that it is on the device, and waits until the other is."""
    import torch

    trial = tune.get_trial()
    held = torch.ones(1000, device=trial.device)
    folder = Path(config["folder"])
    (folder / trial.trial_id).touch()
    limit = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > limit:
            raise TimeoutError("the other trial did not come: they do not run at once")
        time.sleep(0.05)
    return {
        "loss": float(held.sum()),
        "device": os.environ["CUDA_VISIBLE_DEVICES"],
        "n_visible": torch.cuda.device_count(),
    }


def test_two_halves_share_a_device_and_run_at_once(tmp_path) -> None:
    (tmp_path / "here").mkdir()
    config = {"folder": str(tmp_path / "here")}
    analysis = run(meets, tmp_path, config=config, num_samples=2, resources_per_trial={"cpu": 1, "gpu": 0.5})
    results = [trial.last_result for trial in analysis.trials]
    assert [result["loss"] for result in results] == [1000.0, 1000.0]
    assert len({result["device"] for result in results}) == 1
    assert {result["n_visible"] for result in results} == {1}


def fills(config):
    import torch

    if config["greedy"]:
        held = []
        while True:
            held.append(torch.empty(2**28, dtype=torch.uint8, device="cuda:0"))
    tensor = torch.ones(1000, device="cuda:0")
    for step in range(20):
        time.sleep(0.1)
        tune.report(loss=float(tensor.sum()) / (step + 1))
    free, total = torch.cuda.mem_get_info()
    tune.report(loss=0.0, share_left=free / total)


def test_out_of_memory_in_one_trial_leaves_the_other_alone(tmp_path) -> None:
    analysis = run(
        fills,
        tmp_path,
        config={"greedy": tune.grid_search([True, False])},
        resources_per_trial={"cpu": 1, "gpu": 0.5},
        raise_on_failed_trial=False,
    )
    greedy, modest = analysis.trials
    assert isinstance(greedy.error, OutOfMemory)
    assert modest.status == "TERMINATED"
    assert modest.last_result["training_iteration"] == 21
    # The greedy one was stopped at its half, and its process is gone with all that it held.
    assert modest.last_result["share_left"] > 0.4


def sees_nothing(config):
    import torch

    return {"loss": float(torch.cuda.device_count()), "visible": os.environ["CUDA_VISIBLE_DEVICES"]}


def test_a_trial_without_a_gpu_sees_none(tmp_path) -> None:
    analysis = run(sees_nothing, tmp_path)
    assert (analysis.best_result["loss"], analysis.best_result["visible"]) == (0.0, "")


def test_the_driver_holds_no_context(tmp_path) -> None:
    pynvml = pytest.importorskip("pynvml")

    class Look(tune.Callback):
        pids: set[int] = set()

        def on_trial_report(self, trial, result):
            pynvml.nvmlInit()
            for index in range(pynvml.nvmlDeviceGetCount()):
                device = pynvml.nvmlDeviceGetHandleByIndex(index)
                self.pids |= {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)}
            pynvml.nvmlShutdown()

    look = Look()
    config = {"greedy": False}
    run(fills, tmp_path, config=config, resources_per_trial={"cpu": 1, "gpu": 1}, callbacks=[look])
    assert os.getpid() not in look.pids
    import sys

    torch = sys.modules.get("torch")
    assert torch is None or not torch.cuda.is_initialized()
