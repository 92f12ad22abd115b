"""Several drivers of one study: nothing twice, nothing lost, and what a dead one left goes on."""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import tuneflow as tune
from tuneflow import drivers
from tuneflow.clock import ManualClock
from tuneflow.drivers import DRIVER, Drivers
from tuneflow.errors import TrialTakenOver
from tuneflow.pids import is_running, start_of
from tuneflow.pruners import ASHA, PBT, HyperBand

SPACE = {"x": tune.uniform(0, 1)}


def program(text: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def open_study(path: object, pruner: Any = None, seed: int | None = 0, **given: Any) -> tune.Study:
    return tune.create_study(
        SPACE, sampler="random", pruner=pruner, storage=path, study_name="s", load_if_exists=True, seed=seed, **given
    )


WORKER = """
    import sys
    import tuneflow as tune
    from tuneflow.pruners import ASHA

    study = tune.create_study(
        {"x": tune.uniform(0, 1)}, sampler="random", pruner=ASHA(9, reduction_factor=3, promote=True),
        storage=sys.argv[1], study_name="s", load_if_exists=True, seed=0,
    )
    sys.stdin.readline()
    n_told = 0
    while n_told < int(sys.argv[2]):
        trial = study.ask()
        for step in range(trial.start_step + 1, 10):
            decision = trial.report(trial.config["x"] + 1 / step, step, checkpoint=step)
            if decision.should_stop:
                break
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
        n_told += 1
        print(trial.number, flush=True)
    study.close()
"""


@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgresql"])
def test_processes_share_a_study_without_a_number_twice(kind: str, tmp_path: Path, request) -> None:
    if kind == "postgresql":
        storage = request.getfixturevalue("postgresql")
    else:
        storage = str(tmp_path / "study.log") if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    open_study(storage, ASHA(9, reduction_factor=3, promote=True)).close()
    n_processes, n_each = 3, 6
    workers = [program(WORKER, storage, n_each) for _ in range(n_processes)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=100)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * n_processes
    study = tune.load_study(study_name="s", storage=storage)
    trials = study.trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    worked_on = {int(line) for output in outputs for line in output.split()}
    assert worked_on == set(range(len(trials)))
    for trial in trials:
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
    assert len({trial.params["x"] for trial in trials}) == len(trials)  # the same seed in all, and yet no point twice


def test_a_driver_that_came_and_went_is_not_repeated(tmp_path: Path) -> None:
    ours, theirs = open_study(tmp_path / "s.log"), open_study(tmp_path / "s.log")
    drawn = [theirs.ask().config["x"] for _ in range(3)]
    theirs.close()
    assert ours.ask(new=False).number == 0
    assert ours.start().config["x"] not in drawn


def test_a_driver_that_was_there_and_went_on_and_left_is_not_repeated(tmp_path: Path) -> None:
    theirs = open_study(tmp_path / "s.log")
    drawn = [theirs.ask().config["x"]]
    ours = open_study(tmp_path / "s.log")
    drawn += [theirs.ask().config["x"] for _ in range(3)]
    theirs.close()
    drawn += [ours.start().config["x"] for _ in range(4)]
    assert len(set(drawn)) == len(drawn)


def test_one_driver_after_the_other_draws_as_a_single_one(tmp_path: Path) -> None:
    def told(study: tune.Study) -> float:
        trial = study.ask()
        study.tell(trial, 0.0)
        return float(trial.config["x"])

    single = open_study(None)
    expected = [told(single) for _ in range(4)]
    drawn = []
    for _ in range(4):
        study = open_study(tmp_path / "s.log")
        drawn.append(told(study))
        study.close()
    assert drawn == expected


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_decision_counts_what_others_have_reported(kind: str, tmp_path: Path) -> None:
    storage = tmp_path / "study.log" if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    first, second = (open_study(storage, ASHA(9, reduction_factor=3)) for _ in range(2))
    good = [first.ask() for _ in range(3)]
    bad = second.ask()
    for trial in good:
        trial.report(0.1 * trial.number, 1)
    assert bad.report(5.0, 1).should_stop
    alone = open_study(None, ASHA(9, reduction_factor=3)).ask()
    assert not alone.report(5.0, 1).should_stop


def test_what_others_paused_is_not_handed_out(tmp_path: Path) -> None:
    first, second = (open_study(tmp_path / "s.log", ASHA(9, reduction_factor=3, promote=True)) for _ in range(2))
    theirs = [first.ask() for _ in range(3)]
    for trial in theirs:
        trial.report(0.1 * trial.number, 1, checkpoint={"at": 1})
    ours = second.ask()
    assert ours.number == 3
    ours.report(9.0, 1, checkpoint={"at": 1})
    assert second.ask(new=False) is None
    resumed = first.ask()
    assert (resumed.number, resumed.start_step) == (0, 1)


def test_an_exploit_copies_from_a_trial_of_another_driver(tmp_path: Path) -> None:
    def pbt() -> PBT:
        return PBT({"x": tune.uniform(0, 1)}, perturbation_interval=1)

    def save(folder: Path) -> None:
        (folder / "weights").write_text("good")

    first, second = (open_study(tmp_path / "s.log", pbt()) for _ in range(2))
    good, bad = first.ask(), second.ask()
    good.report(0.1, 1, checkpoint=save)
    decision = bad.report(5.0, 1, checkpoint=save)
    assert decision.donor == good.number
    assert (decision.checkpoint.path / "weights").read_text() == "good"
    assert bad.dir in decision.checkpoint.path.parents


def test_a_point_that_another_driver_has_ended_is_no_trial_that_is_drawn(tmp_path: Path) -> None:
    class Counting(optuna.samplers.RandomSampler):
        def after_trial(self, study: Any, trial: Any, state: TrialState, values: Any) -> None:
            study._storage.set_study_system_attr(study._study_id, "count", trial.number)

    first, second = (
        tune.create_study(SPACE, sampler=Counting(), storage=tmp_path / "s.log", study_name="s", load_if_exists=True)
        for _ in range(2)
    )
    mine = first.ask()
    first.enqueue_trial({"x": 0.5})
    second.tell(second.ask(), 1.0)
    assert first.tell(mine, 2.0).value == 2.0  # what its sampler notes is noted with nobody
    first.enqueue_trial({"x": 0.25})
    first.tell(first.ask(), 3.0)
    assert [(trial.value, trial.params["x"]) for trial in first.trials[1:]] == [(1.0, 0.5), (3.0, 0.25)]


def test_brackets_are_the_same_for_all(tmp_path: Path) -> None:
    studies = [open_study(tmp_path / "s.log", HyperBand(9, reduction_factor=3)) for _ in range(3)]
    trials = [studies[index % 3].ask() for index in range(12)]
    for trial in trials:
        decision = trial.report(float(trial.number), 1, checkpoint={"at": 1})
        single = open_study(None, HyperBand(9, reduction_factor=3))
        alone = [single.ask() for _ in trials]
        expected = [other.report(float(other.number), 1, checkpoint={"at": 1}) for other in alone[: trial.number + 1]]
        assert decision == expected[-1]


DIES = """
    import os, signal, sys
    import tuneflow as tune
    from tuneflow.pruners import ASHA

    study = tune.create_study(
        {"x": tune.uniform(0, 1)}, sampler="random", pruner=ASHA(9, reduction_factor=3, promote=True),
        storage=sys.argv[1], study_name="s", load_if_exists=True, seed=0,
    )
    def save(folder):
        with open(os.path.join(folder, "state"), "w") as file:
            file.write("two")
    paused = study.ask()
    print(type(paused.report(0.5, 1, checkpoint=save)).__name__, flush=True)
    running = study.ask()
    folder = str(running.dir)
    running.report(0.5, 0, checkpoint=None)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_trials_of_a_dead_driver_go_on_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    ours = open_study(path, ASHA(9, reduction_factor=3, promote=True))
    mine = ours.ask()
    process = program(DIES, path)
    out, _ = process.communicate(timeout=60)
    assert out.split() == ["Pause"]
    ours.sharing.drivers._look_due_s = 0.0
    again = ours.ask()
    assert again.number == 2  # the one that ran; its step 0 was recorded
    assert again.report(0.4, 0) == tune.pruners.Continue()
    for trial in (mine, again):
        assert type(trial.report(0.4 + trial.number, 1, checkpoint={"at": 1})).__name__ == "Pause"
    resumed = ours.ask()
    assert resumed.number in (0, 1)
    if resumed.number == 1:
        assert (Path(resumed.checkpoint.path) / "state").read_text() == "two"
    owners = {trial.system_attrs[DRIVER] for trial in ours.get_trials(deepcopy=False)}
    assert owners == {ours.sharing.drivers.id}


DIES_TAKING = """
    import os, sys
    import tuneflow as tune
    from tuneflow.storage import Journal

    study = tune.create_study({"x": tune.uniform(0, 1)}, storage=sys.argv[1], study_name="s", load_if_exists=True)
    study.enqueue_trial({"x": 0.5})
    take = Journal.set_trial_state_values
    Journal.set_trial_state_values = lambda *given: os._exit(bool(take(*given)))
    study.ask()
"""


def test_a_trial_whose_driver_dies_as_it_takes_it_goes_on_elsewhere(tmp_path: Path) -> None:
    dies = program(DIES_TAKING, tmp_path / "s.log")
    dies.communicate()
    assert dies.returncode == 1
    study = open_study(tmp_path / "s.log")
    (frozen,) = study.get_trials(deepcopy=False)
    assert frozen.state is TrialState.RUNNING
    assert DRIVER not in frozen.system_attrs
    adopted = study.ask()
    assert (adopted.number, adopted.config) == (0, {"x": 0.5})


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_point_stays_with_the_driver_that_took_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.log" if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    first, second = (
        tune.create_study(SPACE, sampler="tpe", storage=path, study_name="s", load_if_exists=True) for _ in range(2)
    )
    first.enqueue_trial({"x": 0.5})
    below = second.sampling._view.inner
    listed, taken = below.get_all_trials, []

    def first_is_quicker(study_id: int, deepcopy: bool = True, states: Any = None) -> list[Any]:
        found = listed(study_id, deepcopy=deepcopy, states=states)
        if states == (TrialState.WAITING,) and not taken:
            taken.append(first.ask())
        return found

    below.get_all_trials = first_is_quicker
    other = second.ask()
    (mine,) = taken
    assert (mine.config, other.number) == ({"x": 0.5}, 1)
    second.tell(other, 1.0)
    second.close()
    first.sharing.drivers.look_again()
    assert first.ask().number == 2  # and not the point once more
    assert first.tell(mine, 2.0).value == 2.0


DIES_SAMPLING = """
    import os, sys
    import optuna
    import tuneflow as tune

    class Dies(optuna.samplers.TPESampler):
        def sample_independent(self, *args):
            os._exit(1)

    study = tune.create_study(
        {"x": tune.uniform(0, 1)}, sampler=Dies(), storage=sys.argv[1], study_name="s", load_if_exists=True
    )
    if sys.argv[2] == "waiting":
        study.optuna.enqueue_trial({})
    study.ask()
"""


@pytest.mark.parametrize("kind", ["new", "waiting"])
def test_a_trial_whose_driver_dies_while_it_is_drawn_goes_on_elsewhere(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    ours = open_study(path)
    process = program(DIES_SAMPLING, path, kind)
    process.communicate(timeout=60)
    assert process.returncode == 1
    left = ours.get_trials(deepcopy=False)
    assert [(trial.state, trial.params) for trial in left] == [(TrialState.RUNNING, {})]
    ours.sharing.drivers._look_due_s = 0.0
    again = ours.ask()
    assert again.number == 0
    assert 0 <= again.config["x"] < 1
    ours.tell(again, 1.0)
    assert ours.get_trials(deepcopy=False)[0].state is TrialState.COMPLETE


def test_only_one_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "s.log"
    subprocess.run([sys.executable, "-c", textwrap.dedent(DIES), str(path)], check=False, capture_output=True)
    studies = [open_study(path, ASHA(9, reduction_factor=3, promote=True)) for _ in range(6)]
    found: list[int] = []
    barrier = threading.Barrier(len(studies))

    def take(study: tune.Study) -> None:
        barrier.wait()
        trial = study.ask(new=False)
        if trial is not None:
            found.append(trial.number)

    threads = [threading.Thread(target=take, args=(study,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] or found == [0]
    assert not [name for name in _study_names(path) if "taking over" in name]


def _study_names(path: Path) -> list[str]:
    import optuna

    return optuna.get_all_study_names(tune.open_storage(path))


def test_closing_gives_trials_back_at_once(tmp_path: Path) -> None:
    first, second = (open_study(tmp_path / "s.log") for _ in range(2))
    trial = first.ask()
    assert second.ask(new=False) is None
    first.close()
    second.sharing.drivers._look_due_s = 0.0
    again = second.ask(new=False)
    assert again is not None
    assert again.number == trial.number
    assert second.ask(new=False) is None


def test_a_study_that_is_dropped_gives_its_trials_back(tmp_path: Path) -> None:
    first, second = (open_study(tmp_path / "s.log") for _ in range(2))
    number = first.ask().number
    del first
    import gc

    gc.collect()
    for _ in range(100):
        second.sharing.drivers._look_due_s = 0.0
        again = second.ask(new=False)
        if again is not None:
            break
        time.sleep(0.05)
    assert again is not None
    assert again.number == number


def test_a_driver_without_a_sign_of_life_is_dead_after_the_grace_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(drivers, "_place", lambda: "another machine")
    first = open_study(tmp_path / "s.log")
    trial = first.ask()
    monkeypatch.undo()
    second = open_study(tmp_path / "s.log")
    clock = ManualClock()
    second.sharing.drivers._clock = clock
    for _ in range(5):
        assert second.ask(new=False) is None
        clock.advance(10.0)
    drivers._beat(first.optuna._storage, first.optuna._study_id, first.sharing.drivers.id, 7)
    clock.advance(10.0)
    assert second.ask(new=False) is None  # it has moved
    clock.advance(59.0)
    assert second.ask(new=False) is None
    clock.advance(6.0)
    taken = second.ask(new=False)
    assert taken is not None
    assert taken.number == trial.number
    # The other one was only asleep: it is told so.
    first.sharing.drivers._look_due_s = 0.0
    first.sharing.drivers.others()
    assert first.sharing.drivers.has_lost


def take_from(ours: tune.Study, theirs: tune.Study, monkeypatch: pytest.MonkeyPatch) -> tune.Trial:
    """What ``theirs`` was working on, when that seems dead to ``ours``."""
    lives, name = Drivers._lives, theirs.sharing.drivers.id
    with monkeypatch.context() as patch:
        patch.setattr(Drivers, "_lives", lambda self, other, *seen: other != name and lives(self, other, *seen))
        ours.sharing.drivers._look_due_s = 0.0
        taken = ours.ask(new=False)
    assert taken is not None
    theirs.sharing.drivers._beaten_s -= 61.0  # it has slept
    return taken


@pytest.mark.parametrize("pruner", [None, ASHA(9, reduction_factor=3)])
def test_a_driver_that_seemed_dead_loses_its_trials_and_goes_on_with_others(
    pruner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = (open_study(tmp_path / "s.log", copy.deepcopy(pruner)) for _ in range(2))
    lost = asleep.ask()
    lost.report(1.0, 1)
    taken = take_from(awake, asleep, monkeypatch)
    assert taken.number == lost.number
    for use in (lambda: lost.report(1.0, 2), lambda: asleep.tell(lost, 1.0)):
        with pytest.raises(TrialTakenOver, match="another driver of the study has taken it over"):
            use()
    taken.report(1.0, 2)
    awake.tell(taken, 1.0)
    with pytest.raises(TrialTakenOver):
        asleep.tell(lost, 2.0)
    for value in (0.5, 0.6):
        trial = asleep.ask()
        trial.report(value, 1)
        asleep.tell(trial, value)
    asleep.ask().report(0.1, 1)
    asleep.close()  # under the name that it goes by now: its trials are found again
    awake.sharing.drivers._look_due_s = 0.0
    assert awake.ask(new=False).number == 3
    assert [trial.value for trial in awake.trials] == [1.0, 0.5, 0.6, None]
    awake.close()


@pytest.mark.parametrize("pruner", [None, ASHA(9, reduction_factor=3)])
def test_optimize_goes_on_when_another_driver_has_taken_a_trial_over(
    pruner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = (open_study(tmp_path / "s.log", copy.deepcopy(pruner)) for _ in range(2))
    taken = []

    def objective(trial: tune.Trial) -> float:
        trial.report(1.0, 1)
        if not taken:
            taken.append(take_from(awake, asleep, monkeypatch))
        trial.report(1.0, 2)
        if trial.should_prune():
            raise tune.TrialPruned
        return 1.0

    asleep.optimize(objective, n_trials=3, show_progress_bar=False)
    assert [trial.state.name for trial in awake.trials][:1] == ["RUNNING"]
    awake.tell(taken[0], 2.0)
    assert awake.trials[0].value == 2.0
    assert all(trial.state.is_finished() for trial in awake.trials)
    assert len(awake.trials) == 3
    asleep.close()
    awake.close()


@pytest.mark.parametrize("pruner", [None, ASHA(9, reduction_factor=3)])
def test_a_trial_that_optuna_has_ended_is_left_as_it_is(pruner: Any, tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.log", copy.deepcopy(pruner))
    told, reported, running = (study.ask() for _ in range(3))
    for number in (0, 1):
        study.optuna.tell(number, 0.5)
    with pytest.raises(TrialTakenOver, match="trial 1 was ended as COMPLETE in the storage"):
        reported.report(1.0, 1)
    with pytest.raises(TrialTakenOver, match="trial 1 was ended as COMPLETE in the storage"):
        study.tell(reported, 1.0)
    assert study.tell(reported, 1.0, skip_if_finished=True).value == 0.5
    with pytest.raises(TrialTakenOver, match="trial 0 was ended as COMPLETE in the storage"):
        study.tell(told, 1.0)
    assert study.tell(told.number, 1.0, skip_if_finished=True).value == 0.5
    running.report(1.0, 1)
    study.optuna.tell(2, 0.5)
    assert study.tell(running, 1.0, skip_if_finished=True).value == 0.5
    assert study.live_trials() == []

    def objective(trial: tune.Trial) -> float:
        if trial.number == 3:
            study.optuna.tell(3, 7.0)
        elif trial.number == 4:
            study.optuna.tell(4, state=TrialState.FAIL)
            trial.report(1.0, 1)
        return 1.0

    study.optimize(objective, n_trials=3, show_progress_bar=False)
    assert [trial.value for trial in study.trials[3:]] == [7.0, None, 1.0]
    study.close()


FORKS = """
    import os, sys
    import tuneflow as tune
    from tuneflow.pruners import ASHA

    study = tune.create_study(
        {"x": tune.uniform(0, 1)}, sampler="random", pruner=ASHA(9, reduction_factor=3, promote=True),
        storage=sys.argv[1], study_name="s", seed=0,
    )
    study.tell(study.ask(), 1.0)
    running = study.ask()
    for value in (0.1, 0.2, 0.3):
        study.ask().report(value, 1)  # all three are paused, and the first may go on
    child = os.fork()
    if child == 0:
        mine = study.ask()
        mine.report(9.0, 1)
        print(mine.number, mine.is_paused, flush=True)
        study.ask()
        running.report(5.0, 1)
        os._exit(0)
    os.waitpid(child, 0)
    print(study.ask().number)  # it is the parent that resumes
    mine = study.start()
    print(mine.number)
    study.sharing.drivers._look_due_s = 0.0
    print(study.ask(new=False).number)  # what the child has left
"""


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_forked_child_is_another_driver(kind: str, tmp_path: Path) -> None:
    storage = tmp_path / "study.log" if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    process = program(FORKS, storage)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.split() == ["5", "True", "2", "7", "6"]
    trials = tune.load_study(study_name="s", storage=storage).trials
    assert len({trial.params["x"] for trial in trials}) == len(trials) == 8
    assert trials[1].intermediate_values == {1: 5.0}


def test_the_trials_of_plain_optuna_are_left_alone(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.log")
    theirs = study.optuna.ask()
    assert study.ask().number == theirs.number + 1
    study.sharing.drivers._look_due_s = 0.0
    assert study.ask(new=False) is None


def test_a_lock_that_a_dead_driver_left_is_removed(tmp_path: Path) -> None:
    first, second, third = (open_study(tmp_path / "s.log") for _ in range(3))
    trial = first.ask()
    storage = second.optuna._storage
    second.sharing.drivers.register()
    lock = storage.create_new_study(second.directions, f"s/taking over {first.sharing.drivers.id}")
    storage.set_study_system_attr(lock, DRIVER, second.sharing.drivers.id)
    first.close()
    assert third.ask(new=False) is None
    second.close()
    for _ in range(3):
        third.sharing.drivers._look_due_s = 0.0
        again = third.ask(new=False)
    assert again is None or again.number == trial.number
    numbers = [frozen.number for frozen in third.trials if frozen.system_attrs[DRIVER] == third.sharing.drivers.id]
    assert numbers == [trial.number]


def test_a_study_in_memory_has_no_drivers() -> None:
    study = tune.create_study(SPACE, seed=0)
    study.ask()
    assert study.optuna.system_attrs == {} if hasattr(study.optuna, "system_attrs") else True
    assert not study.sharing.is_possible
    assert study.trials[0].system_attrs == {}


def test_no_thread_stays_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # of studies that other tests have dropped, some just ending
    study = open_study(tmp_path / "s.log")
    study.ask()
    [thread] = [new for new in set(threading.enumerate()) - before if new.name == "tuneflow-driver"]
    study.close()
    thread.join(2.0)
    assert not thread.is_alive()


def test_processes_are_known_by_their_start_too(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.log")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        sign = {"place": drivers._place(), "pid": child.pid, "started": start_of(child.pid), "beat": 0}
        assert is_running(child.pid)
        assert study.sharing.drivers._lives("a", sign, 0.0)
        assert not sign["started"] or not study.sharing.drivers._lives("b", {**sign, "started": "12345"}, 0.0)
        child.kill()
        time.sleep(0.1)
        assert not is_running(child.pid), "dead, though nobody has waited for it"
    assert not is_running(child.pid)
    assert not study.sharing.drivers._lives("a", sign, 0.0)


def test_signs_of_life_go_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(drivers, "_INTERVAL_S", 0.01)
    study = open_study(tmp_path / "s.log")
    study.ask()
    found = set()
    for _ in range(200):
        attrs = study.optuna._storage.get_study_system_attrs(study.optuna._study_id)
        found.add(attrs[f"{drivers._PREFIX}{study.sharing.drivers.id}"]["beat"])
        if len(found) > 3:
            break
        time.sleep(0.01)
    study.close()
    assert len(found) > 3
    assert isinstance(study.sharing.drivers, Drivers)


@pytest.mark.filterwarnings("ignore:trial .* goes on without a checkpoint")  # objects stay with their driver
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_the_last_driver_ends_what_the_one_before_has_left(kind: str, tmp_path: Path) -> None:
    storage = tmp_path / "study.log" if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    first, last = (open_study(storage, ASHA(9, reduction_factor=3, promote=True)) for _ in range(2))

    def work(study: tune.Study, trial: tune.Trial | None) -> bool:
        if trial is None:
            return False
        for step in range(trial.start_step + 1, 10):
            if trial.report(trial.config["x"] + 1 / step, step, checkpoint=step).should_stop:
                break
        if not trial.is_paused:
            study.tell(trial, trial.last_value)
        return True

    for _ in range(4):
        assert work(first, first.ask())
        assert work(last, last.ask())
    running = last.ask()
    while work(first, first.ask(new=False)):
        pass
    first.close()  # what it has paused depends on the trial that runs
    assert TrialState.RUNNING in {trial.state for trial in last.trials if trial.number != running.number}
    assert work(last, running)
    while work(last, last.ask(new=False)):
        pass
    last.close()
    ended = tune.load_study(study_name="s", storage=storage).trials
    assert {trial.state for trial in ended} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_two_databases_in_one_folder_share_no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(folder: Path) -> None:
        (folder / "weights").write_text("mine")

    places = []
    for name in ("a.db", "b.db"):
        monkeypatch.chdir(tmp_path)
        study = open_study(f"sqlite:///{name}", ASHA(9, reduction_factor=3, promote=True))
        trial = study.ask()
        trial.report(1.0, 1, checkpoint=save)
        places.append(trial.dir)
        study.close()
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        again = open_study(f"sqlite:///{tmp_path / name}", ASHA(9, reduction_factor=3, promote=True))
        resumed = again.ask(new=False)
        assert resumed is not None
        assert (resumed.start_step, (resumed.checkpoint.path / "weights").read_text()) == (1, "mine")
        again.close()
    assert len(set(places)) == 2
    assert all(Path(place).is_absolute() for place in places)
