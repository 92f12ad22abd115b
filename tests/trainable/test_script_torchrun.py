"""A real distributed job of two processes as a trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tuneflow as tune

pytest.importorskip("torch")

TRAIN = """\
from pathlib import Path

import torch
import torch.distributed as dist

import tuneflow

dist.init_process_group("gloo")
trial = tuneflow.get_trial()
total, n = torch.zeros(1), 0
try:
    for n in range(1, 1000):
        share = trial.config["lr"] * (dist.get_rank() + 1) * torch.ones(1)
        dist.all_reduce(share)  # would hang, or fail, if one rank had left before the other
        total += share
        tuneflow.report(loss=total, rank=dist.get_rank())
finally:
    Path(trial.dir, f"left{dist.get_rank()}").write_text(str(n))
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_torchrun_rank_0_reports_and_all_ranks_stop(write: Callable[[str, str], Path]) -> None:
    write("train.py", TRAIN)
    analysis = tune.run(
        tune.script(["torchrun", "--standalone", "--nproc-per-node=2", "train.py"]), {"lr": 0.5},
        metric="loss", mode="min", storage_path="results", name="e", verbose=0, stop={"training_iteration": 3},
    )  # fmt: skip
    results = analysis.trials[0].results
    assert [(result["loss"], result["rank"]) for result in results] == [(1.5, 0), (3.0, 0), (4.5, 0)]
    assert [Path(f"results/e/00000/left{rank}").read_text() for rank in range(2)] == ["3", "3"]
