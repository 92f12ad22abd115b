"""Several processes on one storage."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow.storage import Journal, JournalBackend, open_storage
from tuneflow.storage.filelock import lock_file, unlock_file

N_PROCESSES = 4
N_TRIALS = 200

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked, to start quickly"),
    # Newer Pythons warn of a fork beside threads: here the thread that syncs, which is what the tests are about.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def append_trials(storage: Journal, who: int, n_trials: int, results: Any) -> None:
    numbers = []
    for i in range(n_trials):
        trial_id = storage.create_new_trial(0)
        storage.set_trial_param(trial_id, "x", 0.5, optuna.distributions.FloatDistribution(0, 1))
        storage.set_trial_user_attr(trial_id, "by", [who, i])
        storage.set_trial_intermediate_value(trial_id, 1, who + i / n_trials)
        assert storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [float(who)])
        trial = storage.get_trial(trial_id)
        assert trial.user_attrs == {"by": [who, i]}
        numbers.append(trial.number)
    results.put((who, numbers))


def open_and_append(path: str, who: int, results: Any) -> None:
    with Journal(path) as storage:
        append_trials(storage, who, N_TRIALS, results)


def run_all(target: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=target, args=(*args, results)) for args in arguments]
    for process in processes:
        process.start()
    got = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return got


def check(path: str, got: list[tuple[int, list[int]]], n_trials: int) -> None:
    for storage in (Journal(path), JournalStorage(JournalFileBackend(path))):
        trials = storage.get_all_trials(0)
        assert len(trials) == n_trials * len(got)
        for who, numbers in got:
            assert [trials[number].user_attrs["by"] for number in numbers] == [[who, i] for i in range(n_trials)]
        assert all(t.state is TrialState.COMPLETE and t.params == {"x": 0.5} for t in trials)


def test_four_processes_append_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    path = str(tmp_path / "study.log")
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        got = run_all(open_and_append, [(path, who) for who in range(N_PROCESSES)])
        check(path, got, N_TRIALS)
        assert storage.get_n_trials(0) == N_PROCESSES * N_TRIALS


def test_a_storage_survives_forks_in_parent_and_children(tmp_path: Path) -> None:
    path = str(tmp_path / "study.log")
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        got = run_all(append_trials, [(storage, who, 30) for who in range(3)])
        check(path, got, 30)
        storage.create_new_trial(0)
        assert storage.get_n_trials(0) == 91


def append_one(backend: JournalBackend, results: Any) -> None:
    backend.append_logs([{"op_code": 1, "worker_id": "w", "study_id": 0}])
    results.put("appended")


def test_a_forked_child_does_not_share_its_parents_lock(tmp_path: Path) -> None:
    backend = JournalBackend(tmp_path / "study.log")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    lock_file(backend._fd)
    process = context.Process(target=append_one, args=(backend, results))
    process.start()
    with pytest.raises(queue.Empty):
        results.get(timeout=0.2)
    unlock_file(backend._fd)
    assert results.get(timeout=30) == "appended"
    process.join(30)
    assert len(list(backend.read_logs(0))) == 1
    backend.close()


def append_by_optuna(path: str, who: int, results: Any) -> None:
    append_trials(JournalStorage(JournalFileBackend(path)), who, 30, results)  # type: ignore[arg-type]


def append_here(path: str, who: int, results: Any) -> None:
    with Journal(path) as storage:
        append_trials(storage, who, 30, results)


def by_kind(path: str, who: int, results: Any) -> None:
    (append_by_optuna if who % 2 else append_here)(path, who, results)


def test_optuna_and_tuneflow_append_at_the_same_time(tmp_path: Path) -> None:
    path = str(tmp_path / "study.log")
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
    check(path, run_all(by_kind, [(path, who) for who in range(4)]), 30)


def claim(path: str, results: Any) -> None:
    with Journal(path) as storage:
        claimed = [i for i in range(40) if is_claimed(storage, i)]
        results.put(claimed)


def is_claimed(storage: Journal, trial_id: int) -> bool:
    try:
        return storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def test_a_waiting_trial_is_claimed_by_one_process_only(tmp_path: Path) -> None:
    path = str(tmp_path / "study.log")
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        for _ in range(40):
            storage.create_new_trial(0, optuna.trial.create_trial(state=TrialState.WAITING))
        claimed = run_all(claim, [(path,)] * 3)
    assert sorted(number for one in claimed for number in one) == list(range(40))


def append_for_ever(path: str) -> None:
    with Journal(path) as storage:
        trial_id = storage.create_new_trial(0)
        step = 0
        while True:
            storage.set_trial_intermediate_value(trial_id, step, 0.5)
            step += 1


# Linux may stop a killed process in the middle of a line, at the end of a page.
@pytest.mark.filterwarnings("ignore:.*last record was not written:tuneflow.errors.TuneflowWarning")
def test_a_killed_writer_harms_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "study.log")
    context = multiprocessing.get_context("fork")
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        for number in range(3):
            process = context.Process(target=append_for_ever, args=(path,))
            process.start()
            deadline = time.monotonic() + 30
            while storage.get_n_trials(0) <= number or len(storage.get_trial(number).intermediate_values) < 50:
                assert process.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            steps = storage.get_trial(number).intermediate_values
            assert list(steps) == list(range(len(steps)))
        with Journal(path) as reopened:
            assert reopened.get_all_trials(0) == storage.get_all_trials(0)


def report_to_sqlite(url: str, who: int, results: Any) -> None:
    storage = open_storage(url)
    numbers = []
    for i in range(5):
        trial_id = storage.create_new_trial(1)
        storage.set_trial_intermediate_value(trial_id, 1, who + i / 10)
        numbers.append(storage.get_trial_number_from_id(trial_id))
    storage.remove_session()
    results.put((who, numbers))


def test_processes_open_and_share_one_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    storage = open_storage(url)
    storage.create_new_study([StudyDirection.MINIMIZE])
    storage.remove_session()
    storage.engine.dispose()  # type: ignore[attr-defined]
    got = run_all(report_to_sqlite, [(url, who) for who in range(2)])
    assert sorted(n for _, numbers in got for n in numbers) == list(range(10))
    storage.engine.dispose()  # type: ignore[attr-defined]


def create_in_database(url: str, name: str, who: int, at_s: float, results: Any) -> None:
    time.sleep(max(0.0, at_s - time.time()))  # all at the same moment
    study = tune.create_study(study_name=name, storage=url, load_if_exists=True, mode="min")
    study.tell(study.ask(), float(who))
    study.close()
    results.put((who, [study.trials[-1].number]))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_make_one_database_at_the_same_time(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = f"sqlite:///{tmp_path}/first.db" if kind == "sqlite" else request.getfixturevalue("postgresql")
    first = open_storage(server)  # so that all has been imported
    assert isinstance(first, RDBStorage)
    urls = []
    for name in ("one", "two", "three") if kind == "sqlite" else ("one",):
        urls.append(f"sqlite:///{tmp_path}/{name}.db")
        if kind == "postgresql":
            with first.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
            urls[-1] = first.engine.url.set(database=name).render_as_string(hide_password=False)
    first.engine.dispose()
    for url in urls:
        at_s = time.time() + 0.2
        run_all(create_in_database, [(url, "together", who, at_s) for who in range(4)])
        storage = open_storage(url)
        study = tune.load_study(study_name="together", storage=storage)
        assert sorted(trial.value for trial in study.trials) == [0.0, 1.0, 2.0, 3.0]
        storage.remove_session()
        storage.engine.dispose()  # type: ignore[attr-defined]
