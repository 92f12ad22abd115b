"""When ASHA has its first fully trained trial (Li et al. 2020, arXiv 1810.05934, section 3.3).

    python benchmarks/papers/asha_timeline.py

Nine machines, r = 1, R = 9, eta = 3, and training takes as long as its resource says: ASHA returns the first trial
trained to R within 13/9 time(R) when promoted trials train from scratch, and within 1 time(R) when they resume.
"""

from __future__ import annotations

import sys
import warnings
from fractions import Fraction

import tuneflow as tune
from tuneflow.errors import TuneflowWarning
from tuneflow.pruners import ASHA

R = 9
PAPER = {"from scratch": Fraction(13, 9), "resumed": Fraction(1)}


def first_full(*, resumes: bool, seed: int = 0) -> Fraction:
    """Virtual time of the first report at R, as a multiple of time(R)."""
    moments: list[float] = []

    def curve(config: dict[str, float], step: int) -> float:
        if step == R:
            moments.append(executor.clock.monotonic())
        return config["loss"]

    executor = tune.SimulatedExecutor(9, curve, max_steps=R, checkpoints=resumes)
    study = tune.create_study(
        {"loss": tune.uniform(0, 1)}, sampler="random", seed=seed,
        pruner=ASHA(R, min_resource=1, reduction_factor=3, promote=True),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TuneflowWarning)  # trials without checkpoints start over: it is meant
        study.optimize(None, timeout=3 * R, executor=executor, show_progress_bar=False)
    return Fraction(min(moments)) / R


def main() -> int:
    print(f"{'promoted trials':16}{'paper':>12}{'ours':>12}  verdict")
    verdicts = []
    for name, paper in PAPER.items():
        ours = first_full(resumes=name == "resumed")
        verdicts.append("holds" if ours == paper else "missed")
        print(f"{name:16}{paper!s:>12}{ours!s:>12}  {verdicts[-1]}")
    print("times in units of time(R)")
    return 1 if "missed" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
