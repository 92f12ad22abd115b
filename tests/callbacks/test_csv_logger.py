"""``progress.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.callbacks import CsvLogger
from tuneflow.callbacks.csv_logger import CsvLog

Make = Callable[..., Any]


@pytest.fixture
def study(make_study: Make) -> Any:
    study = make_study()
    study.add_callback(CsvLogger())
    return study


def text(trial: Any) -> str:
    return (trial.dir / "progress.csv").read_bytes().decode()


def test_a_header_and_a_row_per_report(study: Any) -> None:
    trial = study.ask()
    trial.report({"loss": 0.5, "val": {"acc": 0.75, "top": {"5": 1}}}, 1)
    trial.report({"loss": 0.25, "val": {"acc": 1.0, "top": {"5": 2}}}, 2)
    assert text(trial) == "loss,val/acc,val/top/5,training_iteration\n0.5,0.75,1,1\n0.25,1.0,2,2\n"


def test_new_columns_widen_the_header_and_keep_their_order(study: Any) -> None:
    trial = study.ask()
    trial.report({"loss": 0.5, "name": 'a "b", c'}, 1)
    trial.report({"loss": 0.25, "later": 3}, 2)
    trial.report({"even": {"later": "x"}, "loss": 0.125}, 3)
    frame = pd.read_csv(trial.dir / "progress.csv")
    assert list(frame) == ["loss", "name", "training_iteration", "later", "even/later"]
    assert frame["loss"].tolist() == [0.5, 0.25, 0.125]
    assert frame["name"].tolist()[0] == 'a "b", c'
    assert frame["later"].isna().tolist() == [True, False, True]
    assert frame["even/later"].tolist()[2] == "x"


def test_pandas_reads_what_numbers_there_can_be(study: Any) -> None:
    trial = study.ask()
    trial.report({"loss": math.nan, "up": math.inf, "n": np.int64(3), "yes": True, "f": np.float32(0.5)}, 1)
    row = pd.read_csv(trial.dir / "progress.csv").iloc[0]
    assert math.isnan(row["loss"])
    assert row["up"] == math.inf
    assert (row["n"], row["yes"], row["f"]) == (3, True, 0.5)


def test_visualkit_style_readers_get_strings_by_column(study: Any) -> None:
    trial = study.ask()
    trial.report({"loss": 0.5}, 1)
    trial.report({"loss": 0.25, "acc": 1}, 2)
    with (trial.dir / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"loss": "0.5", "training_iteration": "1", "acc": ""},
        {"loss": "0.25", "training_iteration": "2", "acc": "1"},
    ]


@pytest.mark.parametrize(
    "result", [{"token": "sesame"}, {"a": {"api_key": "sesame"}}, {"a": {"api_key": {"b": "sesame"}}}]
)
def test_secrets_are_masked_in_every_row(study: Any, result: dict[str, Any]) -> None:
    trial = study.ask()
    for step in (1, 2, 3):
        trial.report({"loss": 0.5, **result}, step)
    assert "sesame" not in text(trial)
    assert len(text(trial).splitlines()) == 4


def test_keys_that_are_no_text(study: Any) -> None:
    trial = study.ask()
    for step in (1, 2):
        trial.report({"loss": 0.5, 7: step}, step)
    assert text(trial) == "loss,7,training_iteration\n0.5,1,1\n0.5,2,2\n"


cells = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
rows = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", 'c"', "d,", "e\n", "f\r"]), cells, min_size=1), min_size=1, max_size=6
)


def shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


@settings(max_examples=50)
@given(rows)
def test_any_rows_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "progress.csv"
    logger, log = CsvLogger(), CsvLog(str(path))
    for row in rows:
        logger._write(log, row)
    logger._pool.close_all()
    header, *found = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))
    assert header == list(dict.fromkeys(key for row in rows for key in row))
    assert found == [[shown(row.get(key)) for key in header] for row in rows]


def test_a_cell_of_any_size_can_be_widened(study: Any) -> None:
    trial = study.ask()
    trial.report({"loss": 0.5, "huge": "x\n" * 200_000}, 1)  # more than csv.reader takes
    trial.report({"loss": 0.25, "new": 1}, 2)
    assert text(trial).startswith("loss,huge,training_iteration,new\n")
    assert text(trial).endswith(",1,\n0.25,,2,1\n")


def test_no_temporary_file_is_left(study: Any) -> None:
    trial = study.ask()
    trial.report({"loss": 0.5}, 1)
    trial.report({"loss": 0.5, "b": 1}, 2)
    assert [path.name for path in Path(trial.dir).iterdir()] == ["progress.csv"]
