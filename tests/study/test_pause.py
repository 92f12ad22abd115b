"""Pausing, promoting, exploiting in a loop of one's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow.errors import TuneflowWarning, UsageError
from tuneflow.pruners import ASHA, Continue, Exploit, HyperBand, Pause, Pruner, Stop

SPACE = {"x": tune.uniform(0, 1)}


def run(study: Any, n: int, checkpoint: Callable[[Any, int], Any], n_steps: int = 100) -> list[tuple[int, int, Any]]:
    """Runs ``n`` trials one after the other; returns (number, start step, checkpoint) of each start."""
    starts = []
    n_new = 0
    while (trial := study.ask(new=n_new < n)) is not None:
        n_new += trial.start_step == 0 and trial.last_step is None
        starts.append((trial.number, trial.start_step, trial.checkpoint))
        step = trial.start_step
        while step < n_steps:
            step += 1
            if trial.report(trial.config["x"] + 1 / step, step, checkpoint(trial, step)).should_stop:
                break
        if not trial.is_paused:
            study.tell(trial, trial.config["x"])
    return starts


@pytest.mark.parametrize("pruner", [ASHA(9, reduction_factor=3, promote=True), HyperBand(9)])
def test_promoted_trials_go_on_from_their_own_checkpoint(pruner: Pruner) -> None:
    study = tune.create_study(SPACE, pruner=pruner, seed=0)
    starts = run(study, 20, lambda trial, step: {"trial": trial.number, "step": step})
    resumed = [(number, step, kept) for number, step, kept in starts if step > 0]
    assert resumed
    assert all(kept == {"trial": number, "step": step} for number, step, kept in resumed)
    assert {trial.state.name for trial in study.trials} == {"PRUNED", "COMPLETE"}
    assert len(study.trials) == 20
    for trial in study.trials:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1)), "no gap and no step twice"
    assert all(trial.last_step == 9 for trial in study.trials if trial.state is TrialState.COMPLETE)


def test_a_live_object_is_copied_in_and_out() -> None:
    study = tune.create_study(SPACE, pruner=ASHA(9, reduction_factor=3, promote=True), seed=0)
    live = {"weights": [1.0]}
    trial = study.ask()
    trial.report(0.5, 1, checkpoint=live)
    live["weights"][0] = 99.0
    for _ in range(2):
        study.ask().report(0.9, 1, checkpoint=live)
    resumed = study.ask(new=False)
    assert resumed is trial
    assert resumed.checkpoint == {"weights": [1.0]}
    resumed.checkpoint["weights"].append(2.0)
    assert study.saving.keeper.hand_out(0) == {"weights": [1.0]}


def test_a_function_is_called_only_when_the_checkpoint_is_needed() -> None:
    study = tune.create_study(SPACE, pruner=ASHA(9, reduction_factor=3, promote=True), seed=0)
    calls: list[int] = []

    def saver(step: int) -> Callable[[Path], None]:
        def save(folder: Path) -> None:
            calls.append(step)
            (folder / "step").write_text(str(step))

        return save

    trials = [study.ask() for _ in range(3)]
    for trial in trials:
        assert trial.report(trial.number, 1, saver(1)) == Pause()
    assert calls == [1, 1, 1]
    best = study.ask()
    assert best is trials[0]
    assert best.start_step == 1
    with best.checkpoint.as_directory() as folder:
        assert (folder / "step").read_text() == "1"
    assert best.report(0.1, 2, saver(2)) == Continue()
    assert calls == [1, 1, 1], "nobody needs step 2"
    assert best.report(0.1, 3, saver(3)) == Pause()
    assert calls[-1] == 3
    assert not (best.dir / "checkpoint_000001").exists(), "superseded"


def test_without_a_checkpoint_a_promoted_trial_starts_over_and_says_so_once() -> None:
    study = tune.create_study(SPACE, pruner=ASHA(9, reduction_factor=3, promote=True), seed=0)
    with pytest.warns(TuneflowWarning, match="starts over at step 0") as caught:
        starts = run(study, 12, lambda trial, step: None)
    assert len(caught) == 1
    assert all(step == 0 for _, step, _ in starts)
    assert len(starts) > 12
    for trial in study.trials:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))


def test_a_paused_trial_cannot_be_told_or_report() -> None:
    study = tune.create_study(SPACE, pruner=HyperBand(9))
    trial = study.ask()
    assert trial.report(0.5, 1, {}) == Pause()
    assert trial.should_prune()
    with pytest.raises(UsageError, match="paused and cannot be told"):
        study.tell(trial, 0.5)
    with pytest.raises(UsageError, match="paused"):
        trial.report(0.5, 2)
    stored = study.trials[0]
    assert stored.state is TrialState.RUNNING
    assert stored.user_attrs["tuneflow:paused"] == 1


def test_samplers_see_paused_trials_as_pruned() -> None:
    study = tune.create_study(SPACE, pruner=HyperBand(81), seed=0)
    for _ in range(5):
        study.ask().report(0.5, 1, {})
    seen = study.sampling.study.get_trials(deepcopy=False)
    assert [trial.state for trial in seen] == [TrialState.PRUNED] * 5
    assert [trial.value for trial in seen] == [0.5] * 5
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 5


class Copying(Pruner):
    """Trial 1 takes over trial 0's state at step 2."""

    needs_checkpoints = True

    def on_report(self, trial, step, value, checkpoint, decided=None):  # type: ignore[no-untyped-def]
        if decided is not None:
            return decided
        if trial == 1 and step == 2:
            return Exploit(0, {"x": 0.75})
        return Stop(complete=True) if step == 4 else Continue(save=True)


