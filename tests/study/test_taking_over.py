"""What a driver finds when it takes trials over: halves of what another one wrote, and what its own pruner has said."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow import drivers
from tuneflow.clock import ManualClock, uptime
from tuneflow.drivers import Drivers
from tuneflow.errors import TrialTakenOver
from tuneflow.keeping import Keeper
from tuneflow.pruners import ASHA, PBT, HyperBand, MedianStopping
from tuneflow.samplers.repeating import RepeatingSampler

pytestmark = pytest.mark.filterwarnings("ignore:trial .* goes on without a checkpoint")  # not what is tested here

SPACE = {"x": tune.uniform(0, 1)}


class Killed(BaseException):
    """The driver dies here."""


def dies(*_: Any, **__: Any) -> None:
    raise Killed


def open_study(storage: object, pruner: Any = None, **given: Any) -> tune.Study:
    settings = {"space": SPACE, "sampler": "random", "seed": 0, **given}
    return tune.create_study(**settings, pruner=pruner, storage=storage, study_name="s", load_if_exists=True)


def rest_of(study: tune.Study) -> dict[int, tune.Trial]:
    """Everything that a study hands out without new trials."""
    found = {}
    study.sharing.drivers._look_due_s = -1.0
    while (trial := study.ask(new=False)) is not None:
        found[trial.number] = trial
    return found


def states(study: tune.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def save(text: str) -> Any:
    return lambda folder: (folder / "weights").write_text(text)


def pbt(**given: Any) -> PBT:
    return PBT({"x": tune.uniform(0, 1)}, perturbation_interval=1, resample_probability=1.0, **given)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_trial_is_known_to_the_pruner_when_it_is_taken_over(kind: str, tmp_path: Path) -> None:
    storage = tmp_path / "s.log" if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    theirs, ours = (open_study(storage, ASHA(9, reduction_factor=3)) for _ in range(2))
    theirs.ask().report(0.5, 1)
    theirs.close()
    trial = ours.ask(new=False)
    assert trial.number == 0
    assert trial.report(0.4, 9).should_stop


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_what_a_trial_that_is_told_by_its_number_reported_counts(kind: str, tmp_path: Path) -> None:
    storage = tmp_path / "s.log" if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    theirs, ours = (open_study(storage, ASHA(9, reduction_factor=3)) for _ in range(2))
    theirs.ask().report(0.1, 1)
    ours.tell(0, 0.1)
    assert ours.ask().report(5.0, 1).should_stop


def test_a_pruner_has_spoken_of_a_paused_trial_before_it_was_taken_over(tmp_path: Path) -> None:
    theirs, ours = (open_study(tmp_path / "s.log", ASHA(9, reduction_factor=3, promote=True)) for _ in range(2))
    for value in (0.1, 0.2, 0.3):
        theirs.ask().report(value, 1)
    ours.ask().report(0.9, 1)
    new = ours.ask()  # before that, trial 0 was found worth going on, and is theirs
    assert new.number == 4
    ours.tell(new, 1.0)
    theirs.close()
    left = rest_of(ours)
    assert list(left) == [0]
    left[0].report(0.5, 9)
    ours.tell(left[0])
    assert rest_of(ours) == {}
    assert states(ours) == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED", "COMPLETE"]


def test_a_paused_trial_that_was_given_up_before_it_was_taken_over_ends(tmp_path: Path) -> None:
    theirs, ours = (open_study(tmp_path / "s.log", HyperBand(9)) for _ in range(2))
    trials = [theirs.ask() for _ in range(8)] + [ours.ask()]
    for trial in trials:
        trial.report(0.1 * trial.number, 1)
    ours.tell(ours.ask(), 1.0)  # the rung decides, about theirs too
    assert states(ours) == ["RUNNING"] * 8 + ["PRUNED", "COMPLETE"]
    theirs.close()
    assert list(rest_of(ours)) == [0, 1, 2]
    assert states(ours)[3:8] == ["PRUNED"] * 5


def test_an_exploit_at_a_resume_reaches_the_other_drivers(tmp_path: Path) -> None:
    theirs, ours = (open_study(tmp_path / "s.log", pbt(population_size=4)) for _ in range(2))
    for value in (0.1, 0.2, 0.3, 0.9):
        theirs.ask().report(value, 1, checkpoint={})
    ours.fold_others()
    changed = next(trial for _ in range(4) if len((trial := theirs.ask(new=False)).schedule) > 1)
    changed.report(0.05, 2, checkpoint={})
    ours.fold_others()
    assert ours._verdicts.pruner._members[changed.number].config == changed.config


def test_a_decision_on_a_report_that_was_not_stored_is_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_reported(study: tune.Study, trial: tune.Trial, value: float) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(study.optuna._storage, "set_trial_intermediate_value", dies)
            with pytest.raises(Killed):
                trial.report(value, 1, checkpoint=save("bad"))
        study.close()

    first = open_study(tmp_path / "s.log", ASHA(9, reduction_factor=3))
    trials = [first.ask() for _ in range(3)]
    trials[0].report(0.1, 1)
    half_reported(first, trials[1], 0.2)  # it would have been stopped
    second = open_study(tmp_path / "s.log", ASHA(9, reduction_factor=3))
    left = rest_of(second)
    left[2].report(0.3, 1)
    for value in range(3):
        second.start().report(0.5 + value, 1)
    assert not left[1].report(0.2, 1).should_stop
    left[1].report(0.2, 2)
    second.close()
    third = open_study(tmp_path / "s.log", ASHA(9, reduction_factor=3))
    assert not rest_of(third)[1].report(0.01, 3).should_stop

    first = open_study(tmp_path / "p.log", pbt())
    good, bad = first.ask(), first.ask()
    good.report(0.1, 1, checkpoint=save("good"))
    half_reported(first, bad, 0.9)
    assert rest_of(open_study(tmp_path / "p.log", pbt()))[1].config == bad.params

    for name, n_pauses in (("a", 0), ("b", 1)):
        pruner = ASHA(27, reduction_factor=3, promote=True)
        first = open_study(tmp_path / f"{name}.log", copy.deepcopy(pruner))
        trial = first.ask()
        if n_pauses:
            trial.report(0.5, 0)
            first.optuna._storage.set_trial_user_attr(trial.storage_id, "tuneflow:decision:0", "pause")
        half_reported(first, trial, 0.1)
        second = open_study(tmp_path / f"{name}.log", copy.deepcopy(pruner))
        assert list(rest_of(second)) == [0]
        [seen] = second.sampling.study.trials
        assert seen.state is (TrialState.PRUNED if n_pauses else TrialState.RUNNING)


def until_all_go_on(study: tune.Study, trial: tune.Trial) -> None:
    trial.report(0.9, 1, checkpoint=save("bad"))
    for _ in range(2):
        study.ask(new=False)


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_copy_that_an_exploit_had_no_time_for_is_made(
    is_paused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruner = pbt(population_size=2 if is_paused else None, quantile_fraction=0.5)
    first = open_study(tmp_path / "s.log", copy.deepcopy(pruner))
    good, bad = first.ask(), first.ask()
    good.report(0.1, 1, checkpoint=save("good"))
    with monkeypatch.context() as patch:
        patch.setattr(first.saving, "copy", dies)
        with pytest.raises(Killed):
            until_all_go_on(first, bad)
    first.close()
    second = open_study(tmp_path / "s.log", copy.deepcopy(pruner))
    taken = rest_of(second)[1]
    assert (taken.start_step, taken.is_behind) == (1, False)
    assert (taken.checkpoint.path / "weights").read_text() == "good"
    assert taken.config != bad.params
    good_again = second.live_trials()[0]
    good_again.report(0.05, 2, checkpoint=save("better"))
    second.close()
    third = rest_of(open_study(tmp_path / "s.log", copy.deepcopy(pruner)))[1]  # and only once
    assert (third.checkpoint.path / "weights").read_text() == "good"


def test_a_checkpoint_that_was_being_replaced_is_not_lost(tmp_path: Path) -> None:
    old = tmp_path / ".old_checkpoint_000003"
    old.mkdir()
    (old / "weights").write_text("old")
    (tmp_path / ".attempt_001_checkpoint_000003").mkdir()
    keeper = Keeper()
    keeper.adopt(0, tmp_path)
    latest = keeper.latest(0)
    assert latest is not None
    assert latest.step == 3
    assert (latest.content.path / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_000003"]


def test_what_was_to_be_saved_at_the_last_report_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_study(tmp_path / "s.log", pbt())
    good, _ = first.ask(), first.ask()
    with monkeypatch.context() as patch:
        patch.setattr(first.saving, "take", dies)
        with pytest.raises(Killed):
            good.report(0.1, 1, checkpoint=save("good"))
    first.close()
    second = open_study(tmp_path / "s.log", pbt())
    left = rest_of(second)
    assert left[0].report(0.1, 1, checkpoint=save("good")) == tune.pruners.Continue(save=True)
    exploit = left[1].report(0.9, 1, checkpoint=save("bad"))
    assert exploit.donor == 0
    assert (exploit.checkpoint.path / "weights").read_text() == "good"
    assert left[0].report(0.1, 1) == tune.pruners.Continue()
    assert second.trials[0].intermediate_values == {1: 0.1}


def test_paused_trials_go_on_under_a_pruner_that_resumes_nobody(tmp_path: Path) -> None:
    first = open_study(tmp_path / "s.log", ASHA(9, reduction_factor=3, promote=True))
    for value in (0.1, 0.2):
        first.ask().report(value, 1)
    first.close()
    second = open_study(tmp_path / "s.log", MedianStopping())
    left = rest_of(second)
    assert sorted(left) == [0, 1]
    for trial in left.values():
        trial.report(0.1, 2)
        second.tell(trial, 0.1)
    assert states(second) == ["COMPLETE", "COMPLETE"]


def test_a_lock_of_a_driver_that_could_not_say_its_name_is_removed(tmp_path: Path) -> None:
    gone, third = (open_study(tmp_path / "s.log") for _ in range(2))
    trial = gone.ask()
    gone.close()
    third.optuna._storage.create_new_study(third.directions, f"s/taking over {gone.sharing.drivers.id}")
    assert tune.load_study(study_name=None, storage=tmp_path / "s.log").study_name == "s"
    clock = third.sharing.drivers._clock = ManualClock()
    n_asked = 0
    while (taken := third.ask(new=False)) is None and n_asked < 20:
        n_asked += 1
        clock.advance(6.0)
    assert taken is not None
    assert taken.number == trial.number
    assert n_asked >= 10  # it may be that one only begins


def test_a_driver_that_wakes_up_while_its_trials_are_taken_over_finds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = (open_study(tmp_path / "s.log") for _ in range(2))
    trial, name = asleep.ask(), asleep.sharing.drivers.id
    look, lives = Drivers._signs, Drivers._lives
    taken = []

    def then_taken_over(self: Drivers) -> dict[str, Any]:
        signs = look(self)
        if self is asleep.sharing.drivers and not taken:
            taken.append(None)
            taken[0] = rest_of(awake)[trial.number]
        return signs

    with monkeypatch.context() as patch:
        patch.setattr(Drivers, "_lives", lambda self, other, *seen: other != name and lives(self, other, *seen))
        patch.setattr(Drivers, "_signs", then_taken_over)
        asleep.sharing.drivers.give_sign()  # it looks, loses its trials, and writes that it lives
    asleep.sharing.drivers.give_sign()
    with pytest.raises(TrialTakenOver):
        asleep.tell(trial, 1.0)
    awake.tell(taken[0], 2.0)
    assert awake.trials[0].value == 2.0


def test_a_driver_that_goes_on_after_closing_is_another_one(tmp_path: Path) -> None:
    theirs, ours = (open_study(tmp_path / "s.log") for _ in range(2))
    trial, kept = theirs.ask(), theirs.ask()
    drawn = [trial.config["x"], kept.config["x"]]
    theirs.tell(kept, 1.0)
    theirs.close()
    taken = ours.ask(new=False)
    assert taken.number == trial.number
    drawn += [theirs.start().config["x"] for _ in range(2)]
    with pytest.raises(TrialTakenOver):
        theirs.tell(trial, 1.0)
    theirs.close()
    drawn += [ours.start().config["x"] for _ in range(3)]
    assert len(set(drawn)) == len(drawn)
    ours.tell(taken, 2.0)
    assert ours.trials[0].value == 2.0


def test_a_driver_that_closes_in_between_draws_as_one_that_does_not(tmp_path: Path) -> None:
    drawn = []
    for name, closes in (("a", False), ("b", True)):
        study = open_study(tmp_path / f"{name}.log")
        for _ in range(4):
            study.tell(study.ask(), 0.0)
            if closes:
                study.close()
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]


def test_machines_of_one_name_do_not_take_each_others_processes_for_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not drivers._BOOT.exists():
        pytest.skip("the system does not tell one start from another")
    ours = open_study(tmp_path / "s.log")
    here = drivers._place()
    boot = tmp_path / "boot_id"
    boot.write_text("another")
    monkeypatch.setattr(drivers, "_BOOT", boot)
    sign = {"place": drivers._place(), "pid": 1 << 22, "started": "1", "beat": 0}
    monkeypatch.undo()
    assert ours.sharing.drivers._lives("a", sign, 0.0)
    assert not ours.sharing.drivers._lives("b", {**sign, "place": here}, 0.0)
    assert isinstance(ours.sharing.drivers, Drivers)


def test_a_paused_trial_that_optuna_has_ended_is_neither_waited_for_nor_in_the_way(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.log", ASHA(3, reduction_factor=3, promote=True))
    trials = [study.ask() for _ in range(3)]
    for trial in trials:
        trial.report(0.1 * trial.number, 1)
    best = study.ask()
    assert best.number == 0
    study.optuna.tell(1, state=TrialState.FAIL)
    best.report(0.1, 3)
    study.tell(best)
    assert rest_of(study) == {}
    assert states(study) == ["COMPLETE", "FAIL", "PRUNED"]

    study = open_study(tmp_path / "h.log", HyperBand(3))
    trials = [study.ask() for _ in range(3)]
    study.optuna.tell(0, state=TrialState.FAIL)
    for trial in trials[1:]:
        trial.report(0.1 * trial.number, 1)
    with pytest.raises(TrialTakenOver):
        trials[0].report(0.1, 1)
    study.optuna.tell(1, state=TrialState.FAIL)
    assert rest_of(study) == {}


def test_a_run_goes_on_when_a_trial_that_failed_was_ended_elsewhere(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.log")

    def objective(trial: tune.Trial) -> float:
        if trial.number == 0:
            study.optuna.tell(0, 7.0)
            raise ValueError("after that")
        return 1.0

    study.optimize(objective, n_trials=2, catch=ValueError, show_progress_bar=False)
    assert [trial.value for trial in study.trials] == [7.0, 1.0]


def test_a_report_without_a_step_after_a_restart_is_the_next_one_of_this_attempt(tmp_path: Path) -> None:
    for n_reports in (2, 1, 4):
        study = open_study(tmp_path / "s.log")
        trial = study.ask()
        assert trial.number == 0
        for step in range(n_reports):
            trial.report(0.1 * step)
        study.close()
    assert study.trials[0].intermediate_values == {step + 1: 0.1 * step for step in range(4)}


def test_repeats_do_not_join_a_configuration_that_another_driver_is_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}

    def repeating() -> RepeatingSampler:
        return RepeatingSampler(optuna.samplers.TPESampler(seed=0), 2)

    theirs, ours = (open_study(tmp_path / "s.log", space=space, sampler=repeating()) for _ in range(2))
    storage = theirs.optuna._storage
    set_param = storage.set_trial_param

    def slowly(*given: Any) -> None:
        if not ours.live_trials():
            ours.ask()
        set_param(*given)

    monkeypatch.setattr(theirs.sampling._view, "set_trial_param", slowly)
    theirs.ask()
    ours.ask(), theirs.ask()
    params = [trial.params for trial in sorted(theirs.trials, key=lambda t: t.user_attrs["tuneflow:repeat_of"])]
    assert params[0] == params[1] != params[2] == params[3]


def test_points_are_tried_once_by_drivers_that_begin_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def searcher() -> Any:
        return tune.search.OptunaSearch(points_to_evaluate=[{"x": 0.5}, {"x": 0.6}])

    enqueue = tune.Study.enqueue_trial
    others: list[tune.Study] = []

    def slowly(study: tune.Study, *given: Any, **named: Any) -> None:
        if not others:
            others.append(study)
            others.append(open_study(tmp_path / "s.log", sampler=searcher()))
        enqueue(study, *given, **named)

    monkeypatch.setattr(tune.Study, "enqueue_trial", slowly)
    study = open_study(tmp_path / "s.log", sampler=searcher())
    assert [trial.system_attrs["fixed_params"] for trial in study.trials] == [{"x": 0.5}, {"x": 0.6}]
    assert len(open_study(tmp_path / "s.log", sampler=searcher()).trials) == 2


def test_a_driver_whose_machine_was_suspended_finds_out_at_its_next_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = (open_study(tmp_path / "s.log") for _ in range(2))
    trial, name = asleep.ask(), asleep.sharing.drivers.id
    lives, now_s = Drivers._lives, uptime()
    assert 0 <= uptime() - now_s < 60
    monkeypatch.setattr(Drivers, "_lives", lambda self, other, *seen: other != name and lives(self, other, *seen))
    assert list(rest_of(awake)) == [trial.number]
    monkeypatch.setattr(drivers, "uptime", lambda: uptime() + 61.0)  # the clock that stops meanwhile has not moved
    with pytest.raises(TrialTakenOver):
        trial.report(1.0, 1)


def test_signs_of_life_keep_to_the_time_of_the_machine_in_a_simulation(tmp_path: Path) -> None:
    hours = tune.SimulatedExecutor(2, lambda config, step: config["x"] + step, 3600.0, max_steps=5)
    tune.run(
        None, SPACE, metric="loss", mode="min", num_samples=6, executor=hours, storage_path=tmp_path, name="s",
        verbose=0, loggers=[],
    )  # fmt: skip
    assert (tmp_path / "s" / "study.log").read_text().count("tuneflow:driver:") == 2  # it came, and left
