"""Which listeners ``tune.run`` and ``study.optimize`` get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.callbacks import (
    DEFAULT_LOGGERS,
    Callback,
    CsvLogger,
    ErrorLogger,
    JsonLogger,
    ProgressReporter,
    ProgressTable,
    RunInfo,
)
from tuneflow.callbacks.policy_logger import PolicyLogger
from tuneflow.callbacks.wiring import for_run
from tuneflow.clock import SystemClock
from tuneflow.errors import InvalidArgumentType

INFO = RunInfo(metric="loss", mode="min", n_trials=4, folder=Path("results"))


def of_run(**changed: Any) -> list[Any]:
    given: dict[str, Any] = {"callbacks": None, "loggers": None, "progress_reporter": None, "verbose": 2, **changed}
    return for_run(INFO, clock=SystemClock(), **given)


def kinds(listeners: list[Any]) -> list[type]:
    """Without those that every run has."""
    assert isinstance(listeners[0], ErrorLogger)
    return [type(listener) for listener in listeners if not isinstance(listener, (ErrorLogger, PolicyLogger))]


def test_the_default_loggers_and_the_table() -> None:
    assert kinds(of_run()) == [*DEFAULT_LOGGERS, ProgressTable]
    assert of_run()[-1].run == INFO


def test_silent_runs_have_no_table() -> None:
    assert kinds(of_run(verbose=0)) == [*DEFAULT_LOGGERS]


def test_loggers_of_ones_own_replace_the_default_ones_but_not_error_txt() -> None:
    own = CsvLogger()
    assert of_run(loggers=[own], verbose=0)[-1] is own
    assert kinds(of_run(loggers=[own], verbose=0)) == [CsvLogger]
    assert kinds(of_run(loggers=(JsonLogger,), verbose=0)) == [JsonLogger]
    assert kinds(of_run(loggers=(), verbose=0)) == []


def test_a_reporter_of_ones_own_is_told_about_the_run() -> None:
    class Mine(ProgressReporter):
        def report(self, progress: Any) -> None: ...

    mine = Mine()
    assert of_run(progress_reporter=mine, verbose=0)[-1] is mine
    assert mine.run == INFO
    assert kinds(of_run(progress_reporter=Mine))[-1] is Mine


@pytest.mark.parametrize("name", ["callbacks", "loggers"])
def test_what_cannot_listen_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentType):
        of_run(**{name: [3]})


def test_error_txt_is_written_for_a_study_that_stays(tmp_path: Path) -> None:
    def objective(trial: Any) -> float:
        raise ValueError("boom")

    study = tune.create_study({"x": 1}, storage=tmp_path / "study.log", study_name="s")
    study.optimize(objective, n_trials=1, catch=ValueError)
    text = (study.folders.of(0) / "error.txt").read_text()
    assert text.startswith("Attempt 1\nTraceback (most recent call last):\n")
    assert "in objective" in text
    assert text.rstrip().endswith("ValueError: boom")


def test_every_attempt_is_kept_in_error_txt(tmp_path: Path) -> None:
    def train(config: Any) -> None:
        raise ValueError("boom")

    analysis = tune.run(
        train, {"x": 1}, metric="loss", mode="min", executor="inline", storage_path=tmp_path, name="exp", verbose=0,
        max_failures=1, raise_on_failed_trial=False, loggers=(),
    )  # fmt: skip
    text = (tmp_path / "exp" / "00000" / "error.txt").read_text()
    assert text.count("Traceback") == 2
    assert [line for line in text.splitlines() if line.startswith("Attempt")] == ["Attempt 1", "Attempt 2"]
    assert analysis.trials[0].status == "ERROR"


def test_callbacks_hear_a_whole_run(tmp_path: Path) -> None:
    class Heard(Callback):
        def __init__(self) -> None:
            self.events: list[str] = []

        def on_study_start(self, study: Any) -> None:
            self.events.append("study_start")

        def on_trial_start(self, trial: Any) -> None:
            self.events.append("start")

        def on_trial_report(self, trial: Any, result: dict[str, Any]) -> None:
            self.events.append(f"report {result['training_iteration']}")

        def on_trial_end(self, trial: Any) -> None:
            self.events.append(trial.state.name)

        def on_study_end(self, study: Any) -> None:
            self.events.append("study_end")

    def train(config: Any) -> None:
        tune.report(loss=0.5)
        tune.report(loss=0.25)

    heard = Heard()
    tune.run(
        train,
        {"x": 1},
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=tmp_path,
        verbose=0,
        callbacks=[heard],
    )
    assert heard.events == ["study_start", "start", "report 1", "report 2", "COMPLETE", "study_end"]
