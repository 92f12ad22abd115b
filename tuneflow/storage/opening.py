"""From what a user writes as ``storage=`` to an Optuna storage."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, RDBStorage

from tuneflow.errors import (
    InvalidArgument,
    InvalidArgumentType,
    MissingLibrary,
    UnknownName,
    UsageError,
)
from tuneflow.storage.journal_storage import Journal
from tuneflow.storage.memory import Memory
from tuneflow.storage.sqlite import SqliteConnection, SqliteStorage, check_sqlite_file, check_wal, sqlite_file

__all__ = ["open_storage"]

_FORMS = '"study.log" or "journal:study.log", "sqlite:///study.db", "postgresql://user@host/name", an Optuna storage'
_SCHEMES = ["sqlite", "postgresql", "mysql", "mariadb", "mssql"]
# A URL without a driver takes the first of these that is installed; SQLAlchemy's own choice differs by its version.
_DRIVERS = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "mysqldb"), "mariadb": ("pymysql", "mysqldb")}
# Where the module and the distribution that brings it have different names.
_LIBRARIES = {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]", "MySQLdb": "mysqlclient"}
_N_CREATIONS = 30
"""How often a database is tried whose tables are just being made, a tenth of a second apart."""


def open_storage(
    spec: str | os.PathLike[str] | BaseStorage | None, *, sync_interval_s: float = 0.05, must_exist: bool = False
) -> BaseStorage:
    """Opens the storage that ``spec`` names.

    Args:
        spec: None for a study in memory; a path, or ``"journal:PATH"``, for a journal file (its folder is made too);
            a database URL (a text with ``://``): SQLite is opened in WAL mode, in which readers and the writer do not
            wait for each other; an Optuna storage, which is handed back as it is.
        sync_interval_s: for a journal: seconds within which a record is on the disk.
        must_exist: whether a journal or an SQLite file that is not there is refused instead of made.

    Returns:
        An Optuna storage. A ``Journal`` has ``close()``.

    Raises:
        InvalidArgumentType: ``spec`` is of a kind that names no storage.
        InvalidArgument: the path is a folder or holds something else, or the URL cannot be read. Nothing is created.
        UnknownName: the URL's scheme is no known database.
        MissingLibrary: the database's driver is not installed; says what to install.
        JournalCorrupt: the file is no journal, or a line before the last one cannot be read.
        UsageError: the database does not answer or refuses.

    Example:
        >>> type(open_storage(None)).__name__
        'Memory'
        >>> open_storage("mongo://host/studies")
        Traceback (most recent call last):
        ...
        tuneflow.errors.UnknownName: unknown storage 'mongo'; known are: sqlite, postgresql, mysql, mariadb, mssql
    """
    if spec is None:
        return Memory()
    if isinstance(spec, BaseStorage):
        return spec
    if not isinstance(spec, str | os.PathLike):
        raise InvalidArgumentType(f"storage={spec!r} is of type {type(spec).__name__}; it must be one of: {_FORMS}")
    text = os.fspath(spec)
    if not isinstance(text, str):
        raise InvalidArgumentType(f"storage={spec!r} is a path of bytes; give it as text")
    if isinstance(spec, str) and text.startswith("journal:") and not text.startswith("journal://"):
        return _open_journal(text.removeprefix("journal:"), sync_interval_s, must_exist)
    if isinstance(spec, str) and "://" in text:
        return _open_database(text, must_exist)
    return _open_journal(text, sync_interval_s, must_exist)


def _refuse_missing(path: Path, shown: str) -> None:
    folder = path.parent
    beside = sorted(entry.name for entry in folder.iterdir() if entry.is_file())[:10] if folder.is_dir() else []
    there = f"; {str(folder)!r} holds: {', '.join(beside) or 'no file'}" if folder.is_dir() else ""
    raise InvalidArgument(f"storage={shown!r}: there is no file {str(path)!r}{there}. Check the path")


def _open_journal(text: str, sync_interval_s: float, must_exist: bool) -> Journal:
    if not text or "\0" in text:
        raise InvalidArgument(f"storage={text!r} names no file; it must be one of: {_FORMS}")
    path = Path(text)
    if path.is_dir():
        raise InvalidArgument(f"storage={text!r} is a folder; give a file, for instance {str(path / 'study.log')!r}")
    if text.endswith(("/", os.sep)):
        raise InvalidArgument(f"storage={text!r} ends like a folder; give a file, for instance {text + 'study.log'!r}")
    if path.exists():
        if not path.is_file():
            raise InvalidArgument(f"storage={text!r} is no regular file; a journal must be one")
        with path.open("rb") as file:
            if file.read(15) == b"SQLite format 3":
                raise InvalidArgument(f"storage={text!r} is an SQLite database; write 'sqlite:///{text}'")
    elif must_exist:
        _refuse_missing(path, text)
    else:
        _make_folder(path, text)
    return Journal(path, sync_interval_s=sync_interval_s)


def _make_folder(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidArgument(f"storage={text!r}: a part of {str(path.parent)!r} is a file, not a folder") from None


def _open_database(text: str, must_exist: bool) -> RDBStorage:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

    try:
        make_url(text)
        text = _with_driver(text)
        url = make_url(text)
    except NoSuchModuleError:
        raise UnknownName("storage", text.partition("://")[0], _SCHEMES) from None
    except (ArgumentError, ValueError) as error:
        raise InvalidArgument(
            f"storage: this URL cannot be read ({error}); write it like 'sqlite:///study.db' or "
            f"'postgresql://user:password@host:5432/name'"
        ) from None
    shown = url.render_as_string(hide_password=True)
    is_sqlite = url.get_backend_name() == "sqlite"
    file = sqlite_file(url) if is_sqlite else None
    if file is not None:
        if must_exist and not file.exists():
            _refuse_missing(file, shown)
        check_sqlite_file(file, shown)
        _make_folder(file, shown)
    # Servers close connections that idle through a long trial: they are tried before use.
    options: dict[str, Any] = (
        {"connect_args": {"timeout": 60.0, "factory": SqliteConnection}} if is_sqlite else {"pool_pre_ping": True}
    )
    try:
        storage = _connect(SqliteStorage if is_sqlite else RDBStorage, text, options)
    except DBAPIError as error:
        raise UsageError(
            f"storage {shown} cannot be used: {error.orig}. Check that the database is there, answers, and may be "
            f"written to"
        ) from error
    if file is not None:
        check_wal(storage, shown)
    return storage


def _connect(kind: type[RDBStorage], text: str, options: dict[str, Any]) -> RDBStorage:
    """Optuna's storage; tried again where another process is making the same tables at the same time."""
    from sqlalchemy.exc import DBAPIError

    for _ in range(_N_CREATIONS):
        try:
            return kind(text, engine_kwargs=options)
        except DBAPIError as error:
            if not any(words in str(error.orig).lower() for words in ("already exists", "duplicate", "unique")):
                raise
        except AssertionError:
            pass  # Optuna found tables without the version that is written last
        time.sleep(0.1)
    return kind(text, engine_kwargs=options)


def _with_driver(text: str) -> str:
    """The URL with a driver that can be imported."""
    from sqlalchemy.engine import make_url

    scheme, separator, rest = text.partition("://")
    error: ImportError | None = None
    for driver in _DRIVERS.get(scheme, (None,)):
        candidate = (f"{scheme}+{driver}" if driver else scheme) + separator + rest
        try:
            make_url(candidate).get_dialect().import_dbapi()
        except ImportError as failure:
            error = error or failure
        else:
            return candidate
    module = "" if error is None else (error.name or str(error)).partition(".")[0]
    raise MissingLibrary(_LIBRARIES.get(module, module), None) from error
