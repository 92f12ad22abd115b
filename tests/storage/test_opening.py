"""What may be written as storage=, and what is answered to the rest."""

from __future__ import annotations

import pickle
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import text as sql

import tuneflow as tune
from tuneflow.errors import (
    InvalidArgument,
    InvalidArgumentType,
    JournalCorrupt,
    MissingLibrary,
    TuneflowWarning,
    UnknownName,
    UsageError,
)
from tuneflow.storage import Journal, open_storage


@pytest.fixture
def opened() -> Iterator[list[BaseStorage]]:
    storages: list[BaseStorage] = []
    yield storages
    for storage in storages:
        if isinstance(storage, RDBStorage):
            storage.scoped_session.remove()
            storage.engine.dispose()
        elif isinstance(storage, Journal):
            storage.close()


def test_none_is_a_study_in_memory() -> None:
    assert isinstance(open_storage(None), InMemoryStorage)


def test_an_optuna_storage_passes_through() -> None:
    storage = InMemoryStorage()
    assert open_storage(storage) is storage


@pytest.mark.parametrize("form", ["{}", "journal:{}", Path])
def test_a_path_is_a_journal_and_its_folder_is_made(tmp_path: Path, form: Any, opened: list[BaseStorage]) -> None:
    path = tmp_path / "a" / "b" / "study.log"
    storage = open_storage(form(path) if form is Path else form.format(path))
    opened.append(storage)
    assert isinstance(storage, Journal)
    assert isinstance(storage, JournalStorage)
    assert storage.path == str(path)
    storage.create_new_study([StudyDirection.MINIMIZE], "s")
    again = open_storage(path)
    opened.append(again)
    assert again.get_study_id_from_name("s") == 0


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[BaseStorage]
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("study.log")
    opened.append(storage)
    monkeypatch.chdir("/")
    opened.append(pickle.loads(pickle.dumps(storage)))
    assert isinstance(storage, Journal)
    assert storage.path == opened[1].path == str(tmp_path / "study.log")  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", [3, b"study.log", ["a"], {"path": "a"}, InMemoryStorage, object()])
def test_what_is_no_storage_is_refused(spec: Any) -> None:
    with pytest.raises(InvalidArgumentType, match="sqlite:///"):
        open_storage(spec)


@pytest.mark.parametrize("spec", ["", "journal:", "a\0b"])
def test_a_text_that_names_no_file_is_refused(spec: str) -> None:
    with pytest.raises(InvalidArgument, match="names no file"):
        open_storage(spec)


def test_a_folder_or_another_file_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is a folder"):
        open_storage(tmp_path)
    with pytest.raises(InvalidArgument, match="is a folder"):
        open_storage(f"sqlite:///{tmp_path}")
    with pytest.raises(InvalidArgument, match="ends like a folder"):
        open_storage(f"{tmp_path}/new/")
    notes = tmp_path / "notes.txt"
    notes.write_text("one\ntwo\n")
    with pytest.raises(JournalCorrupt, match="line 1:"):
        open_storage(notes)
    with pytest.raises(InvalidArgument, match="no SQLite database"):
        open_storage(f"sqlite:///{notes}")
    for spec in (notes / "study.log", f"sqlite:///{notes}/study.db"):
        with pytest.raises(InvalidArgument, match="is a file, not a folder"):
            open_storage(spec)
    database = tmp_path / "study.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE a (b)")
    connection.close()
    with pytest.raises(InvalidArgument, match="write 'sqlite:///"):
        open_storage(database)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "study.db"]
    assert notes.read_text() == "one\ntwo\n"


def test_a_device_is_no_journal() -> None:
    if not Path("/dev/null").is_char_device():
        pytest.skip("needs a device file")
    with pytest.raises(InvalidArgument, match="no regular file"):
        open_storage("/dev/null")


@pytest.mark.parametrize("url", ["mongo://host/db", "redis://localhost", "journal://study.log", "http://a/b"])
def test_an_unknown_scheme_is_refused_with_those_that_work(url: str) -> None:
    with pytest.raises(UnknownName, match="sqlite, postgresql") as raised:
        open_storage(url)
    assert raised.value.name == url.partition(":")[0]


