"""MLflow: a server on loopback and a SQLite store in this process, against Ray's callback and Optuna's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import harness

from tracking.cost import added, bare, cost_of

MAX_REPORT_MS = 1.0


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of an MLflow server with a SQLite store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts",
        ],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=2):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the MLflow server did not come up")
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure(report: harness.Report, quick: bool) -> None:
    from tuneflow_integrations.mlflow import MLflowLogger

    n_trials, n_reports = (3, 50) if quick else (10, 200)
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as uri:
        stores = {"a server": uri, "SQLite": f"sqlite:///{name}/own.db"}
        without = bare(n_trials, n_reports)
        for store, target in stores.items():
            cost_of(lambda _, to=target: (MLflowLogger(to, "warm"),), 1, 5)  # makes the tables
            ours = added(cost_of(lambda _, to=target: (MLflowLogger(to, "ours"),), n_trials, n_reports), without)
            ray = harness.peer("ray_tracking", "mlflow", target, "3", "20", needs="ray")  # a report may take 0.3 s
            optuna = harness.peer("optuna_tracking", target, "5", needs="optuna_integration")
            theirs = None if ray is None else ray["report_ms"]
            of_trial = None if ray is None else ray["trial_ms"]
            report.add(
                harness.at_most(f"MLflow, {store}: a report", ours.report_ms, MAX_REPORT_MS, "ms"),
                harness.against(f"MLflow, {store}: a report", ours.report_ms, "Ray", theirs, 1.0, "ms"),
                harness.against(f"MLflow, {store}: a trial", ours.trial_ms, "Ray", of_trial, 1.0, "ms"),
                harness.against(
                    f"MLflow, {store}: a trial", ours.trial_ms, "optuna-integration",
                    None if optuna is None else optuna["trial_ms"], 1.0, "ms",
                ),
                harness.note(f"MLflow, {store}: what the study's end waits for", ours.close_s, "s"),
            )  # fmt: skip
    report.remark(f"a report every 5 ms; without listeners a report takes {without.report_ms:.3f} ms")
    report.remark("optuna-integration's MLflowCallback logs no reports, only a trial when it has ended")
