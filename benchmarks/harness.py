"""What the benchmarks share: timing, peers in their own environment, floors and the report. Standard library only.

A benchmark is a script ``benchmarks/NAME.py`` that ends like this::

    if __name__ == "__main__":
        sys.exit(harness.main(measure))

where ``measure(report, quick)`` adds rows. It can be run alone (``python benchmarks/NAME.py [--quick]``) and with all
the others (``make bench``). A floor that is missed makes the exit status 1.

A peer's side is a script ``benchmarks/peers/NAME.py`` that ends with ``harness.reply(figures)``. It runs in the peers'
environment; by hand: ``PYTHONPATH=benchmarks .venv-bench/bin/python benchmarks/peers/NAME.py``.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ROOT / "benchmarks" / "peers"
ENVIRONMENTS = {"bench": ROOT / ".venv-bench", "syne013": ROOT / ".venv-bench-syne013"}
LIBRARIES = (
    "tuneflow",
    "optuna",
    "ray",
    "syne-tune",
    "keras-tuner",
    "keras",
    "torch",
    "numpy",
    "pandas",
    "scikit-learn",
)
_REPLY = "TUNEFLOW_BENCH_REPLY"

Verdict = Literal["holds", "missed", "no peer", "for information"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One claim, what has to hold for it, and what was measured.

    Attributes:
        claim: what is claimed, with its conditions ("ASHA, decision at 100,000 known trials").
        floor: what has to hold, in words.
        measured: ours, in ``unit``; None where it could not be measured.
        unit: of ``measured`` and ``peer_value``.
        peer: name of the system compared with.
        peer_value: its value; None where there is none, or it is not installed.
        verdict: whether the floor holds.
    """

    claim: str
    floor: str
    measured: float | None
    unit: str
    verdict: Verdict
    peer: str | None = None
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's: below 1 is less than theirs."""
        if self.measured is None or not self.peer_value:
            return None
        return self.measured / self.peer_value


def at_most(claim: str, measured: float, limit: float, unit: str) -> Row:
    """A floor that stands alone: ``measured`` must not exceed ``limit``."""
    verdict: Verdict = "holds" if measured <= limit else "missed"
    return Row(claim=claim, floor=f"<= {limit:g} {unit}".rstrip(), measured=measured, unit=unit, verdict=verdict)


def at_least(claim: str, measured: float, limit: float, unit: str) -> Row:
    """A floor that stands alone: ``measured`` must reach ``limit``."""
    verdict: Verdict = "holds" if measured >= limit else "missed"
    return Row(claim=claim, floor=f">= {limit:g} {unit}".rstrip(), measured=measured, unit=unit, verdict=verdict)


def against(claim: str, measured: float, peer: str, peer_value: float | None, limit: float, unit: str) -> Row:
    """A floor against a peer: ours must not exceed ``limit`` times theirs. Without the peer there is no verdict."""
    verdict: Verdict = "no peer"
    if peer_value is not None:
        verdict = "holds" if measured <= limit * peer_value else "missed"
    floor = f"<= {limit:.3g} x {peer}"
    return Row(
        claim=claim, floor=floor, measured=measured, unit=unit, verdict=verdict, peer=peer, peer_value=peer_value
    )


