"""What one report, one ask with two parameters and one tell cost, by storage.

Medians in milliseconds; the journal's promise is checked against Optuna's SQLite storage and its file journal.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tuneflow.storage import open_storage

JOURNAL, JOURNAL_FILE, SQLITE = "journal (tuneflow)", "journal file (Optuna)", "SQLite (Optuna)"
MAX_JOURNAL_REPORT_MS = 0.03
MIN_SPEEDUP_OVER_SQLITE = 10.0


def median_ms(call: Callable[[int], object], n: int) -> float:
    """The median time of ``call(i)`` for i < n, in milliseconds."""
    times = []
    for i in range(n):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def costs_of(storage: BaseStorage, n_reports: int, n_trials: int) -> tuple[float, float, float]:
    """Milliseconds of a report, of an ask with two parameters, and of a tell."""
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-5, 1, log=True)}
    trial_id = study.ask(space)._trial_id
    report = median_ms(lambda i: study._storage.set_trial_intermediate_value(trial_id, i, i / 7), n_reports)
    trials: list[optuna.Trial] = []
    ask = median_ms(lambda _: trials.append(study.ask(space)), n_trials)
    tell = median_ms(lambda i: study.tell(trials[i], 0.5, TrialState.COMPLETE), n_trials)
    return report, ask, tell


def measure(report: harness.Report, quick: bool) -> None:
    n_reports, n_trials = (100, 20) if quick else (300, 40)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    costs: dict[str, tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds: dict[str, Callable[[], BaseStorage]] = {
            "memory": InMemoryStorage,
            JOURNAL: lambda: open_storage(folder / "own.log"),
            JOURNAL_FILE: lambda: JournalStorage(JournalFileBackend(str(folder / "optuna.log"))),
            "SQLite, WAL (tuneflow)": lambda: get_storage(open_storage(f"sqlite:///{folder}/wal.db")),
            SQLITE: lambda: get_storage(RDBStorage(f"sqlite:///{folder}/plain.db")),
        }
        for kind, make in kinds.items():
            storage = make()
            costs[kind] = costs_of(storage, n_reports // 4 if "SQLite" in kind else n_reports, n_trials)
            close = getattr(storage, "close", None) or storage.remove_session
            close()
    ours = costs[JOURNAL][0]
    report.add(
        harness.at_most("a report to the journal", ours, MAX_JOURNAL_REPORT_MS, "ms"),
        harness.against("a report to the journal", ours, SQLITE, costs[SQLITE][0], 1 / MIN_SPEEDUP_OVER_SQLITE, "ms"),
    )
    for i, what in enumerate(("a report", "an ask with two parameters", "a tell")):
        for kind, cost in costs.items():
            if kind not in (JOURNAL, JOURNAL_FILE):
                report.add(harness.note(f"{what}, {kind}", cost[i], "ms"))
        ours, theirs = costs[JOURNAL][i], costs[JOURNAL_FILE][i]
        report.add(harness.against(f"{what}, {JOURNAL}", ours, JOURNAL_FILE, theirs, 1.0, "ms"))


if __name__ == "__main__":
    sys.exit(harness.main(measure))
