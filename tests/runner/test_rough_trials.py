"""What trials do that they should not: threads, forks, odd values, errors that cannot be sent."""

from __future__ import annotations

import enum
import io
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgument, TrialFailed, TrialsFailed, TrialTimeout, TuneflowWarning
from tuneflow.pruners import ASHA, HyperBand

SPACE = {"x": tune.uniform(0, 1)}


def run(trainable: Any, config: Any = SPACE, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {
        "metric": "loss", "mode": "min", "storage_path": "results", "verbose": 0, "seed": 0, "num_samples": 2,
        "max_concurrent_trials": 1, **arguments,
    }  # fmt: skip
    return tune.run(trainable, config, **given)


def test_a_thread_that_outlives_its_trial_cannot_report_into_the_next() -> None:
    def train(config: dict[str, Any]) -> None:
        if config["i"] == 0:

            def late() -> None:
                for step in range(20):
                    time.sleep(0.02)
                    try:
                        tune.report(loss=-100.0 - step)
                    except Exception as error:
                        Path("late.draft").write_text(str(error))
                        Path("late.draft").rename("late.txt")

            threading.Thread(target=late, daemon=True).start()
            tune.report(loss=0.0)
            return
        for _ in range(4):
            time.sleep(0.05)
            tune.report(loss=float(config["i"]))

    analysis = run(train, {"i": tune.grid_search([0, 1, 2])}, num_samples=1)
    assert [[result["loss"] for result in trial.results] for trial in analysis.trials] == [[0.0], [1.0] * 4, [2.0] * 4]
    assert "has ended; join threads" in Path("late.txt").read_text() or "inside a trial" in Path("late.txt").read_text()


def test_several_threads_of_one_trial_may_report() -> None:
    def train(config: dict[str, Any]) -> None:
        def reports() -> None:
            for step in range(10):
                tune.report(loss=float(step))

        threads = [threading.Thread(target=reports) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for trial in run(train).trials:
        assert sorted(result["loss"] for result in trial.results) == sorted([float(step) for step in range(10)] * 4)


def test_a_forked_child_that_comes_back_ends_there() -> None:
    def forks(config: dict[str, Any]) -> dict[str, float]:
        pid = os.fork()
        if pid == 0:
            return {"loss": 5.0}
        os.waitpid(pid, 0)
        return {"loss": 1.0}

    def plain(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": config["x"]}

    assert [trial.last_result["loss"] for trial in run(forks, name="a").trials] == [1.0, 1.0]
    again = run(plain, name="b")
    assert [trial.last_result["loss"] for trial in again.trials] == [trial.config["x"] for trial in again.trials]


def test_what_a_trial_does_to_its_process_does_not_reach_the_next(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        here = str(Path.cwd())
        print("trial", config["i"])
        if config["i"] == 0:
            os.chdir("/")
            sys.stdout.close()
            sys.stderr = io.StringIO()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            return {"loss": 0.0, "here": here, "by": os.getpid()}
        print("to stderr", file=sys.stderr)
        if config["i"] == 1:
            time.sleep(0.4)  # the alarm of the trial before would end the process
            return {"loss": 1.0, "here": here, "by": os.getpid()}
        return time.sleep(60)  # type: ignore[return-value]

    analysis = run(
        train,
        {"i": tune.grid_search([0, 1, 2])},
        num_samples=1,
        name="e",
        trial_timeout_s=2.0,
        raise_on_failed_trial=False,
    )
    first, second, third = analysis.trials
    assert first.last_result["by"] == second.last_result["by"]
    assert first.last_result["here"] == second.last_result["here"] == str(Path.cwd())
    for index in range(3):
        assert Path(f"results/e/{index:05d}/stdout.txt").read_text() == f"trial {index}\n"
    assert Path("results/e/00001/stderr.txt").read_text() == "to stderr\n"
    assert isinstance(third.error, TrialTimeout)
    assert "in train" in third.error.output  # SIGTERM does again what it did at first


def test_runs_in_threads_of_one_process_leave_each_other_alone() -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        time.sleep(0.01)
        return {"loss": config["x"]}

    def several(name: str) -> None:
        for index in range(6):
            run(train, name=f"{name}{index}", num_samples=4, max_concurrent_trials=2)
            done.append(index)

    done: list[int] = []
    threads = [threading.Thread(target=several, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted([*range(6)] * 3)


def test_values_of_the_script_itself_reach_the_trial() -> None:
    script: dict[str, Any] = {"__name__": "__main__", "enum": enum}
    exec("class Act(enum.Enum):\n    RELU = 1\n    TANH = 2\n\ndef double(x):\n    return 2 * x\n", script)
    act, double = script["Act"], script["double"]

    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": float(config["act"].value) + config["f"](1) + config["g"](1)}

    analysis = run(train, {"act": tune.grid_search([act.RELU, act.TANH]), "f": double, "g": lambda x: x}, num_samples=1)
    assert [trial.last_result["loss"] for trial in analysis.trials] == [4.0, 5.0]


def test_a_value_that_cannot_be_sent_fails_its_trial_and_says_so() -> None:
    lock = threading.Lock()

    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": 1.0}

    with pytest.raises(TrialsFailed, match="the configuration cannot be sent to a worker process"):
        run(train, {"lock": lock})


class TwoArguments(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)


def test_an_exception_that_cannot_be_sent_ends_optimize_all_the_same() -> None:
    def objective(trial: Any) -> float:
        raise TwoArguments(1, "boom")

    study = tune.create_study()
    with pytest.raises(TrialFailed, match="TwoArguments: boom"):
        study.optimize(objective, n_trials=4, n_jobs=2)
    study.optimize(objective, n_trials=2, n_jobs=2, catch=TwoArguments)
    assert {trial.state.name for trial in study.trials} == {"FAIL"}


def test_a_lost_worker_is_logged_by_optimize(caplog: pytest.LogCaptureFixture) -> None:
    def objective(trial: Any) -> float:
        os._exit(3)

    with caplog.at_level(logging.WARNING, logger="tuneflow"):
        tune.create_study().optimize(objective, n_trials=1, n_jobs=2)
    assert "exit code 3" in caplog.text


@pytest.mark.parametrize("wrong", [None, "abc", [1, 2]])
def test_a_returned_value_that_is_no_number_fails_its_trial_only(wrong: Any) -> None:
    def train(config: dict[str, Any]) -> dict[str, Any]:
        return {"loss": wrong if config["i"] == 1 else 1.0}

    analysis = run(train, {"i": tune.grid_search([0, 1, 2])}, num_samples=1, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]


def test_exceptions_that_are_no_exceptions_are_the_trials_own() -> None:
    def train(config: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(TrialsFailed, match="KeyboardInterrupt"):
        run(train, num_samples=1)


def test_a_class_is_saved_into_a_path_that_is_a_string() -> None:
    class Concatenating(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.n = 0

        def step(self) -> dict[str, Any]:
            self.n += 1
            return {"loss": self.n, "done": self.n >= 9}

        def save_checkpoint(self, checkpoint_dir: Any) -> None:
            with open(checkpoint_dir + "/n", "w") as file:
                file.write(str(self.n))

        def load_checkpoint(self, checkpoint_dir: Any) -> None:
            with open(checkpoint_dir + "/n") as file:
                self.n = int(file.read())

    analysis = run(Concatenating, num_samples=6, scheduler=ASHA(9, reduction_factor=3, promote=True))
    assert max(trial.last_result["loss"] for trial in analysis.trials) == 9


def test_a_save_that_fails_at_a_pause_is_said(caplog: pytest.LogCaptureFixture) -> None:
    def train(config: dict[str, Any]) -> None:
        def save(folder: Path) -> None:
            raise OSError("disk full")

        for step in range(1, 10):
            tune.report({"loss": float(step)}, checkpoint=save)

    with caplog.at_level(logging.WARNING, logger="tuneflow"), pytest.warns(TuneflowWarning, match="starts over"):
        run(train, num_samples=4, scheduler=HyperBand(9), raise_on_failed_trial=False)
    assert "could not save when it paused" in caplog.text
    assert "disk full" in caplog.text


def test_an_experiment_goes_on_only_as_what_it_was() -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": 1.0, "other": 2.0}

    run(train, name="e")
    with pytest.raises(InvalidArgument, match="metric='loss', not 'other'"):
        run(train, name="e", resume=True, metric="other")
    with pytest.raises(InvalidArgument, match="differs in x, y"):
        run(train, {"y": tune.uniform(0, 1)}, name="e", resume=True)
    assert len(run(train, name="e", resume=True, num_samples=3).trials) == 3


def test_odd_arguments_are_explained() -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": 1.0}

    for arguments, message in (
        ({"seed": -1}, r"seed=-1 must be an integer"),
        ({"seed": "a"}, "seed='a' must be an integer"),
        ({"name": 5}, "name=5 must be a folder name"),
        ({"name": "n" * 300}, "at most 200 bytes"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            run(train, **arguments)
    assert len(run(train, seed=2**40).trials) == 2
    study = tune.create_study(SPACE)
    with pytest.raises(InvalidArgument, match="no trial -1"):
        study.tell(-1, 1.0)
    with pytest.raises(InvalidArgument, match=r"n_trials=1\.5"):
        study.optimize(lambda trial: 1.0, n_trials=1.5)  # type: ignore[arg-type]
    import optuna

    with pytest.raises(InvalidArgument, match="a distribution of Optuna's"):
        tune.create_study({"x": optuna.distributions.FloatDistribution(0, 1)})


def test_a_checkpoint_that_cannot_be_copied_changes_nothing() -> None:
    study = tune.create_study(SPACE, pruner=HyperBand(9))
    trial = study.ask()
    for wrong, message in ((threading.Lock(), "cannot be copied"), ("nowhere", "does not exist")):
        with pytest.raises(InvalidArgument, match=message):
            trial.report(1.0, 1, checkpoint=wrong)
    assert trial.report(1.0, 1, checkpoint={}).should_stop
