"""``examples/mlflow_lightning.py`` in its short form: what MLflow has afterwards."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

for library in ("lightning", "mlflow", "sklearn"):
    pytest.importorskip(library)
if importlib.util.find_spec("tuneflow_integrations.lightning") is None:
    pytest.skip("needs tuneflow_integrations.lightning", allow_module_level=True)

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mlflow_lightning.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # of MLflow's own queries
def test_mlflow_lightning(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True, check=False, timeout=110,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.search(r"accuracy ([\d.]+)", done.stdout)[1]) > 0.5
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    trials = [run for run in runs if run is not parent]
    assert len(trials) == 4
    assert {run.data.tags["tuneflow.state"] for run in trials} <= {"COMPLETE", "PRUNED"}
    assert all({"loss", "accuracy"} <= set(run.data.metrics) for run in trials)
    assert all(set(run.data.params) == {"width", "lr", "optimizer"} for run in trials)
    assert parent.data.tags["tuneflow.best_run_id"] in {run.info.run_id for run in trials}
    assert [each.path for each in client.list_artifacts(parent.info.run_id)] == ["best_checkpoint"]
