"""Experiments on disk, by hand and by an ask/tell loop with the loggers attached."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.callbacks import CsvLogger, JsonLogger
from tuneflow.creation import build_study

Write = Callable[..., Path]


@pytest.fixture
def write_experiment(tmp_path: Path) -> Write:
    """Writes an experiment's files without ``study.log``."""

    def write(trials: Sequence[Mapping[str, Any]], name: str = "exp", **experiment: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "experiment.json").write_text(json.dumps({"version": 1, "name": name, **experiment}))
        for number, trial in enumerate(trials):
            logdir = folder / f"{number:05d}"
            logdir.mkdir()
            (logdir / "params.json").write_text(json.dumps(trial.get("config", {})))
            lines = [
                json.dumps({"training_iteration": i, **r}) for i, r in enumerate(trial.get("results", ()), start=1)
            ]
            (logdir / "result.json").write_text("".join(f"{line}\n" for line in lines))
            if "error" in trial:
                (logdir / "error.txt").write_text(trial["error"])
            for step in trial.get("checkpoints", ()):
                (logdir / f"checkpoint_{step:06d}").mkdir()
        return folder

    return write


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Any]:
    """A study in ``tmp_path/NAME`` as ``tune.run`` makes it, with the loggers attached."""

    def make(space: Any = None, name: str = "exp", **options: Any) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        options = {"metric": "loss", "mode": "min", **options}
        study = build_study(
            {"x": tune.uniform(0, 1), "net": {"width": tune.choice([16, 32])}} if space is None else space,
            storage=folder / "study.log", study_name=name, folder=folder, seed=0, **options,
        )  # fmt: skip
        (folder / "experiment.json").write_text(
            json.dumps({"name": name, "metric": options["metric"], "mode": options["mode"]})
        )
        study.add_callback(JsonLogger())
        study.add_callback(CsvLogger())
        return study

    return make
