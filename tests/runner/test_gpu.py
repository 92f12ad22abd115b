"""On a machine with a CUDA device: shares, isolation, and a driver that leaves the devices to its trials."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
        total = torch.cuda.mem_get_info()[1]
        while True:
            held.append(torch.empty(2**28, dtype=torch.uint8, device="cuda:0"))
            Path(config["file"]).write_text(str(len(held) * 2**28 / total))
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
        config={"greedy": tune.grid_search([True, False]), "file": str(tmp_path / "held")},
        resources_per_trial={"cpu": 1, "gpu": 0.5},
        raise_on_failed_trial=False,
    )
    greedy, modest = analysis.trials
    assert isinstance(greedy.error, OutOfMemory)
    assert modest.status == "TERMINATED"
    assert modest.last_result["training_iteration"] == 21
    # The greedy one was stopped at its half, and its process is gone with all that it held.
    assert 0.4 < float((tmp_path / "held").read_text()) <= 0.5
    assert modest.last_result["share_left"] > 0.6


def breaks(config):
    import torch

    rows = torch.ones(4, 1, device="cuda:0")
    tune.report(loss=1.0, pid=os.getpid())
    if config["how"] != "well":
        try:
            rows[torch.tensor([9], device="cuda:0")].sum().item()  # no such row: the kernel fails, and CUDA with it
        except RuntimeError:
            if config["how"] == "raised":
                raise
    else:
        tune.report(loss=float(rows.sum()), pid=os.getpid())


@pytest.mark.parametrize("how", ["raised", "caught"])
def test_a_kernel_that_failed_spoils_no_other_trial(how, tmp_path) -> None:
    analysis = run(
        breaks,
        tmp_path,
        config={"how": tune.grid_search([how, "well"])},
        resources_per_trial={"gpu": 1},
        max_concurrent_trials=1,
        raise_on_failed_trial=False,
    )
    broken, well = analysis.trials
    assert broken.status == ("ERROR" if how == "raised" else "TERMINATED")
    assert well.last_result["loss"] == 4.0
    assert broken.last_result["pid"] != well.last_result["pid"]


class Ring:
    """As a trainer and its model: nothing but the collector frees what it holds."""

    def __init__(self, held):
        self.me, self.held = self, held


def leaves_memory(config):
    import torch

    reserved = torch.cuda.memory_reserved()
    Ring(torch.ones(2**28, device="cuda:0"))  # 1 GiB
    return {"loss": 0.0, "pid": os.getpid(), "before": reserved, "after": torch.cuda.memory_reserved()}


def test_what_a_trial_left_on_its_gpu_is_freed_before_the_next(tmp_path) -> None:
    common = {"num_samples": 2, "max_concurrent_trials": 1, "resources_per_trial": {"gpu": 1}}
    first, second = [trial.last_result for trial in run(leaves_memory, tmp_path, **common).trials]
    assert first["pid"] == second["pid"]
    assert (first["before"], second["before"]) == (0, 0)
    assert first["after"] >= 2**30


DRIVER = """
import json, sys
from pathlib import Path
import tuneflow as tune

def holds_uvm():  # which CUDA opens, and NVML does not
    return any(path.is_symlink() and "nvidia-uvm" in str(path.readlink()) for path in Path("/proc/self/fd").iterdir())

def train(config):
    import torch
    loss = torch.ones(3, device=tune.get_trial().device).sum()
    tune.report(loss=loss)
    return {"loss": loss * 2}

if __name__ == "__main__":
    analysis = tune.run(
        train, metric="loss", mode="min", storage_path=sys.argv[1], resources_per_trial={"gpu": 1}, verbose=0
    )
    torch = sys.modules.get("torch")
    is_started = torch is not None and torch.cuda.is_initialized()
    rows = [row["loss"] for row in analysis.trials[0].results]
    print(json.dumps([rows, is_started or holds_uvm()]))
"""


def test_tensors_of_a_trial_start_no_cuda_in_the_driver(tmp_path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    line = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "results")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[3.0, 6.0], False]


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
    config = {"greedy": False, "file": ""}
    run(fills, tmp_path, config=config, resources_per_trial={"cpu": 1, "gpu": 1}, callbacks=[look])
    assert os.getpid() not in look.pids  # in a container these are ids of the machine's, or none
    torch = sys.modules.get("torch")
    assert torch is None or not torch.cuda.is_initialized()
