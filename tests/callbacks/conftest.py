"""Studies in a folder, as ``tune.run`` makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.creation import build_study

SPACE = {"x": tune.uniform(0, 1), "net": {"width": tune.choice([16, 32])}, "api_key": "sesame"}


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Any]:
    """Opens the study in a folder; opened again, it is what a second process finds."""

    def make(name: str = "exp", *, again: bool = False, **options: Any) -> Any:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        if options.get("has_metric", True):
            options = {"metric": "loss", "mode": "min", **options}
        study = build_study(
            options.pop("space", SPACE),
            storage=folder / "study.log",
            study_name=name,
            folder=folder,
            seed=0,
            load_if_exists=again,
            **options,
        )
        if again:
            study.adopt()
        return study

    return make
