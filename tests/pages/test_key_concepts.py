"""Pages 000 and 001, "Key Concepts": one test per block. 001 shows the same blocks by reference."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuneflow as tune
from tuneflow.search import OptunaSearch
from tuneflow.space import Space

OBJECTIVE, FUNCTION, CLASS, RUN, STATUS, SAMPLES, SPACE, CONFIG, BAYES, _NOTE, HYPERBAND, ANALYSIS, RESULTS = range(13)
Opened = Callable[[str], Any]


def with_values(page: Any) -> Any:
    """The page's trainable. A fault that is patched here: the page runs it without the configuration that it reads."""
    page.run(OBJECTIVE)
    page.run(FUNCTION, supplied={"tune": tune})
    given = page.names["trainable"]

    def trainable(config: dict[str, Any]) -> Any:
        return given({"a": 1.0, "b": 0.5, **config})

    return trainable


def only_analysis() -> tune.ExperimentAnalysis:
    """The one experiment in the default place."""
    (folder,) = Path("tuneflow_results").iterdir()
    return tune.ExperimentAnalysis(folder)


def test_the_objective(page: Opened) -> None:
    assert page("000").run(OBJECTIVE)["objective"](4, 2, 1) == 5


def test_a_function_reports(page: Opened) -> None:
    opened = page("000")
    opened.run(OBJECTIVE)
    train = opened.run(FUNCTION, supplied={"tune": tune})["trainable"]
    analysis = tune.run(train, {"a": 2.0, "b": 1.0}, verbose=0)
    assert [result["score"] for result in analysis.trials[0].results] == [2.0 * x**0.5 + 1.0 for x in range(20)]


def test_a_class_steps(page: Opened) -> None:
    opened = page("000")
    opened.run(OBJECTIVE)
    cls = opened.run(CLASS)["Trainable"]
    analysis = tune.run(cls, {"a": 2.0, "b": 1.0}, stop={"training_iteration": 5}, verbose=0)
    assert [result["score"] for result in analysis.trials[0].results] == [2.0 * x**0.5 + 1.0 for x in range(5)]


def test_run_takes_a_trainable_alone(page: Opened) -> None:
    opened = page("000")
    opened.run(RUN, supplied={"trainable": with_values(opened)})
    (trial,) = only_analysis().trials
    assert (trial.trial_id, trial.config, trial.status) == ("00000", {}, "TERMINATED")
    assert trial.resources == {"cpu": 1.0, "gpu": 0.0}
    assert trial.last_result["training_iteration"] == 20


def test_the_status_block_has_the_lines_of_the_page(page: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    opened = page("000")
    wanted = opened.blocks[STATUS].splitlines()
    tune.run(with_values(opened), {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1)}, metric="score", mode="max")
    shown = capsys.readouterr().out.splitlines()
    labels = {f"{line.split(':')[0]}:" if ":" in line else line for line in wanted if line[0] not in "+|"}
    assert labels <= {f"{text.split(':')[0]}:" if ":" in text else text for text in shown}
    assert {"+--", "|--"} <= {line[:3] for line in wanted} & {text[:3] for text in shown}, "drawn with the same strokes"
    (header,) = [line for line in wanted if "Trial name" in line]
    cells = [cell.strip() for cell in header.strip("|").split("|")]
    assert cells in [[cell.strip() for cell in text.strip("|").split("|")] for text in shown]


def test_ten_samples(page: Opened) -> None:
    opened = page("000")
    opened.run(SAMPLES, supplied={"trainable": with_values(opened)})
    assert [trial.status for trial in only_analysis().trials] == ["TERMINATED"] * 10


def test_ten_samples_of_a_space(page: Opened) -> None:
    def my_trainable(config: dict[str, Any]) -> None:
        tune.report(score=config["x"])

    page("000").run(SPACE, supplied={"tune": tune, "my_trainable": my_trainable})
    drawn = [trial.config["x"] for trial in only_analysis().trials]
    assert len(set(drawn)) == 10
    assert all(0 <= x < 1 for x in drawn)


