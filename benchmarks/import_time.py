"""How long ``import tuneflow`` takes in a fresh interpreter, against ``import optuna``."""

from __future__ import annotations

import statistics
import subprocess
import sys

import harness

LIMIT = 1 / 3
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def import_ms(module: str) -> float:
    """Milliseconds of the import statement alone, the interpreter's own start not counted."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module)], cwd=harness.ROOT, capture_output=True, text=True, check=True
    )
    return float(done.stdout) * 1000.0


def measure(report: harness.Report, quick: bool) -> None:
    repeats = 3 if quick else 9
    taken: dict[str, list[float]] = {"tuneflow": [], "optuna": []}
    for turn in range(-1, repeats):  # the first turn fills the file cache and writes the bytecode
        for module, values in taken.items():
            milliseconds = import_ms(module)
            if turn >= 0:
                values.append(milliseconds)
    ours, theirs = (statistics.median(taken[module]) for module in ("tuneflow", "optuna"))
    report.add(harness.against("import in a fresh interpreter", ours, "import optuna", theirs, LIMIT, "ms"))


if __name__ == "__main__":
    sys.exit(harness.main(measure))