def note(claim: str, measured: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> Row:
    """A figure without a floor."""
    return Row(
        claim=claim, floor="", measured=measured, unit=unit, verdict="for information", peer=peer, peer_value=peer_value
    )


@dataclass(slots=True)
class Report:
    """What one benchmark found. ``series`` holds whole curves, by title: a list of sizes and one list per system."""

    name: str
    is_quick: bool = False
    rows: list[Row] = field(default_factory=list)
    series: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, *rows: Row) -> None:
        self.rows.extend(rows)

    def curve(self, title: str, sizes: Sequence[int], values: Mapping[str, Sequence[float | None]]) -> None:
        """Keeps and prints a curve per system. None in ``values`` stands for a size that was not measured."""
        self.series[title] = {"sizes": list(sizes), **{name: list(column) for name, column in values.items()}}

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    @property
    def is_good(self) -> bool:
        return all(row.verdict != "missed" for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.name,
            "quick": self.is_quick,
            "seconds": round(self.seconds, 1),
            "machine": machine_facts(),
            "rows": [{**dataclasses.asdict(row), "ratio": row.ratio} for row in self.rows],
            "series": self.series,
            "remarks": self.remarks,
        }

    def write(self, folder: Path = RESULTS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
        return path

    def text(self) -> str:
        parts = [rows_table(self.rows)]
        for title, columns in self.series.items():
            names = [name for name in columns if name != "sizes"]
            lines = [
                [f"{size:,}", *[number(columns[name][i]) for name in names]] for i, size in enumerate(columns["sizes"])
            ]
            parts.append(f"{title}\n{table(['n', *names], lines)}")
        if self.remarks:
            parts.append("\n".join(self.remarks))
        return "\n\n".join(parts)


def rows_table(rows: Sequence[Row | Mapping[str, Any]]) -> str:
    """The rows (or what a result file holds of them) as a table of text."""
    lines = []
    for row in rows:
        cell = row if isinstance(row, Mapping) else {**dataclasses.asdict(row), "ratio": row.ratio}
        peer_value = number(cell["peer_value"]) if cell["peer_value"] is not None else "not installed"
        lines.append(
            [
                cell["claim"],
                cell["floor"],
                f"{number(cell['measured'])} {cell['unit']}".strip(),
                f"{peer_value} ({cell['peer']})" if cell["peer"] else "",
                f"{cell['ratio']:.3g}" if cell["ratio"] is not None else "",
                cell["verdict"],
            ]
        )
    return table(["claim", "floor", "measured", "peer", "ratio", "verdict"], lines)


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    drawn = [header, ["-" * width for width in widths], *lines]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in drawn
    )


def number(value: float | None) -> str:
    """Three significant digits, thousands separated; empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def seconds_of(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call, without the garbage of what ran before."""
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_seconds(call: Callable[[], Any], *, repeats: int = 9, warm_up: int = 1) -> float:
    """Median wall-clock seconds of ``repeats`` calls, after ``warm_up`` calls that do not count."""
    for _ in range(warm_up):
        call()
    return statistics.median(seconds_of(call) for _ in range(repeats))


def interleaved(steps: Mapping[str, Callable[[], Any]], n: int) -> dict[str, list[float]]:
    """Microseconds of processor time of ``n`` calls of each step, in turn: a, b, b, a, a, b, ...

    A machine that is busy, or grows slower while it is measured, slows all of them down alike. Processor time leaves
    out the moments in which other programs had the core; it is right for steps that neither wait nor do I/O.
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    gc.collect()
    for _ in range(n):
        for name in order:
            start = time.process_time_ns()
            steps[name]()
            taken[name].append((time.process_time_ns() - start) / 1000.0)
        order.reverse()
    return taken


def typical_sum(taken: Sequence[float], width: int = 25) -> float:
    """Sum of ``taken`` with every value replaced by the median of its ``width`` neighbours: peaks do not count."""
    blocks = [taken[i : i + width] for i in range(0, len(taken), width)]
    return sum(statistics.median(block) * len(block) for block in blocks)


def microseconds_each(
    prepare: Callable[[int], Any],
    decide: Callable[[Any], Any],
    *,
    budget_s: float = 1.0,
    at_least: int = 5,
    at_most: int = 2000,
) -> float:
    """Microseconds of ``decide(prepare(i))``, ``prepare`` not counted.

    Goes on until ``budget_s`` seconds were spent in ``decide``, but for ``at_least`` and ``at_most`` calls. The calls
    are averaged in 20 groups and the median group counts: what every hundredth call has to do is in it, a moment in
    which the machine was busy elsewhere is not.
    """
    decide(prepare(0))
    taken: list[int] = []
    spent = 0
    while len(taken) < at_least or (len(taken) < at_most and spent < budget_s * 1e9):
        given = prepare(len(taken) + 1)
        start = time.perf_counter_ns()
        decide(given)
        taken.append(time.perf_counter_ns() - start)
        spent += taken[-1]
    width = math.ceil(len(taken) / 20)
    groups = [taken[i : i + width] for i in range(0, len(taken), width)]
    return statistics.median(map(statistics.mean, groups)) / 1000.0


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log(value) over log(size), by least squares: 0 is flat, 1 is linear. Needs two sizes or more."""
    x = [math.log(size) for size in sizes]
    y = [math.log(value) for value in values]
    return statistics.linear_regression(x, y).slope


