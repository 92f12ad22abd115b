"""A trial that ran out of memory: what becomes of it, and of the process that may still hold what it took."""

from __future__ import annotations

import os
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgument, OutOfMemory
from tuneflow.trainable.program_end import describe, ran_out_of_memory


class OutOfMemoryError(RuntimeError):
    """Named as torch's own."""


def run(trainable: Any, tmp_path, **given: Any) -> tune.ExperimentAnalysis:
    return tune.run(
        trainable, {"i": tune.grid_search([0, 1])}, metric="loss", mode="min", storage_path=tmp_path, name="oom",
        verbose=0, max_concurrent_trials=1, raise_on_failed_trial=False, **given,
    )  # fmt: skip


def too_much(config: dict[str, int]) -> None:
    tune.report(loss=1.0, pid=os.getpid())
    if config["i"] == 0 and tune.get_trial().attempt == 1:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    tune.report(loss=0.5, pid=os.getpid())


def pids(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["pid"] for trial in analysis.trials]


def test_it_fails_and_its_process_is_replaced(tmp_path) -> None:
    analysis = run(too_much, tmp_path)
    error = analysis.trials[0].error
    assert isinstance(error, OutOfMemory)
    assert "CUDA out of memory" in str(error)
    assert "Tried to allocate" in error.traceback_text
    assert analysis.trials[1].status == "TERMINATED"
    first, second = pids(analysis)
    assert first != second


def test_it_counts_as_pruned(tmp_path) -> None:
    analysis = run(too_much, tmp_path, on_oom="prune")
    assert analysis.trials[0].state == "PRUNED"
    assert analysis.trials[1].status == "TERMINATED"


def test_it_is_tried_again_in_another_process(tmp_path) -> None:
    analysis = run(too_much, tmp_path, on_oom="retry")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "TERMINATED"]
    rows = analysis.trials[0].results
    assert [row["loss"] for row in rows] == [1.0, 0.5]
    assert rows[0]["pid"] != rows[1]["pid"]


def always(config: dict[str, int]) -> None:
    raise MemoryError


def test_a_retry_that_runs_out_again_is_given_up(tmp_path) -> None:
    analysis = run(always, tmp_path, on_oom="retry")
    assert [type(trial.error) for trial in analysis.trials] == [OutOfMemory, OutOfMemory]


def test_what_to_do_is_checked(tmp_path) -> None:
    with pytest.raises(InvalidArgument, match="on_oom='panic' must be 'fail', 'prune' or 'retry'"):
        run(always, tmp_path, on_oom="panic")


MESSAGES = [
    "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    "CUDA driver error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.",
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_errors_whose_names_do_not_tell_are_known_by_what_they_say(message) -> None:
    error = RuntimeError(message)
    assert ran_out_of_memory(error)
    outer = ValueError("the model does not train")
    assert not ran_out_of_memory(outer)
    outer.__cause__ = error
    assert ran_out_of_memory(outer)
    line = f"RuntimeError: {message}".splitlines()[0]
    for prefix in ("", "[rank1]: ", "[rank0]: torch."):
        assert describe(1, [prefix + line], is_oom_likely=False)[1]
    assert not describe(1, [message.splitlines()[0]], is_oom_likely=False)[1]  # said, and perhaps survived


def test_other_errors_of_a_gpu_are_no_lack_of_memory() -> None:
    for text in (
        "CUDA error: device-side assert triggered",
        "no CUDA-capable device is detected",
        "out of memory cards",
    ):
        assert not ran_out_of_memory(RuntimeError(text))
    assert ran_out_of_memory(OSError(12, "Cannot allocate memory"))
    assert not ran_out_of_memory(OSError(28, "No space left on device"))
