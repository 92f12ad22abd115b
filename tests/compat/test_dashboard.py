"""optuna-dashboard and Optuna's plots open a study while it runs."""

from __future__ import annotations

import json
import threading
import urllib.request
import wsgiref.simple_server
from pathlib import Path

import optuna
import optuna_dashboard

import tuneflow as tune
from tuneflow.pruners import HyperBand


class _Silent(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_running_study_is_open_to_the_dashboard_and_to_plots(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    study = tune.create_study({"x": tune.uniform(0, 1)}, storage=path, study_name="live", pruner=HyperBand(9), seed=0)
    for _ in range(20):
        trial = study.ask()
        trial.report(trial.config["x"], trial.start_step + 1, {})
    study.ask()
    # As `optuna-dashboard study.log` does: another reader of the same file, while the study is open here.
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    app = optuna_dashboard.wsgi(storage)
    with wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}/api/studies"
        listed = json.load(urllib.request.urlopen(base, timeout=20))["study_summaries"]
        detail = json.load(urllib.request.urlopen(f"{base}/{listed[0]['study_id']}?after=0", timeout=20))
        server.shutdown()
        thread.join(10)
    assert [summary["study_name"] for summary in listed] == ["live"]
    assert len(detail["trials"]) == len(study.trials) >= 12
    assert "Running" in {trial["state"] for trial in detail["trials"]}
    seen = optuna.load_study(study_name="live", storage=storage)
    lines = optuna.visualization.plot_intermediate_values(seen).data
    assert len(lines) == sum(bool(trial.intermediate_values) for trial in study.trials)
