"""Files of an experiment, whole, torn, damaged or missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneflow.analysis.reading import (
    iter_results,
    read_checkpoints,
    read_experiment,
    read_last_result,
    read_params,
    read_stored_trials,
)
from tuneflow.errors import ExperimentNotFound, InvalidArgument, TuneflowWarning

results = st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=40), min_size=1), max_size=8)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(results, st.integers(0, 60))
def test_whole_lines_are_read_and_a_torn_one_is_not(tmp_path, results, n_cut):
    path = tmp_path / "result.json"
    lines = [json.dumps(result).encode() + b"\n" for result in results]
    data = b"".join(lines)
    data = data[: max(0, len(data) - n_cut)]
    path.write_bytes(data)
    n_whole, length = 0, 0
    for line in lines:
        length += len(line)
        n_whole += length - 1 <= len(data)  # only the line's end is missing: it is whole
    assert list(iter_results(path)) == results[:n_whole]
    assert read_last_result(path) == (results[n_whole - 1] if n_whole else None)


def test_the_last_line_is_found_whatever_its_length(tmp_path):
    path = tmp_path / "result.json"
    for size in (10, 16_384, 200_000):
        path.write_text("".join(json.dumps({"i": i, "text": "x" * size}) + "\n" for i in range(3)))
        last = read_last_result(path)
        assert last is not None
        assert last["i"] == 2


def test_a_damaged_line_is_left_out_with_a_warning(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"a": 1}\n{"a": \n\n{"a": 4}\n')
    with pytest.warns(TuneflowWarning, match="line 2 is damaged"):
        assert list(iter_results(path)) == [{"a": 1}, {"a": 4}]


def test_missing_files_are_nothing(tmp_path):
    assert list(iter_results(tmp_path / "result.json")) == []
    assert read_last_result(tmp_path / "result.json") is None
    assert read_params(tmp_path) is None
    assert read_stored_trials(tmp_path, None) is None
    assert read_checkpoints(tmp_path / "gone") == []


def test_no_experiment(tmp_path):
    with pytest.raises(ExperimentNotFound, match="there is no folder"):
        read_experiment(tmp_path / "gone")
    with pytest.raises(ExperimentNotFound, match="holds no experiment"):
        read_experiment(tmp_path)
    (tmp_path / "00000").mkdir()
    assert read_experiment(tmp_path) == {}


def test_a_damaged_experiment_json_is_named(tmp_path):
    (tmp_path / "experiment.json").write_text('{"name"')
    with pytest.raises(InvalidArgument, match=r"experiment\.json is damaged"):
        read_experiment(tmp_path)


def test_only_whole_checkpoints_count(tmp_path):
    for name in ("checkpoint_000010", "checkpoint_000002", ".attempt_001_checkpoint_000011", ".old_checkpoint_000003"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint_000012").write_text("a file")
    (tmp_path / "checkpoint_best").mkdir()
    found = read_checkpoints(tmp_path)
    assert [(step, Path(checkpoint.path).name) for step, checkpoint in found] == [
        (2, "checkpoint_000002"),
        (10, "checkpoint_000010"),
    ]
