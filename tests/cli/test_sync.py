"""``tuneflow sync``: which integrations it calls. What MLflow's does is shown with a real server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuneflow import registry
from tuneflow.cli.main import main


def test_it_calls_who_has_something_in_the_folder(tmp_path, monkeypatch, capsys):
    calls = []

    def resolve(kind, name):
        return lambda folder, uri: calls.append((kind, name, folder, uri)) or [f"{name}: sent"]

    monkeypatch.setattr(registry, "resolve", resolve)
    monkeypatch.setattr(registry, "known", lambda kind: ["mlflow", "other"])
    (tmp_path / "tracking" / "mlflow").mkdir(parents=True)
    assert main(["sync", str(tmp_path), "--to", "http://host"]) == 0
    assert calls == [("sync", "mlflow", tmp_path, "http://host")]
    assert capsys.readouterr().out == "mlflow: sent\n"


def test_nothing_to_send_and_no_folder(tmp_path, capsys):
    assert main(["sync", str(tmp_path)]) == 0
    assert "nothing is kept for a tracking server" in capsys.readouterr().out
    assert main(["sync", str(tmp_path / "none")]) == 1
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["tuneflow.cli.main", "tuneflow"])
def test_the_integration_is_not_imported_before(module):
    code = f"import sys, {module}; print([name for name in sys.modules if 'mlflow' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
