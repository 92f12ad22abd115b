"""``params.json`` and ``result.json``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneflow as tune
from tuneflow.callbacks import JsonLogger
from tuneflow.pruners import PBT, Exploit

Make = Callable[..., Any]


def results(trial: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trial.dir / "result.json").read_text().splitlines()]


def params(trial: Any) -> Any:
    return json.loads((trial.dir / "params.json").read_text())


@pytest.fixture
def study(make_study: Make) -> Any:
    study = make_study()
    study.add_callback(JsonLogger())
    return study


def test_one_line_per_report_at_once(study: Any) -> None:
    trial = study.ask()
    for step in (1, 2, 3):
        trial.report({"loss": 1 / step, "val": {"acc": [0.5, step]}}, step)
        assert results(trial)[-1] == {"loss": 1 / step, "val": {"acc": [0.5, step]}, "training_iteration": step}
    assert len(results(trial)) == 3


def test_a_bare_number_is_named_after_the_metric(study: Any) -> None:
    trial = study.ask()
    trial.report(0.25, 1)
    assert results(trial) == [{"loss": 0.25, "training_iteration": 1}]


def test_nan_and_infinities_come_back(study: Any) -> None:
    trial = study.ask()
    trial.report({"loss": math.nan, "up": math.inf, "down": -math.inf}, 1)
    (result,) = results(trial)
    assert math.isnan(result["loss"])
    assert (result["up"], result["down"]) == (math.inf, -math.inf)


def test_scalars_of_libraries_become_numbers(study: Any) -> None:
    trial = study.ask()
    trial.report(
        {
            "loss": torch.tensor(0.5),
            "a": np.float32(0.25),
            "b": np.int64(3),
            "c": np.bool_(True),
            "d": np.float64(0.125),
            "e": np.array([1, 2]),
            "f": object,
            5: "five",
        },
        1,
    )
    (result,) = results(trial)
    assert result.pop("f") == repr(object)
    assert result == {
        "loss": 0.5, "a": 0.25, "b": 3, "c": True, "d": 0.125, "e": [1, 2], "5": "five", "training_iteration": 1,
    }  # fmt: skip


@pytest.mark.parametrize("result", [{"api_key": "sesame"}, {"deep": {"password": "sesame"}}])
def test_secrets_in_results_are_masked(study: Any, result: dict[str, Any]) -> None:
    trial = study.ask()
    trial.report({"loss": 0.5, **result}, 1)
    assert "sesame" not in (trial.dir / "result.json").read_text()


def test_params_are_sorted_and_masked_and_there_from_the_start(study: Any) -> None:
    trial = study.ask()
    assert list(params(trial)) == ["api_key", "net", "x"]
    assert params(trial) == {**trial.config, "api_key": "********"}


def test_define_by_run_parameters_are_noted_as_they_come(make_study: Make) -> None:
    study = make_study(space=None)
    study.add_callback(JsonLogger())
    trial = study.ask()
    assert not (trial.dir / "params.json").exists()
    x = trial.suggest_float("x", 0, 1)
    trial.report(0.5, 1)
    assert params(trial) == {"x": x}
    y = trial.suggest_int("y", 1, 9)
    study.tell(trial, 0.5)
    assert params(trial) == {"x": x, "y": y}


def test_a_trial_without_parameters_has_its_file_too(make_study: Make) -> None:
    study = make_study(space={})
    study.add_callback(JsonLogger())
    trial = study.ask()
    study.tell(trial, 0.5)
    assert params(trial) == {}
    assert not (trial.dir / "result.json").exists()


def test_an_exploit_rewrites_params(make_study: Make) -> None:
    study = make_study(space={"lr": tune.loguniform(1e-4, 1)}, pruner=PBT({"lr": tune.loguniform(1e-4, 1)}, 2, 2))
    study.add_callback(JsonLogger())
    good, bad = study.ask(), study.ask()
    decision = None
    for step in range(1, 20):
        good.report({"loss": 0.0}, step, {"step": step})
        decision = bad.report({"loss": 1.0}, step, {"step": step})
        if isinstance(decision, Exploit):
            break
    assert isinstance(decision, Exploit)
    assert params(bad) == decision.config == bad.config
    assert params(bad) != {"lr": bad.params["lr"]}


def test_one_write_per_report(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = study.ask()
    trial.report({"loss": 0.5}, 1)
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (written.append(bytes(data)), write(fd, data))[1])
    trial.report({"loss": 0.25}, 2)
    assert [line for line in written if line.startswith(b'{"loss"')] == [b'{"loss": 0.25, "training_iteration": 2}\n']


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=3), values, max_size=5))  # keys too short to name a secret
def test_any_result_comes_back_from_its_line(result: dict[str, Any]) -> None:
    line = JsonLogger()._line(result)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert repr(json.loads(line)) == repr(result)


def test_folders_are_made_as_needed(study: Any, tmp_path: Path) -> None:
    trial = study.ask()
    assert trial.dir == tmp_path / "exp" / "00000"
