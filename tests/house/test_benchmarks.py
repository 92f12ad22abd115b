"""The benchmarks' verdicts are right, and every script of theirs can be found and read."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def harness():
    spec = importlib.util.spec_from_file_location("benchmark_harness", BENCHMARKS / "harness.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_verdicts(harness):
    assert harness.at_most("c", 1.0, 1.0, "s").verdict == "holds"
    assert harness.at_most("c", 1.1, 1.0, "s").verdict == "missed"
    assert harness.at_least("c", 0.9, 1.0, "s").verdict == "missed"
    assert harness.against("c", 2.0, "Optuna", 10.0, 1 / 3, "ms").verdict == "holds"
    assert harness.against("c", 4.0, "Optuna", 10.0, 1 / 3, "ms").verdict == "missed"
    assert harness.against("c", 4.0, "Ray", None, 1.0, "ms").verdict == "no peer"


def test_only_a_missed_floor_makes_a_report_bad(harness):
    report = harness.Report("r")
    report.add(harness.note("n", 3.0, "s"), harness.against("c", 4.0, "Ray", None, 1.0, "ms"))
    assert report.is_good
    report.add(harness.at_most("c", 2.0, 1.0, "s"))
    assert not report.is_good


def test_a_report_survives_json_and_says_what_is_not_installed(harness, tmp_path):
    report = harness.Report("r", is_quick=True)
    report.add(harness.against("claim", 4.0, "Ray", None, 1.0, "ms"))
    report.curve("curve", [10, 1000], {"ours": [1.0, None]})
    stored = json.loads(report.write(tmp_path).read_text())
    assert stored["rows"][0]["verdict"] == "no peer"
    assert "not installed (Ray)" in harness.rows_table(stored["rows"])
    assert "1,000" in report.text()


@pytest.mark.parametrize(("power", "values"), [(0.0, [3, 3, 3]), (1.0, [2, 20, 200]), (2.0, [1, 100, 10_000])])
def test_growth_exponent(harness, power, values):
    assert harness.growth_exponent([10, 100, 1000], values) == pytest.approx(power)


def test_rare_work_counts_and_preparation_does_not(harness):
    spent = []

    def decide(number):
        if number % 10 == 0:
            spent.append(sum(range(200_000)))

    def prepare(number):
        sum(range(100_000))
        return number

    microseconds = harness.microseconds_each(prepare, decide, budget_s=10.0, at_most=400)
    assert len(spent) == 41
    assert microseconds > 20.0  # a tenth of some thousand, where the median call costs nothing
    assert harness.microseconds_each(prepare, lambda number: number, at_most=400) < 20.0


def test_peaks_do_not_count(harness):
    assert harness.typical_sum([1.0] * 24 + [500.0] + [2.0] * 25) == pytest.approx(75.0)


def test_a_peer_that_is_not_installed_is_none(harness):
    assert harness.peer("optuna_pruners", "10", needs="no_such_library") is None


def test_the_runner_knows_its_benchmarks():
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "no_such_benchmark"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pruner_decisions" in done.stderr


SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if path.stem not in ("harness", "run", "workloads")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_goes_through_the_harness(script):
    """The runner gives ``--quick`` and reads ``results/NAME.json``: both are the harness's."""
    assert script.read_text(encoding="utf-8").endswith("sys.exit(harness.main(measure))\n")
