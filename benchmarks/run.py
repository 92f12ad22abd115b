"""Runs every benchmark in a process of its own, one after the other, and prints one table of all floors.

Usage: ``python benchmarks/run.py [--quick] [NAME ...]``. Each result goes to ``benchmarks/results/NAME.json``; the exit
status is 1 if a floor was missed or a benchmark failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import harness

NOT_BENCHMARKS = {"harness", "run", "workloads"}


def names() -> list[str]:
    here = Path(__file__).resolve().parent
    return sorted(path.stem for path in here.glob("*.py") if path.stem not in NOT_BENCHMARKS)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="fewer sizes and repeats, for a look")
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(names())}")
    given = arguments.parse_args()
    if unknown := sorted(set(given.names) - set(names())):
        arguments.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(names())}")

    rows: list[dict[str, object]] = []
    failed = []
    for name in given.names or names():
        print(f"== {name}", flush=True)
        result = harness.RESULTS / f"{name}.json"
        result.unlink(missing_ok=True)
        start = time.perf_counter()
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *(["--quick"] if given.quick else [])]
        status = subprocess.run(command, check=False).returncode
        print(f"   {time.perf_counter() - start:.0f} s\n", flush=True)
        if result.exists():
            rows += json.loads(result.read_text(encoding="utf-8"))["rows"]
        else:
            failed.append(f"{name} (status {status})")

    facts = harness.machine_facts()
    print(f"{facts['cores']} cores, {facts['cpu']}, Python {facts['python']}, {facts['versions']}\n")
    print(harness.rows_table(rows))
    missed = [row["claim"] for row in rows if row["verdict"] == "missed"]
    for text, items in (("floors missed", missed), ("benchmarks that failed", failed)):
        if items:
            print(f"\n{len(items)} {text}: {'; '.join(map(str, items))}")
    return 1 if missed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
