"""Population based training through tune.run: in worker processes and inline, functions and classes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.callbacks import Callback
from tuneflow.errors import CheckpointMissing, TrialFailed
from tuneflow.pruners import PBT, Continue, Exploit, PBTReplay, Pruner

SPACE = {"x": tune.uniform(0, 1)}
N_STEPS, INTERVAL = 7, 2
EXECUTORS = pytest.mark.parametrize("executor", ["inline", "processes"])
FORMS = pytest.mark.parametrize("synchronous", [False, True])


def train(config: dict[str, float]) -> None:
    """Sums its configurations up, so that the result tells which were in force and whether state was handed over."""
    checkpoint, (total, n_steps) = tune.get_checkpoint(), (0.0, 0)
    if checkpoint is not None:
        total, n_steps = json.loads(Path(checkpoint.path, "state").read_text())
    step = tune.get_trial().start_step

    def save(folder: Any) -> None:
        Path(folder, "state").write_text(json.dumps([total, n_steps]))

    while step < N_STEPS:
        step, n_steps, total = step + 1, n_steps + 1, total + config["x"]
        tune.report({"loss": total, "x": config["x"], "n_steps": n_steps}, checkpoint=save)


class Summing(tune.Trainable):
    """The same as a class that is built anew for another configuration."""

    def setup(self, config: dict[str, float]) -> None:
        self.total, self.n_steps, self.n_resets = 0.0, 0, 0

    def step(self) -> dict[str, Any]:
        self.n_steps += 1
        self.total += self.config["x"]
        return {"loss": self.total, "x": self.config["x"], "n_steps": self.n_steps, "n_resets": self.n_resets}

    def save_checkpoint(self, folder: Any) -> None:
        Path(folder, "state").write_text(json.dumps([self.total, self.n_steps]))

    def load_checkpoint(self, folder: Any) -> None:
        self.total, self.n_steps = json.loads(Path(folder, "state").read_text())


class Resettable(Summing):
    """The same as a class that takes another configuration over."""

    def reset_config(self, new_config: dict[str, float]) -> bool:
        self.n_resets += 1
        return True


class Exploits(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def on_trial_exploit(self, trial: Any, decision: Any) -> None:
        self.seen.append((trial.number, trial.start_step, decision.donor))


def run(trainable: Any, *, n: int = 5, name: str = "e", pruner: Any = None, **arguments: Any) -> Any:
    given = {
        "metric": "loss", "mode": "min", "num_samples": n, "name": name, "storage_path": "results", "verbose": 0,
        "search_alg": "random", "stop": {"training_iteration": N_STEPS}, "max_concurrent_trials": 2, "seed": 0,
        "scheduler": PBT(SPACE, n, INTERVAL) if pruner is None else pruner, **arguments,
    }  # fmt: skip
    return tune.run(trainable, given.pop("config", SPACE), **given)


def results(analysis: Any) -> list[list[dict[str, Any]]]:
    files = [Path(trial.logdir, "result.json") for trial in analysis.trials]
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def ran_whole(analysis: Any) -> list[list[dict[str, Any]]]:
    """Every member has run each of its steps once, and no state was lost on the way."""
    found = results(analysis)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * len(found)
    for member in found:
        assert [result["training_iteration"] for result in member] == list(range(1, N_STEPS + 1))
    return found


@pytest.mark.parametrize(
    ("executor", "synchronous"),
    [("inline", False), ("inline", True), ("processes", True), ("processes", False)],
)
@pytest.mark.parametrize("trainable", [train, Summing, Resettable])
def test_more_members_than_slots(trainable: Any, executor: str, synchronous: bool) -> None:
    """deterministic: what is handed over when does not depend on the machine."""
    exploits = Exploits()
    analysis = run(
        trainable, pruner=PBT(SPACE, 5, INTERVAL, synchronous=synchronous), executor=executor, callbacks=[exploits],
        deterministic=True,
    )  # fmt: skip
    members = ran_whole(analysis)
    assert exploits.seen
    assert all(step % INTERVAL == 0 and donor != trial for trial, step, donor in exploits.seen)
    for trial, step, donor in exploits.seen:
        after = members[trial][step]
        total = after["loss"] - after["x"]
        handed = {result["loss"]: result["n_steps"] for result in members[donor] if result["n_steps"] % INTERVAL == 0}
        match = min(handed, key=lambda loss: abs(loss - total))
        assert match == pytest.approx(total), "the donor's state, at one of its intervals"
        assert after["n_steps"] == handed[match] + 1
    if synchronous:
        assert all(result["n_steps"] == result["training_iteration"] for member in members for result in member)


def meet(trial_id: str) -> None:
    """Returns when both members have started, so that they train at the same time."""
    Path(f"started_{trial_id}").touch()
    deadline = time.monotonic() + 30
    while len(list(Path().glob("started_*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)


class MeetingFirst(Summing):
    def step(self) -> dict[str, Any]:
        meet(self.trial_id)
        time.sleep(0.02)
        return super().step()


class MeetingFirstResettable(MeetingFirst, Resettable):
    pass


def train_meeting_first(config: dict[str, float]) -> None:
    meet(tune.get_trial().trial_id)
    train(config)


@pytest.mark.parametrize("trainable", [train_meeting_first, MeetingFirst, MeetingFirstResettable])
def test_an_exploit_without_a_pause_stays_in_its_worker(trainable: Any) -> None:
    exploits = Exploits()
    members = ran_whole(run(trainable, n=2, pruner=PBT(SPACE, 2, INTERVAL), callbacks=[exploits]))
    assert all(len({result["pid"] for result in member}) == 1 for member in members), "an exploit needs no other worker"
    assert members[0][0]["pid"] != members[1][0]["pid"]
    if not isinstance(trainable, type):
        return  # a function that never waits may be done before the other has anything to give
    assert exploits.seen
    trial, step, _ = exploits.seen[-1]
    assert (members[trial][step]["n_resets"] > 0) is (trainable is MeetingFirstResettable)


@EXECUTORS
@pytest.mark.filterwarnings("ignore:.*could not be had")  # see test_a_replayed_trial_goes_on_from_its_own_state
def test_the_policy_is_written_and_can_be_replayed(executor: str) -> None:
    run(train, pruner=PBT(SPACE, 5, INTERVAL, synchronous=True), deterministic=True, executor=executor)
    files = sorted(Path("results/e").glob("*/pbt_policy.json"))
    assert files
    for index, file in enumerate(files[:2]):
        replay = PBTReplay(json.loads(file.read_text()))
        assert replay.schedule[0][0] == 0
        name = f"replay{index}"
        again = run(train, n=1, name=name, pruner=replay, config=replay.initial_config, executor=executor)
        used = [result["x"] for result in ran_whole(again)[0]]
        schedule = replay.schedule
        assert used == [
            next(config["x"] for at, config, _ in reversed(schedule) if at < step) for step in range(1, N_STEPS + 1)
        ]


@pytest.mark.filterwarnings("ignore:.*could not be had")
def test_a_replayed_trial_goes_on_from_its_own_state() -> None:
    replay = PBTReplay([(0, {"x": 0.5}, None), (3, {"x": 0.25}, 4)])
    member = ran_whole(run(Summing, n=1, pruner=replay, config={"x": 0.5}, executor="inline"))[0]
    assert [result["n_steps"] for result in member] == list(range(1, N_STEPS + 1))


@FORMS
def test_a_member_that_fails_does_not_hold_up_the_population(synchronous: bool) -> None:
    class Failing(Resettable):
        def step(self) -> dict[str, Any]:
            if self.trial_id == "00001" and self.iteration == 3:
                raise ValueError("boo")
            return super().step()

    pruner = PBT(SPACE, 5, INTERVAL, synchronous=synchronous)
    analysis = run(Failing, pruner=pruner, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", *["TERMINATED"] * 3]
    assert isinstance(analysis.trials[1].error, TrialFailed)
    assert [len(member) for member in results(analysis)] == [N_STEPS, 3, N_STEPS, N_STEPS, N_STEPS]


def test_a_class_that_cannot_be_saved_is_refused_at_the_start() -> None:
    class Unsaved(tune.Trainable):
        def step(self) -> dict[str, float]:
            Path("started").touch()
            return {"loss": 1.0}

    with pytest.raises(CheckpointMissing, match=r"Unsaved cannot be saved: override save_checkpoint.*load_checkpoint"):
        run(Unsaved, executor="inline")
    assert not Path("started").exists()


@EXECUTORS
def test_a_function_without_checkpoints_is_refused_at_its_first_interval(executor: str) -> None:
    def forgetful(config: dict[str, float]) -> None:
        for _ in range(N_STEPS):
            tune.report(loss=config["x"])

    with pytest.raises(CheckpointMissing, match=r"tune\.report\(metrics, checkpoint=save\) .* save\(folder\)"):
        run(forgetful, executor=executor)
    counts = [len(file.read_text().splitlines()) for file in Path("results/e").glob("*/result.json")]
    assert counts
    assert max(counts) <= INTERVAL


def test_a_run_that_ends_for_one_trial_leaves_the_others_to_be_gone_on_with() -> None:
    def forgetful(config: dict[str, float]) -> None:
        for _ in range(INTERVAL):
            tune.report(loss=config["x"])

    with pytest.raises(CheckpointMissing):
        run(forgetful)
    analysis = run(Resettable, resume="auto")
    statuses = [trial.status for trial in analysis.trials]
    assert sorted(statuses) == ["ERROR"] + ["TERMINATED"] * 4
    whole = [rows for rows, status in zip(results(analysis), statuses, strict=True) if status != "ERROR"]
    assert [len(rows) for rows in whole] == [N_STEPS] * 4


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("trainable", [train, Resettable])
def test_deterministic_runs_are_the_same_twice(trainable: Callable[..., Any], synchronous: bool) -> None:
    runs = []
    for name in ("one", "two"):
        pruner = PBT(SPACE, 5, INTERVAL, synchronous=synchronous)
        members = ran_whole(run(trainable, name=name, pruner=pruner, deterministic=True))
        policies = {file.parent.name: file.read_text() for file in Path("results", name).glob("*/pbt_policy.json")}
        runs.append(([[(r["loss"], r["x"], r["n_steps"]) for r in member] for member in members], policies))
    assert runs[0] == runs[1]
    assert runs[0][1]


DRIVER = """
    import sys, time
    from pathlib import Path
    import tuneflow as tune
    from tuneflow.pruners import PBT

    class Slow(tune.Trainable):
        def setup(self, config):
            self.n_steps = 0
        def step(self):
            time.sleep(0.02)
            self.n_steps += 1
            return {"loss": self.config["x"] / self.n_steps, "x": self.config["x"]}
        def save_checkpoint(self, folder):
            Path(folder, "state").write_text(str(self.n_steps))
        def load_checkpoint(self, folder):
            self.n_steps = int(Path(folder, "state").read_text())
        def reset_config(self, config):
            return True

    if __name__ == "__main__":
        space = {"x": tune.uniform(0, 1)}
        tune.run(Slow, space, metric="loss", mode="min", num_samples=5, scheduler=PBT(space, 5, 2), name="k",
                 search_alg="random", storage_path="results", stop={"training_iteration": 15},
                 max_concurrent_trials=2, verbose=0, seed=0, resume="auto")
