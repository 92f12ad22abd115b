"""A trial that ran out of memory: what becomes of it, and of the process that may still hold what it took."""

from __future__ import annotations

import os
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgument, OutOfMemory


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
