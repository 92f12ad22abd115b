"""Every event, in a loop of one's own, in optimize and in tune.run; and what a listener may do wrong."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import TuneflowWarning
from tuneflow.listening import EVENTS
from tuneflow.pruners import Continue, Exploit, Pause, Pruner, Stop

N_STEPS = 3
DONOR, HEIR, PAUSED, PRUNED, FAILED = range(5)


class ByNumber(Pruner):
    """Decides by the number of the trial alone."""

    def __init__(self) -> None:
        self._waiting: list[int] = []

    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        if trial == PAUSED and step == 1:
            self._waiting.append(trial)
            return Pause()
        if trial == HEIR and step == 2:
            return Exploit(DONOR, {"x": 9.0})
        return Stop() if trial == PRUNED and step == 2 else Continue(save=trial == DONOR)

    def on_end(self, trial: int, state: Any) -> None: ...

    def next_resume(self, more: bool = True) -> int | None:
        return self._waiting.pop() if self._waiting and not more else None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


class Everything:
    """No subclass of Callback: any object with methods of these names can listen."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        for event in EVENTS:
            setattr(self, event, self.listener_for(event))

    def listener_for(self, event: str) -> Any:
        def listen(subject: Any, detail: Any = None) -> None:
            text = event.removeprefix("on_")
            if event.startswith("on_trial"):
                text += f" {subject.number}"
            if event == "on_trial_report":
                text += f" step {subject.last_step}"
            if event == "on_trial_exploit":
                text += f" from {detail.donor} with {subject.config['x']}"
            if event == "on_trial_error":
                assert subject.error is detail
                text += f" {type(detail).__name__}"
            if event == "on_trial_end":
                text += f" {subject.state.name}"
            self.heard.append(text)

        return listen

    def without_checkpoints(self) -> list[str]:
        return [text for text in self.heard if "checkpoint" not in text]


EXPECTED = [
    "study_start",
    "trial_start 0", *(f"trial_report 0 step {step}" for step in (1, 2, 3)), "trial_end 0 COMPLETE",
    "trial_start 1", "trial_report 1 step 1", "trial_report 1 step 2", "trial_exploit 1 from 0 with 9.0",
    "trial_report 1 step 3", "trial_end 1 COMPLETE",
    "trial_start 2", "trial_report 2 step 1", "trial_pause 2",
    "trial_start 3", "trial_report 3 step 1", "trial_report 3 step 2", "trial_end 3 PRUNED",
    "trial_start 4", *(f"trial_report 4 step {step}" for step in (1, 2, 3)), "trial_error 4 TrialFailed",
    "trial_end 4 FAIL",
    "trial_resume 2", "trial_report 2 step 2", "trial_report 2 step 3", "trial_end 2 COMPLETE",
    "study_end",
]  # fmt: skip
SPACE = {"x": tune.choice([1.0, 2.0])}


def save(folder: Any) -> None:
    Path(folder, "state").write_text("")


def value_at(number: int, step: int) -> float:
    return math.nan if number == FAILED and step == N_STEPS else 1.0 / step


def in_a_loop_of_ones_own(listener: Any, folder: Path) -> None:
    study = tune.create_study(SPACE, metric="loss", pruner=ByNumber(), storage=folder / "study.log", study_name="s")
    study.add_callback(listener)
    n_new = 0
    while (trial := study.ask(new=n_new < 5)) is not None:
        n_new += trial.last_step is None
        step = trial.start_step
        while step < N_STEPS:
            step += 1
            if trial.report({"loss": value_at(trial.number, step)}, step, checkpoint=save).should_stop:
                break
        if not trial.is_paused:
            study.tell(trial, value_at(trial.number, step))
    study.close()


def in_optimize(listener: Any, folder: Path) -> None:
    def objective(trial: Any) -> float:
        for step in range(trial.start_step + 1, N_STEPS + 1):
            trial.report({"loss": value_at(trial.number, step)}, step, checkpoint=save)
            if trial.decision.should_stop:
                break
        return value_at(trial.number, step)

    study = tune.create_study(SPACE, metric="loss", pruner=ByNumber(), storage=folder / "study.log", study_name="s")
    study.optimize(objective, n_trials=5, callbacks=[listener])


def in_run(listener: Any, folder: Path) -> None:
    def train(config: Any) -> None:
        trial = tune.get_trial()
        for step in range(trial.start_step + 1, N_STEPS + 1):
            tune.report(loss=value_at(trial.number, step), checkpoint=save)

    tune.run(
        train, SPACE, metric="loss", mode="min", num_samples=5, scheduler=ByNumber(), executor="inline", verbose=0,
        callbacks=[listener], storage_path=folder, name="s", raise_on_failed_trial=False,
    )  # fmt: skip


