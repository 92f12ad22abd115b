"""Command lines with placeholders, and metrics in printed lines."""

from __future__ import annotations

import math
import shlex
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuneflow as tune
from tuneflow.errors import InvalidArgument
from tuneflow.space import Space
from tuneflow.trainable.command import fields, filled, is_program_text, missing_in
from tuneflow.trainable.printed import DEFAULT_PATTERN, Lines, Masked, PrintedMetrics, Tracebacks, checked_pattern

CONFIG = {"lr": 0.1, "model": {"layers": 3, "act": "re lu"}, "a/b": 1, "sizes": [1, {"n": 2}], "on": True, "no": None}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("--lr={lr}", "--lr=0.1"),
        ("{model/layers}{lr:.3f}", "30.100"),
        ("{a/b} {sizes/1/n}", "1 2"),
        ("{model/act}", "re lu"),
        ("{model/act!r}", "'re lu'"),
        ("{sizes}", '[1, {"n": 2}]'),
        ("{on} {no}", "True None"),
        ('{{"lr": {lr}}}', '{"lr": 0.1}'),
        ("{trial.seed}", "7"),
        ("nothing", "nothing"),
    ],
)
def test_placeholders(template: str, text: str) -> None:
    assert filled(template, CONFIG, {"trial.seed": 7}) == text


def test_scalars_of_numpy_are_written_as_numbers() -> None:
    assert filled("{x} {y}", {"x": np.float64(0.5), "y": np.int64(3)}, {}) == "0.5 3"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{x}", "'{x}' is no entry of the configuration, which has: lr, model/layers, model/act"),
        ("{model/x}", "is no entry"),
        ("{sizes/2}", "is no entry"),
        ("{lr", "cannot be filled in"),
        ("lr}", "write a brace of the program's own twice"),
        ("{}", "empty pair of braces"),
        ("{model/act:.3f}", "cannot be written"),
    ],
)
def test_wrong_templates_are_explained(template: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        filled(template, CONFIG, {})


def test_a_nul_character_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        filled("{x}", {"x": "a\0b"}, {})


@given(st.dictionaries(st.sampled_from("abcd"), st.text().filter(lambda text: "\0" not in text), min_size=4))
def test_a_value_is_one_argument_whatever_it_holds(config: dict[str, str]) -> None:
    line = [filled(piece, config, {}) for piece in shlex.split("--a {a} '--b={b} x' --c={c}{d}")]
    a, b, c, d = (config[name] for name in "abcd")
    assert line == ["--a", a, f"--b={b} x", f"--c={c}{d}"]


def test_what_no_configuration_fills_is_found_in_the_space() -> None:
    space = Space(
        {
            "lr": tune.uniform(0, 1),
            "opt": tune.choice([{"name": "sgd", "momentum": 0.9}, {"name": "adam"}]),
            "model": {"layers": tune.grid_search([1, 2])},
            "fixed": 3,
        }
    )
    missing_in(["{lr} {opt/momentum} {model/layers}", "{trial.dir}", "{fixed} {opt}"], space.definition, ["trial.dir"])
    for name in ("epochs", "model/width", "fixed/x", "trial.seed"):
        with pytest.raises(InvalidArgument, match=name):
            missing_in([f"{{{name}}}"], space.definition, ["trial.dir"])


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        (["bash", "-c", "x", "{lr}"], [2]),
        (["/bin/sh", "-e", "-uc", "x", "-c", "y"], [3]),
        (["python3.11", "-I", "-c", "x"], [3]),
        (["bash", "run.sh", "-c", "x"], []),
        (["train", "-c", "x"], []),
        ([], []),
    ],
)
def test_the_text_of_a_program_is_known(line: list[str], texts: list[int]) -> None:
    assert [index for index in range(len(line)) if is_program_text(line, index)] == texts


