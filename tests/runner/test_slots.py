from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuneflow as tune
from tuneflow.errors import InvalidArgument, ResourcesUnavailable
from tuneflow.runner import gpus, resources
from tuneflow.runner.gpus import find_gpus, visible_names
from tuneflow.runner.resources import Resources, check_fits, machine, request_from, times_in_shares
from tuneflow.runner.slots import Slots, worker_environment


def test_halves_of_different_devices_make_no_whole_one() -> None:
    slots = Slots(Resources(cpu=8, gpu=2))
    first, second = slots.take(Resources(gpu=0.6)), slots.take(Resources(gpu=0.6))
    assert (first.devices, second.devices) == ((0,), (1,))
    free = slots.free()
    assert free.times_that_fit(Resources(gpu=1)) == 0
    assert free.times_that_fit(Resources(gpu=0.4)) == 2
    assert free.times_that_fit(Resources(gpu=0.5)) == 0
    slots.give_back(first)
    assert slots.take(Resources(gpu=1)).devices == (0,)


def test_a_fraction_fills_a_device_up_before_it_opens_another() -> None:
    slots = Slots(Resources(cpu=8, gpu=3))
    assert [slots.take(Resources(gpu=0.5)).devices for _ in range(3)] == [(0,), (0,), (1,)]
    assert slots.take(Resources(gpu=1)).devices == (2,)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0, 0.25, 0.3, 1 / 3, 0.5, 1, 2]), st.integers(0, 9))))
def test_devices_are_never_overbooked_and_come_back_whole(steps: list[tuple[bool, float, int]]) -> None:
    slots = Slots(Resources(cpu=1000, gpu=3))
    held = []
    for gives, gpu, which in steps:
        request = Resources(cpu=1, gpu=gpu)
        if gives and held:
            slots.give_back(held.pop(which % len(held)))
        elif slots.free().times_that_fit(request):
            held.append(slots.take(request))
        for device in range(3):
            assert sum(min(1, t.request.gpu) for t in held if device in t.devices) <= 1 + 1e-6
        for taken in held:
            assert len(taken.devices) == (0 if taken.request.gpu == 0 else max(1, int(taken.request.gpu)))
    for taken in held:
        slots.give_back(taken)
    assert slots.free().times_that_fit(Resources(cpu=1, gpu=1)) == 3
    assert slots.free().cpu == 1000


def test_memory_is_counted_where_a_trial_asks_for_it() -> None:
    slots = Slots(Resources(cpu=8, memory_bytes=10e9))
    slots.take(Resources(memory_bytes=4e9))
    assert slots.free().times_that_fit(Resources(memory_bytes=4e9)) == 1
    assert slots.free().times_that_fit(Resources()) == 7
    assert times_in_shares((), 0.5) == 0


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0,1", ("0", "1")),
        ("1", ("1",)),
        ("0,-1,1", ("0",)),
        ("0,7,1", ("0",)),
        ("", ()),
        ("GPU-aaa1,GPU-bbb", ("GPU-aaa1", "GPU-bbb")),
        ("GPU-a,GPU-bbb", ()),
        ("MIG-ccc", ("MIG-ccc",)),
        ("MIG-GPU-aaa1/1/0,MIG-GPU-aaa1", ("MIG-GPU-aaa1/1/0",)),
        ("1,1", ("1",)),
        (" 0 , 1 ", ("0", "1")),
        ("nonsense,0", ()),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible: str, names: tuple[str, ...]) -> None:
    assert visible_names(visible, ["GPU-aaa1", "GPU-aaa2", "GPU-bbb", "MIG-ccc"], 3) == names


def test_without_a_list_of_devices_every_entry_is_believed() -> None:
    assert visible_names("3,GPU-x", None) == ("3", "GPU-x")


@pytest.mark.parametrize("visible", ["none", "NoDevFiles", "-1", "--1", "all"])
def test_what_hides_all_devices_names_none(visible: str) -> None:
    assert visible_names(visible, None) == ()
    assert visible_names(f"0,{visible},1", None) == ("0",)