@pytest.mark.parametrize("drive", [in_a_loop_of_ones_own, in_optimize, in_run])
def test_all_events_are_heard_in_the_same_order(drive: Any, tmp_path: Path) -> None:
    listener = Everything()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TuneflowWarning)  # the failed trial is said so
        drive(listener, tmp_path)
    assert listener.without_checkpoints() == EXPECTED
    saved = {text for text in listener.heard if "checkpoint" in text}
    assert saved == {"trial_checkpoint 0", "trial_checkpoint 2"}
    assert {text.split()[0] for text in listener.heard} == {event.removeprefix("on_") for event in EVENTS}


@pytest.mark.parametrize("drive", [in_a_loop_of_ones_own, in_optimize, in_run])
def test_a_listener_that_always_raises_changes_nothing(
    drive: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            if name not in EVENTS:
                raise AttributeError(name)

            def fail(*arguments: Any) -> None:
                raise RuntimeError(f"{name} is broken")

            return fail

    listener = Everything()

    class Both(tune.Callback):
        """Adds another listener behind the broken one."""

        def on_study_start(self, study: Any) -> None:
            study.listeners.add(listener)

    class First(Broken):
        def on_study_start(self, study: Any) -> None:
            Both().on_study_start(study)
            raise RuntimeError("on_study_start is broken")

    with warnings.catch_warnings(), caplog.at_level(logging.ERROR, logger="tuneflow"):
        warnings.simplefilter("ignore", TuneflowWarning)
        drive(First(), tmp_path)
    assert listener.without_checkpoints() == EXPECTED
    said = [record.getMessage() for record in caplog.records if "is broken" in record.getMessage()]
    assert len(said) == len(EVENTS), "each kind of error once"
    assert all(f"{event} is broken" in "".join(said) for event in EVENTS)


def test_a_study_begins_and_ends_in_turn() -> None:
    listener = Everything()
    study = tune.create_study(SPACE)
    study.add_callback(listener)
    study.close()
    assert listener.heard == [], "nothing has begun"
    study.tell(study.ask(), 1.0)
    study.ask()
    study.optimize(lambda trial: 1.0, n_trials=1)
    study.close()
    study.ask()
    study.close()
    assert [text for text in listener.heard if text.startswith("study")] == ["study_start", "study_end"] * 2


def test_a_second_broken_listener_is_reported_too(caplog: pytest.LogCaptureFixture) -> None:
    class First(tune.Callback):
        def on_trial_end(self, trial: Any) -> None:
            raise RuntimeError("the first")

    class Second(tune.Callback):
        def on_trial_end(self, trial: Any) -> None:
            raise RuntimeError("the second")

    study = tune.create_study(SPACE)
    with caplog.at_level(logging.ERROR, logger="tuneflow"):
        for callback in (First(), Second()):
            study.optimize(lambda trial: 1.0, n_trials=2, callbacks=[callback])
    text = caplog.text
    assert text.count("raised RuntimeError('the first')") == text.count("raised RuntimeError('the second')") == 1


def test_a_listener_of_ten_lines() -> None:
    class Slowest(tune.Callback):
        def on_study_start(self, study: Any) -> None:
            self.n_reports = {}

        def on_trial_report(self, trial: Any, result: dict[str, Any]) -> None:
            self.n_reports[trial.number] = self.n_reports.get(trial.number, 0) + 1

        def on_study_end(self, study: Any) -> None:
            self.slowest = max(self.n_reports, key=self.n_reports.get)

    listener = Slowest()
    study = tune.create_study(SPACE, metric="loss")

    def objective(trial: Any) -> float:
        for step in range(1 + trial.number):
            trial.report(1.0, step)
        return 1.0

    study.optimize(objective, n_trials=3, callbacks=[listener])
    assert listener.slowest == 2


def test_settings_are_refused_before_anything_starts(tmp_path: Path) -> None:
    class Choosy(tune.Callback):
        def configure(self, sections: Any) -> None:
            if sections.get("wandb", {}).get("project") != "right":
                raise ValueError(f"not with {sections}")

    def train(config: Any) -> dict[str, float]:
        return {"loss": 1.0}

    given = {"metric": "loss", "mode": "min", "executor": "inline", "verbose": 0, "storage_path": tmp_path}
    for space in ({"x": 1}, {"x": 1, "wandb": {"project": "wrong"}}):
        with pytest.raises(ValueError, match="not with"):
            tune.run(train, space, callbacks=[Choosy], name="refused", **given)
        with pytest.raises(ValueError, match="not with"):
            tune.create_study(space).add_callback(Choosy())
        with pytest.raises(ValueError, match="not with"):
            tune.create_study(space).optimize(lambda trial: 1.0, n_trials=1, callbacks=[Choosy()])
    assert not (tmp_path / "refused").exists()
    tune.run(train, {"x": 1, "wandb": {"project": "right"}}, callbacks=[Choosy], name="taken", **given)
