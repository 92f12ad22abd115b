"""Optuna's own contract suite on every storage that tuneflow adds."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.testing.pytest_storages import StorageTestCase

from tuneflow.storage import Journal, ViewStorage, open_storage


class TestJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BaseStorage]:
        with Journal(tmp_path / "study.log") as storage:
            yield storage


def _close(storage: BaseStorage) -> None:
    assert isinstance(storage, RDBStorage)
    storage.scoped_session.remove()
    storage.engine.dispose()


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "empty.db"
    _close(open_storage(f"sqlite:///{path}"))
    return path


class TestSQLite(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path, empty_database: Path, request: pytest.FixtureRequest) -> Iterator[BaseStorage]:
        shutil.copy(empty_database, tmp_path / "study.db")  # making the tables is most of the time of a test
        storage = open_storage(f"sqlite:///{tmp_path}/study.db")
        yield storage
        _close(storage)
        if "pickle" in request.node.name:
            gc.collect()  # closes the connections of the unpickled storage now, and not in the middle of a later test


class TestView(StorageTestCase):
    @pytest.fixture
    def storage(self) -> BaseStorage:
        return ViewStorage(InMemoryStorage())


class TestBusyView(StorageTestCase):
    """The view when it translates: without a paused trial nothing may look different."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BaseStorage]:
        with Journal(tmp_path / "study.log") as journal:
            view = ViewStorage(journal)
            view.shared = True
            yield view