class _Nvml:
    """Two GPUs of which the second is split in two, as NVML answers."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.n_open = 0

    def nvmlInit(self) -> None:
        self.n_open += 1

    def nvmlShutdown(self) -> None:
        self.n_open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"gpu{index}"

    def nvmlDeviceGetMigMode(self, device: str) -> tuple[int, int]:
        if device == "gpu0":
            raise self.NVMLError("not supported")
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, device: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: str, index: int) -> str:
        if index > 1:
            raise self.NVMLError("not found")
        return f"{device}.{index}"

    def nvmlDeviceGetUUID(self, device: str) -> bytes | str:
        return {"gpu0": b"GPU-0", "gpu1": "GPU-1", "gpu1.0": "MIG-0", "gpu1.1": "MIG-1"}[device]


def test_devices_are_listed_by_uuid_and_mig_instances_in_place_of_their_device(monkeypatch) -> None:
    nvml = _Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert find_gpus({}).names == ("GPU-0", "MIG-0", "MIG-1")
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "MIG-1,0"}).names == ("MIG-1", "0")
    assert find_gpus({"CUDA_VISIBLE_DEVICES": ""}).names == ()
    assert nvml.n_open == 0


class _Refusing(_Nvml):
    """Four GPUs: one that is kept from this process, one that was lost, one in MIG mode without an instance."""

    def nvmlDeviceGetCount(self) -> int:
        return 4

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index == 1:
            raise self.NVMLError("Insufficient Permissions")
        return f"gpu{index}"

    def nvmlDeviceGetMigMode(self, device: str) -> tuple[int, int]:
        return int(device == "gpu3"), 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: str, index: int) -> str:
        raise self.NVMLError("Not Found")

    def nvmlDeviceGetUUID(self, device: str) -> str:
        if device == "gpu2":
            raise self.NVMLError("GPU is lost")
        return device.replace("gpu", "GPU-")


def test_devices_that_cannot_be_used_are_left_out_and_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _Refusing())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine().gpu == 1
    found = find_gpus({})
    assert found.names == ("GPU-0",)
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "0,1,2"}).names == ("0", "1")  # CUDA counts the two that answer
    with pytest.raises(ResourcesUnavailable, match=r"device 1 .*Permissions; device 2 .*lost; device 3 .*no instance"):
        check_fits(Resources(gpu=2), machine())


def test_a_driver_that_answers_and_lists_nothing_stops_no_run(monkeypatch) -> None:
    nvml = _Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)

    def refuse() -> int:
        raise nvml.NVMLError("Unknown Error")

    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", refuse)
    assert find_gpus({}) == ((), "NVIDIA's driver does not list its devices: Unknown Error")
    assert nvml.n_open == 0


def test_mig_instances_make_no_larger_device(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _Nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert check_fits(Resources(gpu=1), machine()) >= 1
    with pytest.raises(ResourcesUnavailable, match="CUDA shows a process no more than one instance; ask for gpu=1"):
        check_fits(Resources(gpu=2), machine())


def test_a_machine_without_nvml_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ResourcesUnavailable, match=r"1 GPU, but there is only .* 0 GPU.*tuneflow\[gpu\]"):
        check_fits(Resources(gpu=1), Resources(cpu=4))


def test_the_environment_of_a_worker() -> None:
    found = dict(worker_environment(Resources(cpu=3, gpu=0.5), ["GPU-1"]))
    assert found["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert found["OMP_NUM_THREADS"] == "3"
    assert float(found["TUNEFLOW_GPU_FRACTION"]) == 0.5
    found = dict(worker_environment(Resources(cpu=0.5), [], ["OMP_NUM_THREADS"]))
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert "OMP_NUM_THREADS" not in found
    assert found["MKL_NUM_THREADS"] == "1"
    assert "TUNEFLOW_GPU_FRACTION" not in found


def test_resources_per_trial_is_checked() -> None:
    assert request_from({"cpu": 2, "memory_bytes": 1e9}).as_dict() == {"cpu": 2.0, "gpu": 0.0, "memory_bytes": 1e9}
    assert request_from({"gpu": 1}).as_dict() == {"cpu": 1.0, "gpu": 1.0}
    with pytest.raises(InvalidArgument, match="unknown entries ram; known are cpu, gpu, memory_bytes"):
        request_from({"ram": 1})
    with pytest.raises(InvalidArgument, match="fraction below 1 or a whole number"):
        request_from({"gpu": 1.5})
    assert machine().memory_bytes > 1e8


def test_more_than_the_machine_has_is_refused_before_anything_runs(tmp_path) -> None:
    with pytest.raises(ResourcesUnavailable, match="a trial asks for 1000 CPU, 0 GPU, but there is only"):
        tune.run(lambda config: 1, metric="loss", mode="min", resources_per_trial={"cpu": 1000}, storage_path=tmp_path)
    assert not list(tmp_path.iterdir())


def seen(config):
    import os

    import torch

    trial = tune.get_trial()
    return {
        "loss": 0.0,
        "devices": os.environ["CUDA_VISIBLE_DEVICES"],
        "threads": torch.get_num_threads(),
        "device": trial.device,
        "gpu": trial.resources["gpu"],
        "fraction": os.environ.get("TUNEFLOW_GPU_FRACTION", ""),
    }


def test_each_worker_sees_its_own_devices_and_threads(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(gpus.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(resources, "cpu_quota", lambda: None)
    common = {"metric": "loss", "mode": "min", "storage_path": tmp_path, "verbose": 0, "num_samples": 2}
    whole = tune.run(seen, name="whole", resources_per_trial={"cpu": 2, "gpu": 1}, **common)
    found = [trial.last_result for trial in whole.trials]
    assert {result["devices"] for result in found} <= {"GPU-a", "GPU-b"}
    assert {(result["threads"], result["device"], result["fraction"]) for result in found} == {(2, "cuda:0", "")}
    half = tune.run(seen, name="half", resources_per_trial={"cpu": 1, "gpu": 0.5}, **common)
    assert [trial.last_result["fraction"] for trial in half.trials] == ["0.5", "0.5"]
    none = tune.run(seen, name="none", **common)
    assert {(trial.last_result["devices"], trial.last_result["device"]) for trial in none.trials} == {("", "cpu")}
    tune.shutdown_workers()


def runs(config):
    return {"loss": 0.0, "runs": [os.environ.get("MLFLOW_RUN_ID"), os.environ.get("WANDB_RUN_ID")]}


def test_trials_do_not_write_into_the_drivers_own_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "mine")
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    analysis = tune.run(runs, metric="loss", mode="min", storage_path=tmp_path, verbose=0)
    assert analysis.best_result["runs"] == [None, None]


def test_torch_is_limited_when_it_is_imported(monkeypatch) -> None:
    from tuneflow import gpu_share

    calls = []
    cuda = SimpleNamespace(
        _lazy_call=lambda call: call(), set_per_process_memory_fraction=lambda *given: calls.append(given)
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    gpu_share.limit_memory()
    assert calls == []
    monkeypatch.setenv("TUNEFLOW_GPU_FRACTION", "0.25")
    gpu_share.limit_memory()
    assert calls == [(0.25, 0)]


def limited(config):
    import importlib.util

    for _ in range(2):  # as libraries do that only want to know whether it is there
        assert importlib.util.find_spec("torch").loader.get_filename("torch")
    import torch

    queued = [call for call, _ in torch.cuda._queued_calls] if hasattr(torch.cuda, "_queued_calls") else []
    return {"loss": float(len(queued)), "origin": torch.__spec__.loader.__class__.__name__}


def test_a_shared_gpu_worker_imports_torch_as_always(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    common = {"metric": "loss", "mode": "min", "storage_path": tmp_path, "verbose": 0}
    shared = tune.run(limited, name="shared", resources_per_trial={"gpu": 0.5}, **common)
    plain = tune.run(limited, name="plain", **common)
    assert shared.trials[0].last_result["origin"] == "SourceFileLoader"
    assert shared.best_result["loss"] == plain.best_result["loss"] + 1
    tune.shutdown_workers()


PROGRAM = """
import torch
before = len(torch.cuda._queued_calls)
import tuneflow
tuneflow.report(loss=len(torch.cuda._queued_calls) - before)
"""


def test_a_program_that_imports_tuneflow_is_limited_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    (tmp_path / "train.py").write_text(PROGRAM)
    common = {"metric": "loss", "mode": "min", "storage_path": tmp_path, "verbose": 0}
    program = tune.script(tmp_path / "train.py")
    shared = tune.run(program, name="shared", resources_per_trial={"gpu": 0.5}, **common)
    whole = tune.run(program, name="whole", resources_per_trial={"gpu": 1}, **common)
    assert (shared.best_result["loss"], whole.best_result["loss"]) == (1, 0)
    tune.shutdown_workers()


def asked(config):
    trial = tune.get_trial()
    return {"loss": config["x"], "device": trial.device, "cpu": trial.resources["cpu"]}


def test_the_same_resources_are_there_inline_one_trial_at_a_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda pid: set(range(2)), raising=False)
    monkeypatch.setattr(resources, "cpu_quota", lambda: None)
    common = {"metric": "loss", "mode": "min", "storage_path": tmp_path, "verbose": 0, "executor": "inline"}
    one = tune.run(asked, {"x": 1}, resources_per_trial={"cpu": 2, "gpu": 1}, **common)
    assert (one.best_result["device"], one.best_result["cpu"]) == ("cuda:0", 2)
    with pytest.raises(ResourcesUnavailable, match="asks for 1 CPU, 2 GPU, but there is only 2 CPU, 1 GPU"):
        tune.run(asked, {"x": 1}, resources_per_trial={"gpu": 2}, **common)
    space = {"x": tune.uniform(0, 1)}
    small = {"resources_per_trial": {"cpu": 0.5}, "num_samples": 4, "deterministic": True}
    assert [trial.status for trial in tune.run(asked, space, **small, **common).trials] == ["TERMINATED"] * 4
