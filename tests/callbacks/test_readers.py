"""A run's folder as others read it: pandas, and VisKit, which looks for ``progress.csv`` beside ``params.json``."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tuneflow as tune


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def train(config: dict[str, Any]) -> None:
        for step in range(1, 4):
            late = {"late": step * 10, "note": 'a, "quoted"\ntext'} if step > 1 else {}
            tune.report({"loss": config["net"]["rate"] / step, "val": {"acc": float("nan")}, **late})

    root = tmp_path_factory.mktemp("readers")
    space = {"net": {"rate": tune.choice([1.0, 2.0])}, "kind": "sgd", "wandb": {"api_key": "sesame"}}
    tune.run(
        train,
        space,
        metric="loss",
        mode="min",
        num_samples=3,
        executor="inline",
        storage_path=root,
        name="e",
        verbose=0,
    )
    return root / "e"


def as_viskit_reads(root: Path) -> dict[str, tuple[dict[str, Any], dict[str, list[float]]]]:
    """By experiment, its parameters and its columns of numbers; what is no number counts as 0."""
    found = {}
    for place, _, files in os.walk(root):
        if "progress.csv" not in files:
            continue
        settings = "variant.json" if "variant.json" in files else "params.json"
        params = json.loads(Path(place, settings).read_text())
        columns: dict[str, list[float]] = {}
        with Path(place, "progress.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                for name, cell in row.items():
                    try:
                        columns.setdefault(name, []).append(float(cell))
                    except ValueError:
                        columns[name].append(0.0)
        found[Path(place).name] = params, columns
    return found


def test_viskit(folder: Path) -> None:
    found = as_viskit_reads(folder)
    assert set(found) == {"00000", "00001", "00002"}
    for params, columns in found.values():
        assert set(params) == {"net", "kind"}
        assert columns["loss"] == [params["net"]["rate"] / step for step in (1, 2, 3)]
        assert columns["training_iteration"] == [1.0, 2.0, 3.0]
        assert columns["late"] == [0.0, 20.0, 30.0], "a column that came up later; the first row has none"


def test_pandas(folder: Path) -> None:
    for trial in ("00000", "00001", "00002"):
        table = pd.read_csv(folder / trial / "progress.csv")
        lines = pd.read_json(folder / trial / "result.json", lines=True)
        assert list(table["loss"]) == pytest.approx(list(lines["loss"]))
        assert list(table["late"][1:]) == list(lines["late"][1:]) == [20, 30]
        assert table["late"].isna().tolist() == lines["late"].isna().tolist() == [True, False, False]
        assert table["val/acc"].isna().all()
        assert table["note"][2] == lines["note"][2] == 'a, "quoted"\ntext'
