"""Population based training of a Lightning model on digits against its own members left alone: five seeds, paired.

It runs ``examples/lightning_pbt.py``: the same start, the same number of epochs, the same data for both. What counts is
the best validation loss at the end.
"""

from __future__ import annotations

import math
import os
import re
import statistics
import subprocess
import sys
import tempfile

import harness

EXAMPLE = harness.ROOT / "examples" / "lightning_pbt.py"
PATTERN = re.compile(r"^best (.+): loss ([\d.]+) after", re.MULTILINE)


def losses(seed: int, quick: bool) -> tuple[float, float]:
    """The best fixed member's loss, and the population's."""
    command = [sys.executable, str(EXAMPLE), "--seed", str(seed), *(["--quick"] if quick else [])]
    paths = [str(harness.ROOT), str(harness.ROOT / "integrations"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    fixed, population = (float(loss) for _, loss in PATTERN.findall(done.stdout))
    return fixed, population


def measure(report: harness.Report, quick: bool) -> None:
    pairs = [losses(seed, quick) for seed in range(2 if quick else 5)]
    gains = [fixed - population for fixed, population in pairs]
    for seed, (fixed, population) in enumerate(pairs):
        report.add(
            harness.note(
                f"seed {seed}: loss of the population, against the best fixed member", population, "", "fixed", fixed
            )
        )
    mean = statistics.mean(gains)
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    n_better = sum(gain > 0 for gain in gains)
    report.add(
        harness.at_least("seeds in which the population ends lower", n_better, math.ceil(0.8 * len(gains)), "seeds")
    )
    report.add(
        harness.at_least("mean gain in loss, in standard errors of the paired differences", mean / error, 2.0, "")
    )


if __name__ == "__main__":
    sys.exit(harness.main(measure))
