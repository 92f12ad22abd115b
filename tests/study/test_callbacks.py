"""Listeners hear the same events in a loop of one's own, in optimize and in tune.run."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgumentType
from tuneflow.listening import EVENTS
from tuneflow.pruners import ASHA


class Recorder(tune.Callback):
    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def on_trial_start(self, trial: Any) -> None:
        self.events.append(("start", trial.number))

    def on_trial_report(self, trial: Any, result: Any) -> None:
        self.events.append((f"report {result['training_iteration']}", trial.number))

    def on_trial_pause(self, trial: Any) -> None:
        self.events.append(("pause", trial.number))

    def on_trial_resume(self, trial: Any) -> None:
        self.events.append(("resume", trial.number))

    def on_trial_end(self, trial: Any) -> None:
        self.events.append((f"end {trial.state.name}", trial.number))


def train(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(loss=config["x"] / step)


SPACE = {"x": tune.choice([0.1, 0.2, 0.3, 0.4])}


def pruner() -> Any:
    return ASHA(3, reduction_factor=3, promote=True)


def drive(study: Any) -> None:
    """What the runner does, by hand."""
    n_new = 0
    while (trial := study.ask(new=n_new < 4)) is not None:
        n_new += trial.last_step is None
        for step in range(1, 4):
            if trial.report({"loss": trial.config["x"] / step}, step).should_stop:
                break
        if not trial.is_paused:
            study.tell(trial, trial.last_value)


def test_the_same_events_everywhere() -> None:
    own = Recorder()
    study = tune.create_study(SPACE, metric="loss", pruner=pruner(), seed=1)
    study.add_callback(own)
    with pytest.warns(UserWarning, match="starts over"):
        drive(study)
    driven = Recorder()
    study = tune.create_study(SPACE, metric="loss", pruner=pruner(), seed=1)
    with pytest.warns(UserWarning, match="starts over"):
        study.optimize(train, n_trials=4, callbacks=[driven])
    run = Recorder()
    with pytest.warns(UserWarning, match="starts over"):
        tune.run(
            train, SPACE, metric="loss", mode="min", num_samples=4, scheduler=pruner(), executor="inline", verbose=0,
            callbacks=[run], seed=1, name="e",
        )  # fmt: skip
    assert own.events == driven.events == run.events
    kinds = {name.split()[0] for name, _ in own.events}
    assert kinds == {"start", "report", "pause", "resume", "end"}


def test_nothing_is_heard_of_a_trial_after_its_end() -> None:
    from tuneflow.pruners import HyperBand

    recorder = Recorder()
    study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", pruner=HyperBand(3), seed=1)
    with pytest.warns(UserWarning, match="starts over"):
        study.optimize(train, n_trials=9, n_jobs=2, callbacks=[recorder])
    for number in range(9):
        heard = [name for name, of in recorder.events if of == number]
        assert heard[0] == "start"
        assert [name.split()[0] for name in heard].index("end") == len(heard) - 1


def test_a_listener_that_raises_is_reported_once_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(tune.Callback):
        def on_trial_report(self, trial: Any, result: Any) -> None:
            raise RuntimeError("listener is broken")

    study = tune.create_study(SPACE, metric="loss", seed=0)
    with caplog.at_level(logging.ERROR, logger="tuneflow"):
        study.optimize(train, n_trials=3, callbacks=[Broken()])
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert len([record for record in caplog.records if "listener is broken" in record.getMessage()]) == 1


def test_functions_and_classes_can_be_added_and_nonsense_cannot() -> None:
    seen: list[int] = []
    study = tune.create_study(SPACE, metric="loss", seed=0)
    study.add_callback(lambda study, trial: seen.append(trial.number))
    study.add_callback(Recorder)
    study.tell(study.ask(), 1.0)
    assert seen == [0]
    with pytest.raises(InvalidArgumentType, match="3"):
        study.add_callback(3)


def test_every_event_is_documented_on_the_base_class() -> None:
    for event in EVENTS:
        assert getattr(tune.Callback, event).__doc__, event