def machine_facts() -> dict[str, Any]:
    """What a figure means nothing without."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    affinity = getattr(os, "sched_getaffinity", None)
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "cpu": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "versions": versions,
    }


def peer(
    script: str, *arguments: str, needs: str, environment: str = "bench", timeout_s: float = 1800.0
) -> dict[str, Any] | None:
    """Runs ``benchmarks/peers/SCRIPT.py`` where the peers are installed and returns what it passed to ``reply``.

    Args:
        script: name of the script, without ``.py``.
        arguments: given to it.
        needs: the module without which there is nothing to measure ("ray").
        environment: a key of ``ENVIRONMENTS``; where that one was never made, this interpreter is tried.
        timeout_s: seconds until the script is killed and the benchmark fails.

    Returns:
        None where ``needs`` is not installed.

    Raises:
        RuntimeError: the script failed; its last words are in the message.
    """
    python = ENVIRONMENTS[environment] / "bin" / "python"
    if not python.exists():
        python = Path(sys.executable)
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({needs!r}) is None)"
    if subprocess.run([str(python), "-c", look], capture_output=True, check=False).returncode != 0:
        return None
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "reply.json"
        variables = {
            **os.environ,
            _REPLY: str(answer),
            "HOME": folder,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PEERS.parent),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            [str(python), str(PEERS / f"{script}.py"), *arguments],
            cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip
        if done.returncode != 0 or not answer.exists():
            raise RuntimeError(f"{script} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
        data: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return data


def reply(data: Mapping[str, Any]) -> None:
    """For a peer's script: hands its figures back, or prints them when it is run by hand."""
    text = json.dumps(data, indent=1)
    path = os.environ.get(_REPLY)
    if path is None:
        print(text)
    else:
        Path(path).write_text(text, encoding="utf-8")


def reply_curves(version: str, measures: Mapping[str, Callable[[int, float], float]]) -> None:
    """For a peer's script that measures by size: ``SIZE ... [--budget SECONDS]``, a curve per measure.

    Args:
        version: of the peer.
        measures: by name, what is called with a size and the seconds that it may spend, and returns a figure.
    """
    arguments = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    arguments.add_argument("sizes", nargs="+", type=int)
    arguments.add_argument("--budget", type=float, default=1.0)
    given = arguments.parse_args()
    curves = {name: [measure(size, given.budget) for size in given.sizes] for name, measure in measures.items()}
    reply({"version": version, "curves": curves})


def main(measure: Callable[[Report, bool], None]) -> int:
    """Runs one benchmark: prints its table, writes ``results/NAME.json`` and returns the exit status."""
    arguments = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    arguments.add_argument("--quick", action="store_true", help="fewer sizes and repeats, for a look")
    is_quick = arguments.parse_args().quick
    report = Report(Path(sys.argv[0]).stem, is_quick)
    start = time.perf_counter()
    measure(report, is_quick)
    report.seconds = time.perf_counter() - start
    print(report.text())
    print(f"written to {report.write().relative_to(ROOT)}")
    return 0 if report.is_good else 1