@pytest.mark.parametrize("url", ["://", "postgresql://host:notaport/db"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        open_storage(url)


@pytest.mark.parametrize(
    ("url", "library"),
    [
        ("postgresql://host/db", "psycopg[binary]"),
        ("postgresql+psycopg2://host/db", "psycopg2-binary"),
        ("mysql://host/db", "pymysql"),
        ("mysql+mysqldb://host/db", "mysqlclient"),
    ],
)
def test_a_missing_driver_is_named_with_what_to_install(
    url: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("psycopg", "psycopg2", "pymysql", "MySQLdb"):
        monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    with pytest.raises(MissingLibrary, match=re.escape(f"pip install '{library}'")) as raised:
        open_storage(url)
    assert raised.value.library == library


# SQLite


def test_sqlite_is_really_in_wal_mode(tmp_path: Path, opened: list[BaseStorage]) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/new/study.db")
    opened.append(storage)
    opened.append(pickle.loads(pickle.dumps(storage)))
    for one in opened:
        assert isinstance(one, RDBStorage)
        with one.engine.connect() as connection:
            assert connection.execute(sql("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(sql("PRAGMA synchronous")).scalar() == 1
            assert connection.execute(sql("PRAGMA busy_timeout")).scalar() == 60_000
    study = optuna.create_study(storage=storage, study_name="s")
    study.tell(study.ask(), 1.0)
    assert (tmp_path / "new" / "study.db-wal").stat().st_size > 0


def test_a_writer_does_not_keep_readers_out(tmp_path: Path, opened: list[BaseStorage]) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    opened.append(storage)
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    writer = sqlite3.connect(tmp_path / "study.db")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM studies")
    assert storage.get_study_directions(study_id) == [StudyDirection.MINIMIZE]
    writer.rollback()
    writer.close()


def test_sqlite_in_memory_works_too(opened: list[BaseStorage]) -> None:
    storage = open_storage("sqlite://")
    opened.append(storage)
    assert storage.create_new_study([StudyDirection.MINIMIZE]) == 1


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///file:{}/a%20b.db?uri=true", "a b.db"),
        ("sqlite:///file://{}/study.db?mode=rwc&uri=1", "study.db"),
        ("sqlite:///{}/study.db", "study.db"),
    ],
)
def test_trials_lie_beside_the_file_of_a_uri_too(url: str, file: str, tmp_path: Path) -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, storage=url.format(tmp_path / "new"), study_name="s")
    assert (tmp_path / "new" / file).is_file()
    assert study.folders.root == tmp_path / "new" / f"{file}.trials" / "s"
    with pytest.raises(InvalidArgument, match="there is no file"):
        tune.load_study(study_name="s", storage=url.format(tmp_path / "other"))
    study.optuna._storage.remove_session()


@pytest.mark.filterwarnings("ignore:Selection of the SingletonThreadPool")  # SQLAlchemy, about its next versions
@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:one?mode=memory&cache=shared&uri=true",
    ],
)
def test_a_database_in_memory_has_no_folder(url: str) -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, storage=url, study_name="s")
    assert study.folders.is_temporary
    study.optuna._storage.remove_session()


def test_a_waiting_trial_is_given_to_one_only(tmp_path: Path, opened: list[BaseStorage]) -> None:
    first, second = (open_storage(f"sqlite:///{tmp_path}/study.db") for _ in range(2))
    opened += [first, second]
    study_id = first.create_new_study([StudyDirection.MINIMIZE], "s")
    trial_id = first.create_new_trial(study_id, optuna.trial.create_trial(state=TrialState.WAITING))
    got: list[bool] = []

    def take() -> None:
        got.append(second.set_trial_state_values(trial_id, TrialState.RUNNING))
        second.remove_session()  # type: ignore[attr-defined]

    other = threading.Thread(target=take)
    look = first.check_trial_is_updatable

    def look_for_long(*given: Any) -> None:
        look(*given)
        other.start()
        other.join(0.5)

    first.check_trial_is_updatable = look_for_long  # type: ignore[method-assign]
    assert first.set_trial_state_values(trial_id, TrialState.RUNNING)
    other.join()
    assert got == [False]
    first.check_trial_is_updatable = look  # type: ignore[method-assign]
    assert first.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        second.set_trial_state_values(trial_id, TrialState.RUNNING)
    assert second.get_trial(trial_id).values == [1.0]


def test_where_wal_cannot_be_had_the_database_works_without(tmp_path: Path) -> None:
    made = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    optuna.create_study(storage=made, study_name="s").add_trial(optuna.trial.create_trial(value=1.0))
    made.remove_session()
    made.engine.dispose()
    # No file may be written to: as on a full disk, and where the system has no memory to share.
    program = f"""
import resource, warnings
import optuna
from tuneflow.storage import open_storage
from tuneflow.storage.sqlite import SqliteConnection
import optuna.storages._rdb.storage
SqliteConnection.execute = lambda self, *given: self.cursor().execute(*given)  # as in Python 3.10
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
warnings.simplefilter("ignore")
storage = open_storage("sqlite:///{tmp_path}/study.db", must_exist=True)
raise SystemExit(len(optuna.load_study(study_name="s", storage=storage).trials) + 40)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 41, done.stderr


def test_a_file_system_without_wal_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[BaseStorage]
) -> None:
    monkeypatch.setattr("tuneflow.storage.opening.SqliteConnection", sqlite3.Connection)
    with pytest.warns(TuneflowWarning, match="journal_mode=delete"):
        opened.append(open_storage(f"sqlite:///{tmp_path}/study.db"))


def test_another_connection_may_be_busy_while_the_mode_is_changed(tmp_path: Path, opened: list[BaseStorage]) -> None:
    busy = sqlite3.connect(tmp_path / "study.db", check_same_thread=False)
    busy.execute("CREATE TABLE other (a)")
    busy.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.15, busy.rollback)
    timer.start()
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    opened.append(storage)
    timer.join()
    busy.close()
    assert storage.create_new_study([StudyDirection.MINIMIZE]) == 1


# PostgreSQL


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg2")
    with pytest.raises(UsageError, match="cannot be used") as raised:
        open_storage(f"postgresql://me:secret@/db?host={tmp_path}")
    assert "secret" not in str(raised.value)


def test_postgresql(postgresql: str, opened: list[BaseStorage]) -> None:
    first, second = open_storage(postgresql), open_storage(postgresql)
    opened += [first, second]
    assert isinstance(first, RDBStorage)
    assert first.engine.pool._pre_ping
    study = optuna.create_study(storage=first, study_name="opened", sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    trial.report(0.5, 1)
    trial.set_user_attr("tuneflow:paused", 1)
    study.tell(trial, 0.25)
    other = optuna.load_study(storage=second, study_name="opened")
    assert other.best_value == 0.25
    assert other.trials[0].intermediate_values == {1: 0.5}
    assert other.trials == study.trials
