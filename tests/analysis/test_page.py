"""The HTML report."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from tuneflow.analysis import ExperimentAnalysis
from tuneflow.analysis.curves import Line, draw

VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Notes every element's text, and that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    return checker


def test_a_report_needs_nothing_else(make_study, tmp_path):
    study = make_study({"x": 1, "name": "<b>&", "api_key": "sesame"}, name="my <exp>")
    for number in range(3):
        trial = study.ask()
        for step in (1, 2, 3):
            trial.report({"loss": (number + 1) / step}, step)
        study.tell(trial, (number + 1) / 3)
    study.finish(study.ask(), TrialState.FAIL, reason="ValueError: <boom>")
    study.close()
    path = ExperimentAnalysis(study.folders.root).report(tmp_path / "report.html")
    page = read(path)
    text = path.read_text()
    assert "my <exp>" in page.texts
    assert "<b>&" in page.texts
    assert "ValueError: <boom>" in page.texts
    assert any(text.startswith("Best: trial 00000, loss = 0.333333") for text in page.texts)
    assert page.tags.count("svg") == 2
    assert page.tags.count("polyline") == 1 + 3, "the best so far, and a curve per trial"
    assert "sesame" not in text
    assert not re.search(r"https?://|<script|<link|src=", text)


@pytest.mark.parametrize(
    ("metric", "mode", "says"),
    [(None, None, "The experiment has no metric"), ("loss", "min", "no trial is best")],
)
def test_a_report_without_a_best_trial(write_experiment, tmp_path, metric, mode, says):
    analysis = ExperimentAnalysis(write_experiment([{}], metric=metric, mode=mode))
    page = read(analysis.report(tmp_path / "report.html"))
    assert any(says in text for text in page.texts)


def test_a_large_report_is_cut(write_experiment, tmp_path):
    trials = [{"results": [{"loss": n}, {"loss": n + 1}]} for n in range(70)]
    page = read(ExperimentAnalysis(write_experiment(trials, metric="loss", mode="min")).report(tmp_path / "r.html"))
    assert "Curves of 60 of 70 trials." in page.texts


numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=60)
@given(st.lists(st.lists(st.tuples(numbers, numbers), max_size=6), max_size=4), st.booleans())
def test_any_points_make_a_valid_drawing(series, is_dots):
    lines = [Line(points=points, label='<"&>', is_dots=is_dots) for points in series]
    drawing = draw(lines, x_label="x", y_label='y <"&>')
    has_points = any(abs(x) < 1e300 and abs(y) < 1e300 for points in series for x, y in points)
    assert bool(drawing) == has_points
    if not has_points:
        return
    root = ET.fromstring(drawing)
    places = [(dot.attrib["cx"], dot.attrib["cy"]) for dot in root.iter("circle")]
    places += [tuple(p.split(",")) for line in root.iter("polyline") for p in line.attrib["points"].split()]
    places += [(line.attrib["x1"], line.attrib["y1"]) for line in root.iter("line")]
    assert all(0 <= float(x) <= 720 and 0 <= float(y) <= 320 for x, y in places)
    assert len(list(root.iter("line"))) >= 2


def test_long_lines_are_thinned_out():
    drawing = draw([Line(points=[(x, math.sin(x)) for x in range(10_000)])], x_label="x", y_label="y")
    assert 100 < len(ET.fromstring(drawing).find("polyline").attrib["points"].split()) <= 241