@pytest.mark.parametrize("kind", ["object", "function", "folder"])
def test_an_exploit_hands_over_state_and_configuration(kind: str, tmp_path: Path) -> None:
    study = tune.create_study(SPACE, pruner=Copying(), seed=0)

    def made(number: int, step: int) -> Any:
        text = f"{number} at {step}"
        if kind == "object":
            return {"text": text}
        if kind == "function":
            return lambda folder: (folder / "text").write_text(text)
        folder = tmp_path / text
        folder.mkdir()
        (folder / "text").write_text(text)
        return folder

    def read(checkpoint: Any) -> str:
        return checkpoint["text"] if kind == "object" else (checkpoint.path / "text").read_text()

    donor, taker = study.ask(), study.ask()
    for step in (1, 2):
        donor.report(0.1, step, made(0, step))
        decision = taker.report(0.9, step, made(1, step))
    assert isinstance(decision, Exploit)
    assert decision.donor == 0
    assert read(decision.checkpoint) == "0 at 2"
    assert taker.config == {"x": 0.75} == decision.config
    assert [(step, donor_) for step, _, donor_ in taker.schedule] == [(0, None), (2, 0)]
    assert taker.suggest_float("x", 0, 1) == 0.75
    donor.report(0.1, 3, made(0, 3))
    assert read(decision.checkpoint) == "0 at 2", "the donor's progress does not reach the copy"
    taker.report(0.05, 3, made(1, 3))
    assert taker.report(0.05, 4, made(1, 4)) == Stop(complete=True)
    study.tell(taker, 0.05)
    study.tell(donor, 0.1)
    assert study.best_config == {"x": 0.75}
    assert study.best_params == {"x": 0.75}


def test_a_study_that_is_loaded_goes_on_where_it_stood(tmp_path: Path) -> None:
    def fresh() -> Pruner:
        return ASHA(9, reduction_factor=3, promote=True)

    whole = tune.create_study(SPACE, pruner=fresh(), seed=7, storage=tmp_path / "whole.log", study_name="s")
    saver = lambda trial, step: lambda folder: (folder / "step").write_text(str(step))  # noqa: E731
    starts = run(whole, 15, saver)

    path = tmp_path / "cut.log"
    cut: list[tuple[int, int]] = []
    n_new = 0
    while True:
        # Every trial is run by a study of its own, opened from the file as after a crash.
        study = (
            tune.load_study(study_name="s", storage=path, space=SPACE, pruner=fresh())
            if path.exists()
            else tune.create_study(SPACE, pruner=fresh(), seed=7, storage=path, study_name="s")
        )
        study.adopt()
        trial = study.ask(new=n_new < 15)
        if trial is None:
            break
        n_new += trial.last_step is None
        cut.append((trial.number, trial.start_step))
        step = trial.start_step
        while not trial.report(trial.config["x"] + 1 / (step + 1), step + 1, saver(trial, step + 1)).should_stop:
            step += 1
        if not trial.is_paused:
            study.tell(trial, trial.config["x"])
        study.close()
    assert cut == [(number, step) for number, step, _ in starts]
    assert [trial.params for trial in study.trials] == [trial.params for trial in whole.trials]
    assert [trial.state for trial in study.trials] == [trial.state for trial in whole.trials]


def test_paused_trials_do_not_hold_up_new_ones() -> None:
    study = tune.create_study(SPACE, pruner=HyperBand(9), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = []
        for _ in range(30):
            trial = study.ask()
            numbers.append(trial.number)
            if trial.start_step == 0:
                trial.report(0.5, 1, {})
    assert len(set(numbers)) > 20


def test_a_checkpoint_of_step_zero_is_resumed_from() -> None:
    study = tune.create_study(SPACE, pruner=Pausing(), seed=0)
    trial = study.ask()
    assert trial.report(0.5, 0, checkpoint={"step": 0}) == Pause()
    resumed = study.ask(new=False)
    assert resumed is trial
    assert resumed.start_step == 0
    assert resumed.checkpoint == {"step": 0}


class Pausing(Pruner):
    """Pauses each trial once, at its first report."""

    def __init__(self) -> None:
        self.waiting: list[int] = []

    def on_report(self, trial, step, value, checkpoint, decided=None):  # type: ignore[no-untyped-def]
        if step == 0:
            self.waiting.append(trial)
            return Pause()
        return Continue()

    def next_resume(self, more: bool = True) -> int | None:
        return self.waiting.pop() if self.waiting else None
