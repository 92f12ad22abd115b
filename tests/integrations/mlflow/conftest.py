"""A real MLflow server on loopback, and databases for tests that need none."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # MLflow's own queries, under SQLAlchemy 2.1.
    ignored = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(ignored)


class Server:
    """``mlflow server`` over a SQLite store, in a process group of its own. It can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, waits: bool = True) -> None:
        command = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *command],
                cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "HOME": str(self.folder), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip
        if waits:
            self.wait()

    def wait(self, timeout_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
            assert self._process is not None
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        pytest.fail(f"the MLflow server did not come up:\n{(self.folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)
        self._process = None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow-server"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables in it: making them takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow-db") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def database(_template: Path, tmp_path: Path) -> str:
    """The URI of a fresh SQLite store."""
    shutil.copy(_template, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


class Runs:
    """What an MLflow store has of one experiment."""

    def __init__(self, uri: str, experiment: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None, f"no experiment {experiment!r}"
        self.all = {run.info.run_name: run for run in self.client.search_runs([found.experiment_id], max_results=1000)}
        assert len(self.all) == len(self.client.search_runs([found.experiment_id], max_results=1000))

    def parent(self) -> Any:
        (parent,) = (run for run in self.all.values() if "mlflow.parentRunId" not in run.data.tags)
        return parent

    def children(self) -> list[Any]:
        """The trials' runs in order of number."""
        return [run for _, run in sorted(self.all.items()) if "mlflow.parentRunId" in run.data.tags]

    def history(self, run: Any, metric: str) -> list[tuple[int, float]]:
        return [(each.step, each.value) for each in self.client.get_metric_history(run.info.run_id, metric)]

    def artifacts(self, run: Any, path: str | None = None) -> list[str]:
        found = []
        for each in self.client.list_artifacts(run.info.run_id, path):
            found += self.artifacts(run, each.path) if each.is_dir else [each.path]
        return found


@pytest.fixture
def runs() -> Callable[[str, str], Runs]:
    return Runs


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own retries, which would go on for minutes where the server dies in the middle of a request."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
