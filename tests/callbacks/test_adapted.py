"""The base class, and what may stand in ``callbacks=``."""

from __future__ import annotations

import inspect
from typing import Any

import optuna
import pytest

import tuneflow as tune
from tuneflow.callbacks import Callback, OptunaCallback, as_callback
from tuneflow.errors import InvalidArgumentType, TuneflowWarning
from tuneflow.listening import EVENTS, Listeners


def test_the_base_class_has_every_event_and_costs_nothing() -> None:
    listeners = Listeners()
    listeners.add(Callback())
    for event in EVENTS:
        method = getattr(Callback, event)
        assert inspect.getdoc(method), event
        assert listeners._calls[event] == []


def test_only_overridden_events_are_called() -> None:
    class Some(Callback):
        def on_trial_end(self, trial: Any) -> None:
            raise AssertionError("called")

    listeners = Listeners()
    listeners.add(Some())
    assert [event for event in EVENTS if listeners._calls[event]] == ["on_trial_end"]


def test_callbacks_pass_and_classes_are_made() -> None:
    class Mine(Callback):
        pass

    mine = Mine()
    assert as_callback(mine) is mine
    assert type(as_callback(Mine)) is Mine


def test_any_object_with_an_event_passes() -> None:
    class Duck:
        def on_trial_end(self, trial: Any) -> None: ...

    duck = Duck()
    assert as_callback(duck) is duck
    assert type(as_callback(Duck)) is Duck


@pytest.mark.parametrize("given", [3, None, "json", object(), int, lambda: None, lambda a, b, c: None, print.__class__])
def test_what_cannot_listen_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgumentType, match=r"callback"):
        as_callback(given)


class OfTune(Callback):
    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        raise AssertionError

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        raise AssertionError


@pytest.mark.parametrize("given", [OfTune, OfTune()])
def test_methods_that_only_tune_calls_are_warned_about(given: Any) -> None:
    with pytest.warns(TuneflowWarning, match="OfTune has methods that are never called") as caught:
        assert isinstance(as_callback(given), OfTune)
    (warning,) = caught
    assert (
        "on_trial_result is on_trial_report(self, trial, result), on_experiment_end is on_study_end(self, study)"
        in str(warning.message)
    )


class OfTunesLoggers(Callback):
    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        raise AssertionError


def test_methods_of_tunes_loggers_are_warned_about() -> None:
    with pytest.warns(TuneflowWarning, match=r"log_trial_result is on_trial_report\(self, trial, result\)"):
        as_callback(OfTunesLoggers())


class TakesMore(Callback):
    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # type: ignore[override]
        raise AssertionError

    def on_trial_end(self, *arguments: Any) -> None:
        pass


class Listens:
    def on_trial_report(self, result: Any) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (TakesMore, r"^TakesMore has .* fail .*: on_trial_start\(self, trial\)$"),
        (Listens(), r"^Listens has .* fail .*: on_trial_report\(self, trial, result\)$"),
    ],
)
def test_methods_that_take_other_arguments_are_warned_about(given: Any, ours: str) -> None:
    with pytest.warns(TuneflowWarning, match=ours) as caught:
        as_callback(given)
    assert len(caught) == 1


def test_a_class_that_needs_arguments_says_to_pass_an_object() -> None:
    with pytest.raises(InvalidArgumentType, match=r"MaxTrialsCallback\(\.\.\.\)"):
        as_callback(optuna.study.MaxTrialsCallback)


def test_optunas_callbacks_hear_of_each_ended_trial() -> None:
    heard: list[tuple[int, str, float | None]] = []

    def callback(study: Any, trial: optuna.trial.FrozenTrial) -> None:
        heard.append((trial.number, trial.state.name, trial.value))
        trial.set_user_attr("changed", True)  # on a copy

    def objective(trial: Any) -> float:
        if trial.number == 1:
            raise ValueError("boom")
        return float(trial.number)

    study = tune.create_study({"x": tune.uniform(0, 1)}, seed=0)
    study.optimize(objective, n_trials=3, callbacks=[callback], catch=ValueError)
    assert heard == [(0, "COMPLETE", 0.0), (1, "FAIL", None), (2, "COMPLETE", 2.0)]
    assert all("changed" not in trial.user_attrs for trial in study.trials)


def test_optunas_callbacks_can_stop_the_run() -> None:
    study = tune.create_study({"x": tune.uniform(0, 1)}, seed=0)
    study.optimize(lambda trial: 0.5, n_trials=50, callbacks=[optuna.study.MaxTrialsCallback(4)])
    assert len(study.trials) == 4
    assert isinstance(as_callback(optuna.study.MaxTrialsCallback(4)), OptunaCallback)
