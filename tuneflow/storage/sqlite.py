"""What is particular about SQLite: its file, its WAL mode, its full disk."""

from __future__ import annotations

import errno
import functools
import sqlite3
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

from optuna.storages import RDBStorage

from tuneflow.errors import InvalidArgument, StorageNotWritten, TuneflowWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import TrialState
    from sqlalchemy.engine import URL

__all__ = ["SqliteConnection", "SqliteStorage", "check_sqlite_file", "check_wal", "sqlite_file"]

_TRUE = ("true", "yes", "on", "y", "t", "1")  # as SQLAlchemy reads it


def sqlite_file(url: URL) -> Path | None:
    """The file of a URL's database, which may be one of SQLite's own URIs (``uri=true``); None for one in memory."""
    database = url.database or ""
    if str(url.query.get("uri", "")).lower() in _TRUE and database.startswith("file:"):
        is_in_memory = url.query.get("mode") == "memory" or url.query.get("vfs") == "memdb"
        database = "" if is_in_memory else unquote(urlsplit(database).path)
    return None if database in ("", ":memory:") else Path(database)


def check_sqlite_file(file: Path, shown: str) -> None:
    """Raises ``InvalidArgument`` where the file is something else."""
    if file.is_dir():
        raise InvalidArgument(f"storage={shown!r}: {str(file)!r} is a folder; give a file")
    if not file.exists():
        return
    with file.open("rb") as handle:
        start = handle.read(15)
    if start and start != b"SQLite format 3":
        raise InvalidArgument(f"storage={shown!r}: {str(file)!r} is a file, but no SQLite database")


def check_wal(storage: RDBStorage, shown: str) -> None:
    """Warns where the file's system has no WAL mode."""
    from sqlalchemy import text as sql

    with storage.engine.connect() as connection:
        mode = connection.execute(sql("PRAGMA journal_mode")).scalar()
    if mode != "wal":
        warnings.warn(
            f"storage {shown}: SQLite keeps journal_mode={mode} instead of WAL, as on network file systems; reports "
            f"are slower and processes wait for each other. A local file, a journal or PostgreSQL does not",
            TuneflowWarning,
            stacklevel=4,
        )


_Arguments = ParamSpec("_Arguments")
_Returned = TypeVar("_Returned")

_REFUSALS = {
    "database or disk is full": (errno.ENOSPC, "free some space"),
    "disk I/O error": (errno.EIO, "check the disk and the space on it"),
    "attempt to write a readonly database": (errno.EROFS, "make the file and its folder writable"),
}


def _clear(call: Callable[_Arguments, _Returned]) -> Callable[_Arguments, _Returned]:
    """What the disk refuses is said as it is: Optuna would take it for a value that is too long."""

    @functools.wraps(call)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Returned:
        try:
            return call(*args, **kwargs)
        except sqlite3.OperationalError as error:
            found = _REFUSALS.get(str(error))
            if found is None:
                raise
            number, advice = found
            connection: Any = getattr(args[0], "connection", args[0])
            raise StorageNotWritten(
                f"SQLite file {connection.file}",
                f"{error}; what was to be written is not, and the database holds everything before it. To go on, "
                f"{advice} and repeat the call",
                number,
            ) from error

    return wrapped


class _Cursor(sqlite3.Cursor):
    execute = _clear(sqlite3.Cursor.execute)
    executemany = _clear(sqlite3.Cursor.executemany)


class SqliteConnection(sqlite3.Connection):
    """A connection in WAL mode, whose disk may be full.

    A class and not a listener on the engine: Optuna makes the engine and uses it before a listener could be attached,
    and makes it anew from its arguments when a storage is unpickled.

    Attributes:
        file: the database's path.
    """

    def __init__(self, database: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(database, *args, **kwargs)
        self.file = str(database)
        for attempt in range(100):
            try:
                self.cursor(sqlite3.Cursor).execute("PRAGMA journal_mode=WAL").close()
                break
            except sqlite3.OperationalError as error:
                # The change of mode, done once per file, does not wait for other connections as all else does. Where it
                # is impossible, the database works without.
                if "locked" not in str(error):
                    break
                if attempt == 99:
                    raise
                time.sleep(0.05)
        # In WAL mode this never damages the file; a power failure may take the last commits away.
        self.execute("PRAGMA synchronous=NORMAL").close()

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    commit = _clear(sqlite3.Connection.commit)


class SqliteStorage(RDBStorage):
    """Optuna's storage, in which a trial that waits is given to one process only.

    Optuna looks at the state and then changes it, and locks the row meanwhile; SQLite has no such locks, and two
    processes could both find the trial waiting. Here nobody else writes from the look to the change.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        session = self.scoped_session()  # this thread's, in which Optuna goes on
        try:
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        except BaseException:
            session.rollback()
            raise
        return super().set_trial_state_values(trial_id, state, values)
