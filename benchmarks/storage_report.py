"""What one report, one ask with two parameters and one tell cost, by storage.

python benchmarks/storage_report.py            # medians in milliseconds
python benchmarks/storage_report.py --check    # exit status 1 unless the journal keeps its promise
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tuneflow.storage import open_storage

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


def measure(storage: BaseStorage, n_reports: int, n_trials: int) -> tuple[float, float, float]:
    """Milliseconds of a report, of an ask with two parameters, and of a tell."""
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-5, 1, log=True)}
    trial_id = study.ask(space)._trial_id
    report = median_ms(lambda i: study._storage.set_trial_intermediate_value(trial_id, i, i / 7), n_reports)
    trials: list[optuna.Trial] = []
    ask = median_ms(lambda _: trials.append(study.ask(space)), n_trials)
    tell = median_ms(lambda i: study.tell(trials[i], 0.5, TrialState.COMPLETE), n_trials)
    return report, ask, tell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=300, help="reports to time (slow storages: a quarter)")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--folder", help="where to write; default: the temporary folder")
    parser.add_argument("--check", action="store_true", help="fail unless the journal is as quick as promised")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        kinds: dict[str, Callable[[], BaseStorage]] = {
            "memory": InMemoryStorage,
            "journal (tuneflow)": lambda: open_storage(folder / "own.log"),
            "journal file (Optuna)": lambda: JournalStorage(JournalFileBackend(str(folder / "optuna.log"))),
            "SQLite, WAL (tuneflow)": lambda: get_storage(open_storage(f"sqlite:///{folder}/wal.db")),
            "SQLite (Optuna)": lambda: get_storage(RDBStorage(f"sqlite:///{folder}/plain.db")),
        }
        reports = {}
        print(f"{'median, ms':24}{'report':>10}{'ask+2':>10}{'tell':>10}")
        for kind, make in kinds.items():
            storage = make()
            n_reports = args.reports // 4 if "SQLite" in kind else args.reports
            report, ask, tell = measure(storage, n_reports, args.trials)
            reports[kind] = report
            print(f"{kind:24}{report:10.4f}{ask:10.4f}{tell:10.4f}", flush=True)
            close = getattr(storage, "close", None) or storage.remove_session
            close()
    speedup = reports["SQLite (Optuna)"] / reports["journal (tuneflow)"]
    print(f"a report to the journal is {speedup:.0f} times quicker than to SQLite")
    is_kept = reports["journal (tuneflow)"] <= MAX_JOURNAL_REPORT_MS and speedup >= MIN_SPEEDUP_OVER_SQLITE
    if args.check and not is_kept:
        print(f"promised: at most {MAX_JOURNAL_REPORT_MS} ms and {MIN_SPEEDUP_OVER_SQLITE:.0f} times SQLite")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
