"""Workers of GPU trials, on a machine that has none: names of devices are believed, and CUDA is played."""

from __future__ import annotations

import os
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.runner import leftovers
from tuneflow.runner.events import pack_event
from tuneflow.runner.pool import Pool
from tuneflow.trainable.messages import Finished


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    yield
    tune.shutdown_workers()


def run(trainable: Any, tmp_path, **given: Any) -> tune.ExperimentAnalysis:
    given = {"resources_per_trial": {"gpu": 1}, **given}
    return tune.run(
        trainable, {"i": tune.grid_search([0, 1])}, metric="loss", mode="min", storage_path=tmp_path, verbose=0,
        max_concurrent_trials=1, raise_on_failed_trial=False, **given,
    )  # fmt: skip


def pids(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["pid"] for trial in analysis.trials]


def fails(config):
    tune.report(loss=1.0, pid=os.getpid())
    if config["i"] == 0:
        raise RuntimeError("CUDA error: device-side assert triggered")


def test_a_process_that_failed_on_a_gpu_runs_no_other_trial(tmp_path) -> None:
    analysis = run(fails, tmp_path)
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    first, second = pids(analysis)
    assert first != second


class _Cuda:
    """As ``torch.cuda`` after a kernel has failed."""

    def __init__(self, *, is_broken: bool) -> None:
        self.is_broken = is_broken
        self.n_emptied = 0

    def is_initialized(self) -> bool:
        return True

    def synchronize(self) -> None:
        if self.is_broken:
            raise RuntimeError("CUDA error: device-side assert triggered")

    def empty_cache(self) -> None:
        self.n_emptied += 1


def catches(config):
    sys.modules["torch"] = SimpleNamespace(cuda=_Cuda(is_broken=config["i"] == 0), Tensor=(), nn=None)
    tune.report(loss=1.0, pid=os.getpid())


def test_a_broken_cuda_ends_with_its_trial_though_that_has_caught_the_error(tmp_path) -> None:
    analysis = run(catches, tmp_path)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "TERMINATED"]
    first, second = pids(analysis)
    assert first != second


class Ring:
    """As a trainer and its model: nothing but the collector frees them."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        freed.append(1)


freed: list[int] = []


def leaves_a_ring(config):
    import gc

    gc.disable()  # which would come by itself, sooner or later
    Ring()
    tune.report(loss=1.0, pid=os.getpid(), freed=len(freed))


def test_what_a_trial_left_on_its_gpu_is_freed_before_the_next(tmp_path) -> None:
    analysis = run(leaves_a_ring, tmp_path)
    first, second = pids(analysis)
    assert first == second
    assert [trial.last_result["freed"] for trial in analysis.trials] == [0, 1]


def test_cuda_is_looked_at_only_where_it_was_started(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not leftovers.is_cuda_broken()
    for is_broken in (False, True):
        cuda = _Cuda(is_broken=is_broken)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        assert leftovers.is_cuda_broken() == is_broken
        leftovers.clear()
        assert cuda.n_emptied == 1
        monkeypatch.setattr(cuda, "is_initialized", lambda: False)
        assert not leftovers.is_cuda_broken()


def says(config):
    return {"loss": 0.0, "pid": os.getpid()}


def test_idle_workers_leave_a_gpu_that_another_kind_is_to_use() -> None:
    pool = Pool()
    halves = (("CUDA_VISIBLE_DEVICES", "GPU-a"), ("TUNEFLOW_GPU_FRACTION", "0.5"))
    try:
        first, second, elsewhere = pool.take(halves), pool.take(halves), pool.take((("CUDA_VISIBLE_DEVICES", "GPU-b"),))
        for worker in (first, second, elsewhere):
            pool.put_back(worker)
        pool.put_back(pool.take((("CUDA_VISIBLE_DEVICES", "GPU-a"),)))
        assert first.process.wait(10) == 0
        assert second.process.wait(10) == 0
        assert elsewhere.is_alive
    finally:
        pool.shutdown()


class _Tensor:
    """As a tensor: read from a pickle where it lies on a GPU, it starts CUDA."""

    def __init__(self, kind: str) -> None:
        self.device = SimpleNamespace(type=kind)

    def detach(self) -> _Tensor:
        return self

    def cpu(self) -> _Tensor:
        return _Tensor("cpu")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (_read, (self.device.type,))


def _read(kind: str) -> str:
    if kind != "cpu":
        raise AssertionError("this would have started CUDA")
    return kind


class _Parameter(_Tensor):
    pass


@pytest.mark.parametrize("beside", [None, lambda: None], ids=["plain", "by value"])
def test_a_tensor_crosses_to_the_driver_in_host_memory(monkeypatch, beside) -> None:
    torch = SimpleNamespace(cuda=_Cuda(is_broken=False), Tensor=_Tensor, nn=SimpleNamespace(Parameter=_Parameter))
    monkeypatch.setitem(sys.modules, "torch", torch)
    event = Finished(0, 1, {"loss": _Tensor("cuda"), "here": _Tensor("cpu"), "beside": beside}, False, "config")
    value = pickle.loads(pack_event(event)).value
    assert (value["loss"], value["here"]) == ("cpu", "cpu")