def test_fields() -> None:
    assert fields("{a} {{b}} {c/d:>3}{a}") == ["a", "c/d", "a"]


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("epoch=1 loss=0.53 acc=.8", {"epoch": 1, "loss": 0.53, "acc": 0.8}),
        ("[val/loss = -1e-3], lr=+2.", {"val/loss": -0.001, "lr": 2}),
        ("\x1b[0mloss=3\x1b[0m", {"loss": 3}),
        ("loss=1.\rloss=0.5", {"loss": 0.5}),
        ("loss=inf best=-Infinity", {"loss": math.inf, "best": -math.inf}),
        ("python train.py --lr=0.1", None),
        ("version=1.2.3 flag=0x10 name=7b x==1", None),
        ("loss: 0.3", None),
    ],
)
def test_metrics_in_lines(line: str, result: dict[str, float] | None) -> None:
    assert PrintedMetrics(DEFAULT_PATTERN, ()).take(line) == result


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_printed_float_is_read_as_it_is(value: float) -> None:
    found = PrintedMetrics(DEFAULT_PATTERN, {"loss"}).take(f"step 3: loss={value}, done")
    assert found is not None
    assert found["loss"] == value or (math.isnan(value) and math.isnan(found["loss"]))


@given(st.lists(st.text(alphabet="ab\n\r=1", max_size=9)))
def test_lines_do_not_depend_on_the_pieces(pieces: list[str]) -> None:
    lines, whole = Lines(), "".join(pieces)
    got = [line for piece in pieces for line in lines.feed(piece)] + lines.rest()
    assert "\n".join(got) == whole.removesuffix("\n")
    assert len(got) == whole.count("\n") + (not whole.endswith("\n") and whole != "")


@given(st.lists(st.text(alphabet="abx", max_size=5)))
def test_a_secret_is_masked_however_it_is_cut(pieces: list[str]) -> None:
    masked = Masked("abab")
    got = "".join([masked.feed(piece) for piece in pieces] + [masked.rest()])
    assert got == "".join(pieces).replace("abab", "********")


def test_a_line_that_never_ends_costs_no_more_for_being_long() -> None:
    lines = Lines()
    for step in range(200_000):
        lines.feed(f"\rstep {step}: loss={step}")
    (line,) = lines.feed("\n")
    assert len(line) < 3_000_000
    assert PrintedMetrics(DEFAULT_PATTERN, ()).take(line) == {"loss": 199_999}


def test_tracebacks_hold_no_metrics() -> None:
    text = """\
loss=1
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    loss=2

    ~~~~~^
ValueError: loss=3
loss=4
[rank0]: Traceback (most recent call last):
[rank0]:     loss=5
[rank0]: KeyError: loss=6
loss=7"""
    tracebacks = Tracebacks()
    assert [line for line in text.splitlines() if not tracebacks.hide(line)] == ["loss=1", "loss=4", "loss=7"]


def test_a_result_is_complete_with_the_metric() -> None:
    printed = PrintedMetrics(DEFAULT_PATTERN, {"loss"})
    results = [printed.take(line) for line in ("lr=0.1", "acc=0.5", "loss=2 step=1", "acc=0.6", "loss=1")]
    assert results == [None, None, {"lr": 0.1, "acc": 0.5, "loss": 2, "step": 1}, None, {"acc": 0.6, "loss": 1}]
    assert printed.seen == {"lr", "acc", "loss", "step"}


@pytest.mark.parametrize(
    ("pattern", "line", "result"),
    [
        (r"(?P<name>\w+): (?P<value>\S+)", "loss: 0.5 acc: high", {"loss": 0.5}),
        (r"loss (?P<loss>\S+)(?: acc (?P<acc>\S+))?", "loss 0.5", {"loss": 0.5}),
        (r"epoch \d+ (?P<value>\S+)", "epoch 3 0.5", {"value": 0.5}),
        (r"^epoch \d+ loss (?P<loss>\S+)$", "\repoch 1 loss 2\repoch 2 loss 1", {"loss": 1}),
        (r"^loss (?P<loss>\d+)$", "loss 2\r", {"loss": 2}),
    ],
)
def test_own_patterns(pattern: str, line: str, result: dict[str, Any]) -> None:
    assert PrintedMetrics(checked_pattern(pattern), ()).take(line) == result


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("loss=(", "no regular expression"), (r"loss=(\S+)", "no named groups"), (r"(?P<name>a)(?P<x>b)", "only one of")],
)
def test_wrong_patterns_are_explained(pattern: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        checked_pattern(pattern)