def test_all_thirteen_primitives_in_one_config(page: Opened) -> None:
    config = page("000").run(CONFIG, supplied={"tune": tune})["config"]
    assert len(config) == 13

    def train(config: dict[str, Any]) -> None:
        tune.report(score=config["uniform"])

    drawn = [trial.config for trial in tune.run(train, config, num_samples=10, verbose=0, seed=0).trials]
    assert len(drawn) == 30, "ten times each of the three cells"
    assert [one["grid"] for one in drawn] == [32, 64, 128] * 10
    drawn += [Space(config).sample(np.random.default_rng(seed)) for seed in range(200)]
    for one in drawn:
        assert -5 <= one["uniform"] < -1
        assert one["func"] == one["uniform"] * 0.01
        assert 3.2 <= one["quniform"] <= 5.4
        assert one["quniform"] / 0.2 == pytest.approx(round(one["quniform"] / 0.2))
        assert 1e-4 <= one["loguniform"] < 1e-1
        assert 1e-4 <= one["qloguniform"] <= 1e-1
        assert one["qloguniform"] / 5e-5 == pytest.approx(round(one["qloguniform"] / 5e-5))
        assert 0 < one["randn"] < 20
        assert one["qrandn"] / 0.2 == pytest.approx(round(one["qrandn"] / 0.2))
        assert one["randint"] in range(-9, 15)
        assert one["qrandint"] in range(-21, 13, 3)
        assert one["lograndint"] in range(1, 10)
        assert one["qlograndint"] in (2, 4, 6, 8, 10)
        assert one["choice"] in ("a", "b", "c")


@pytest.mark.skipif(
    importlib.util.find_spec("tuneflow_integrations.bayesopt") is None or importlib.util.find_spec("bayes_opt") is None,
    reason="needs the integration of bayesian-optimization",
)
def test_bayesopt_limited_to_two_at_a_time(page: Opened) -> None:
    opened = page("000")
    opened.run(OBJECTIVE)
    opened.run(FUNCTION, supplied={"tune": tune})
    opened.run(BAYES)
    analysis = only_analysis()
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [20] * 20
    assert analysis.best_result["score"] > 15, "most of b alone"


def test_hyperband_with_a_class(page: Opened) -> None:
    opened = page("000")
    opened.run(OBJECTIVE)
    base = opened.run(CLASS)["Trainable"]

    class MyTrainableClass(base):  # type: ignore[misc, valid-type]
        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "x").write_text(str(self.x))

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            self.x = int(Path(checkpoint_dir, "x").read_text())

    opened.run(HYPERBAND, supplied={"MyTrainableClass": MyTrainableClass})
    analysis = only_analysis()
    iterations = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert len(iterations) == 20
    assert max(iterations) == 81
    assert min(iterations) < 81, "some were given up"
    assert all(len(trial.results) == trial.last_result["training_iteration"] for trial in analysis.trials)


def test_the_analysis_and_its_tables(page: Opened) -> None:
    opened = page("000")
    opened.run(OBJECTIVE)
    opened.run(FUNCTION, supplied={"tune": tune})
    algo = OptunaSearch({"a": tune.uniform(0, 1), "b": tune.uniform(0, 20)}, metric="score", mode="max", seed=0)
    found = opened.run(ANALYSIS, supplied={"algo": algo})
    best = found["best_trial"]
    assert found["best_config"] == best.config
    assert (found["best_logdir"], Path(best.logdir).is_dir()) == (best.logdir, True)
    assert found["best_checkpoint"] is None, "the function saves nothing"
    assert found["best_result"] == best.last_result
    assert found["best_result_df"].loc["00000", "config/a"] == best.config["a"]
    tables = opened.run(RESULTS)
    assert tables["df_results"].loc["00000", "score"] == best.last_result["score"]
    assert tables["df"]["score"].tolist() == [max(result["score"] for result in best.results)]


def test_the_page_by_reference_shows_nothing_else(page: Opened) -> None:
    """Page 001 names its blocks; each is one of page 000's, and no other Python stands in it."""
    opened = page("000") if page("000").source == "own" else page("001")
    if opened.source == "own":
        pytest.skip("our own page 000 stands for both")
    named = set(re.findall(r":start-after: __(\w+)_start__", opened.text))
    assert named == {
        "analysis", "basic_objective", "bayes", "class_api", "config", "function_api", "hyperband", "results",
        "run_tunable", "run_tunable_samples", "search_space",
    }  # fmt: skip
    assert re.findall(r"\.\. code-block:: (\w+)", opened.text) == ["bash"], "the status block"
    assert "== Status ==" in opened.text