"""


def test_a_killed_driver_goes_on() -> None:
    Path("driver.py").write_text(textwrap.dedent(DRIVER))
    folder = Path("results/k")
    process = subprocess.Popen([sys.executable, "driver.py"])
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and len(list(folder.glob("*/pbt_policy.json"))) < 2:
        time.sleep(0.02)
    assert process.poll() is None, "it still runs, and at least two members have exploited"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {trial.number: trial for trial in tune.load_study(study_name="k", storage=folder / "study.log").trials}
    subprocess.run([sys.executable, "driver.py"], check=True, timeout=60)
    study = tune.load_study(study_name="k", storage=folder / "study.log", space=SPACE)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5
    n_kept = 0
    for trial in study.trials:
        assert list(trial.intermediate_values) == list(range(1, 16)), "every step once"
        stored = before[trial.number]
        assert stored.params == trial.params
        for key, value in stored.user_attrs.items():
            if isinstance(value, dict) and "donor" in value:
                assert trial.user_attrs[key] == value, "what was decided before stays decided"
                n_kept += 1
        for step, value in stored.intermediate_values.items():
            assert trial.intermediate_values[step] == value
    assert n_kept >= 2


def test_a_synchronous_population_may_end_at_an_interval() -> None:
    pruner = PBT(SPACE, 3, INTERVAL, synchronous=True)
    analysis = run(Resettable, n=3, pruner=pruner, stop={"training_iteration": 2 * INTERVAL})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert [len(member) for member in results(analysis)] == [2 * INTERVAL] * 3


class SlowToSave(Resettable):
    def step(self) -> dict[str, Any]:
        result = super().step()
        return {**result, "loss": self.config["x"] + 1 / self.n_steps}

    def save_checkpoint(self, folder: Any) -> None:
        time.sleep(0.05)
        super().save_checkpoint(folder)


def test_an_exploit_waits_for_a_checkpoint_that_is_still_being_written() -> None:
    for seed in range(3):
        analysis = run(SlowToSave, n=6, name=f"e{seed}", stop={"training_iteration": 13}, seed=seed)
        assert all(result["n_steps"] > 1 for member in results(analysis) for result in member[1:])


class TakesOver(Pruner):
    """Trial 1 goes on from trial 0 at its second step."""

    def on_report(self, trial: int, step: int, value: float, checkpoint: bool, decided: Any = None) -> Any:
        return Exploit(0, {"x": 5.0}) if (trial, step) == (1, 2) else Continue()

    def on_end(self, trial: int, state: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


@EXECUTORS
@pytest.mark.timeout(60)
def test_an_exploit_at_a_step_that_is_to_be_saved_keeps_the_donors_state(executor: str) -> None:
    analysis = tune.run(
        train, SPACE, metric="loss", mode="min", num_samples=2, scheduler=TakesOver(), executor=executor, verbose=0,
        max_concurrent_trials=1, checkpoint_freq=1, seed=0, name="e", stop={"training_iteration": 3},
    )  # fmt: skip
    assert analysis.trials[1].last_result["n_steps"] == 4, "three of the donor's and one of its own"
    kept = {path.name for path in Path(analysis.trials[1].logdir).glob("checkpoint_*")}
    assert kept == {"checkpoint_000001", "checkpoint_000003"}, "its own state at the exploit is not saved by the rule"


@EXECUTORS
def test_a_trial_that_is_stopped_where_it_would_exploit_stays_what_it_was(executor: str, tmp_path: Path) -> None:
    def summing(config: dict[str, float]) -> None:
        total = (tune.get_checkpoint() or {"total": 0.0})["total"]
        while True:
            total += config["x"]
            tune.report({"loss": -total, "x": config["x"]}, checkpoint={"total": total})

    analysis = tune.run(
        summing,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=4,
        scheduler=PBT({"x": tune.uniform(0, 1)}, perturbation_interval=2, quantile_fraction=0.5),
        stop={"training_iteration": 4},
        seed=1,
        deterministic=True,
        executor=executor,
        storage_path=tmp_path,
        verbose=0,
    )
    assert any(len({result["x"] for result in trial.results}) > 1 for trial in analysis.trials)  # some exploited
    for trial in analysis.trials:
        assert trial.config["x"] == trial.last_result["x"]
        assert trial.checkpoint.to_dict()["total"] == -trial.last_result["loss"]
    frame = analysis.dataframe()
    assert list(frame["x"]) == list(frame["config/x"])
    again = tune.ExperimentAnalysis(analysis.folder)
    assert [trial.config["x"] for trial in again.trials] == [trial.last_result["x"] for trial in again.trials]
