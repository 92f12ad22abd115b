"""Experiments as rllab's VisKit reads them: a walk for ``progress.csv`` beside ``params.json``."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

import tuneflow as tune


def load_experiments(root: Path) -> list[dict[str, Any]]:
    """What VisKit's ``load_exps_data`` does: parameters flattened by dots, columns as lists of floats, "" as NaN."""

    def flat(params: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in params.items():
            if isinstance(value, dict):
                found.update({f"{key}.{inner}": entry for inner, entry in flat(value).items()})
            else:
                found[key] = value
        return found

    experiments = []
    for folder, _, files in os.walk(root):
        if "progress.csv" not in files:
            continue
        columns: dict[str, list[float]] = {}
        with open(Path(folder) / "progress.csv", newline="") as file:
            for row in csv.DictReader(file):
                for key, value in row.items():
                    try:
                        columns.setdefault(key, []).append(float(value))
                    except ValueError:
                        columns.setdefault(key, []).append(float("nan"))
        params = flat(json.loads((Path(folder) / "params.json").read_text()))
        experiments.append({"exp_name": Path(folder).name, "params": params, "progress": columns})
    return sorted(experiments, key=lambda each: each["exp_name"])


def train(config):
    for step in range(1, 4):
        extra = {"val": {"acc": step / 3}} if step == 3 else {}
        tune.report({"loss": config["net"]["lr"] / step, "note": "text, with a comma", **extra})


def test_every_trial_is_found_with_its_parameters_and_columns(tmp_path):
    space = {"net": {"lr": tune.uniform(0, 1), "act": tune.choice(["relu", "tanh"])}, "layers": [1, 2]}
    analysis = tune.run(
        train, space, metric="loss", mode="min", num_samples=3, executor="inline", storage_path=tmp_path, name="exp",
        verbose=0, seed=0,
    )  # fmt: skip
    found = load_experiments(tmp_path / "exp")
    assert [each["exp_name"] for each in found] == ["00000", "00001", "00002"]
    for each, trial in zip(found, analysis.trials, strict=True):
        net = trial.config["net"]
        assert each["params"] == {"net.lr": net["lr"], "net.act": net["act"], "layers": [1, 2]}
        assert each["progress"]["loss"] == [net["lr"] / step for step in (1, 2, 3)]
        assert each["progress"]["training_iteration"] == [1.0, 2.0, 3.0]
        assert {len(column) for column in each["progress"].values()} == {3}, "a late column is as long as the others"
        assert each["progress"]["val/acc"][2] == 1.0
        frame = pd.read_csv(Path(trial.logdir) / "progress.csv")
        assert frame["val/acc"].isna().tolist() == [True, True, False]
        rows = pd.read_json(Path(trial.logdir) / "result.json", lines=True, precise_float=True)
        assert rows["loss"].tolist() == frame["loss"].tolist()
