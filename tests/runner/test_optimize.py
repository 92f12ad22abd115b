"""study.optimize, inline and in worker processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuneflow as tune
from tuneflow.errors import (
    InvalidArgument,
    MetricMissing,
    ResourcesUnavailable,
    TuneflowError,
    TuneflowWarning,
    UnpicklableTrainable,
    UsageError,
)
from tuneflow.pids import is_running
from tuneflow.pruners import ASHA, HyperBand

SPACE = {"x": tune.uniform(0, 1)}
BOTH = pytest.mark.parametrize("n_jobs", [1, 2])


def quadratic(trial: Any) -> float:
    """Optuna's own kind of objective, with nothing of ours in it."""
    x = trial.suggest_float("x", -1, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    n = trial.suggest_int("n", 1, 8, log=True)
    trial.set_user_attr("pid", os.getpid())
    for step in range(5):
        trial.report(x**2 + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return x**2 + (kind == "a") + n


@BOTH
def test_an_optuna_objective_runs_unchanged(n_jobs: int) -> None:
    study = tune.create_study(seed=0, pruner=optuna.pruners.MedianPruner(n_startup_trials=3))
    study.optimize(quadratic, n_trials=20, n_jobs=n_jobs, show_progress_bar=False)
    assert len(study.trials) == 20
    assert {"PRUNED", "COMPLETE"} == {trial.state.name for trial in study.trials}
    assert set(study.best_params) == {"x", "kind", "n"}
    pids = {trial.user_attrs["pid"] for trial in study.trials}
    assert (pids == {os.getpid()}) is (n_jobs == 1)
    assert len(pids) <= n_jobs


@BOTH
def test_a_config_function_reports_through_the_session(n_jobs: int) -> None:
    def train(config: dict[str, float]) -> None:
        trial = tune.get_trial()
        assert trial.config == config
        assert trial.resources["cpu"] == 1
        for step in range(3):
            tune.report(loss=config["x"] / (step + 1), number=trial.number)

    study = tune.create_study(SPACE, metric="loss", mode="min", seed=0)
    study.optimize(train, n_trials=6, n_jobs=n_jobs)
    assert all(list(trial.intermediate_values) == [1, 2, 3] for trial in study.trials)
    assert study.best_value == min(trial.params["x"] for trial in study.trials) / 3


@BOTH
@pytest.mark.parametrize("pruner", [ASHA(9, reduction_factor=3, promote=True), HyperBand(9)])
def test_paused_trials_resume_from_their_checkpoint(n_jobs: int, pruner: Any) -> None:
    def train(config: dict[str, float]) -> None:
        total = 0.0
        checkpoint = tune.get_checkpoint()
        start = 0
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                start, total = (float(text) for text in (folder / "state").read_text().split())
        for step in range(int(start) + 1, 10):
            total += config["x"]

            def save(folder: Path, step: int = step, total: float = total) -> None:
                (folder / "state").write_text(f"{step} {total!r}")

            tune.report({"loss": total}, checkpoint=save)

    study = tune.create_study(SPACE, metric="loss", pruner=pruner, seed=0)
    study.optimize(train, n_trials=15, n_jobs=n_jobs)
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert complete
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
    for trial in complete:
        total = 0.0
        for step in range(1, 10):
            total += trial.params["x"]
            assert trial.intermediate_values[step] == total, "the sum went on exactly where it stopped"


def test_a_dead_worker_fails_its_trial_only() -> None:
    def train(config: dict[str, float]) -> None:
        number = tune.get_trial().number
        tune.report(loss=config["x"])
        if number == 1:
            os._exit(3)
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 3:
            ctypes.string_at(0)
        if number == 4:
            raise ValueError("boo")
        tune.report(loss=0.5)

    study = tune.create_study(SPACE, metric="loss", seed=0)
    study.optimize(train, n_trials=8, n_jobs=2, catch=ValueError)
    states = {trial.number: trial.state.name for trial in study.trials}
    assert states == {n: "FAIL" if n in (1, 2, 3, 4) else "COMPLETE" for n in range(8)}
    reasons = {trial.number: trial.user_attrs.get("tuneflow:reason", "") for trial in study.trials}
    assert "exit code 3" in reasons[1]
    assert "SIGKILL" in reasons[2]
    assert "SIGSEGV" in reasons[3]
    assert reasons[4] == "boo"


@BOTH
def test_an_exception_that_is_not_caught_ends_the_run_and_is_the_original(n_jobs: int) -> None:
    def train(trial: Any) -> float:
        if trial.number == 2:
            raise LookupError("not there")
        return 1.0

    study = tune.create_study()
    with pytest.raises(LookupError, match="not there") as caught:
        study.optimize(train, n_trials=50, n_jobs=n_jobs)
    if n_jobs == 2:
        assert "in train" in str(caught.value.__cause__.traceback_text)  # type: ignore[union-attr]
    assert study.trials[2].state.name == "FAIL"
    assert len(study.trials) < 50, "nothing new started once the error was known"


def test_what_cannot_be_sent_is_named_before_anything_runs() -> None:
    lock = threading.Lock()

    def train(config: dict[str, Any]) -> float:
        return float(lock.locked())

    study = tune.create_study(SPACE)
    with pytest.raises(UnpicklableTrainable, match=r"train cannot be sent .* closure variable 'lock' \(lock\)"):
        study.optimize(train, n_trials=1, n_jobs=2)
    assert study.trials == []


def test_a_metric_that_is_never_reported_ends_the_run_and_lists_what_was() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(accuracy=1.0, epoch=1)

    study = tune.create_study(SPACE, metric="loss")
    with pytest.raises(MetricMissing, match="'loss' was not reported; the report holds: accuracy, epoch"):
        study.optimize(train, n_trials=50, n_jobs=2)
    assert len(study.trials) <= 3

    def silent(config: dict[str, Any]) -> None:
        return None

    with pytest.raises(MetricMissing, match="the report is empty"):
        tune.create_study(SPACE, metric="loss").optimize(silent, n_trials=3)


def test_a_function_may_return_or_yield() -> None:
    def returns(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": config["x"]}

    def yields(config: dict[str, Any]) -> Any:
        for step in range(4):
            yield {"loss": config["x"] + step}

    for train, n_steps in ((returns, 1), (yields, 4)):
        study = tune.create_study(SPACE, metric="loss")
        study.optimize(train, n_trials=3)
        assert [len(trial.intermediate_values) for trial in study.trials] == [n_steps] * 3
        assert all(trial.state.name == "COMPLETE" for trial in study.trials)


class Counter(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.total = 0.0

    def step(self) -> dict[str, Any]:
        self.total += self.config["x"]
        return {"loss": self.total, "done": self.iteration >= 8}

    def save_checkpoint(self, checkpoint_dir: Any) -> None:
        (Path(checkpoint_dir) / "total").write_text(repr(self.total))

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        self.total = float((Path(checkpoint_dir) / "total").read_text())


@BOTH
def test_classes_are_stepped_paused_and_resumed(n_jobs: int) -> None:
    study = tune.create_study(SPACE, metric="loss", pruner=ASHA(9, reduction_factor=3, promote=True), seed=0)
    study.optimize(Counter, n_trials=12, n_jobs=n_jobs)
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert complete
    for trial in complete:
        assert trial.value == pytest.approx(9 * trial.params["x"])


def test_class_mistakes_are_explained() -> None:
    class Reports(tune.Trainable):
        def step(self) -> dict[str, Any]:
            tune.report(loss=1)
            return {"loss": 1}

    class Silent(tune.Trainable):
        def step(self) -> dict[str, Any]:  # type: ignore[return]
            pass

    study = tune.create_study(SPACE, metric="loss")
    with pytest.raises(UsageError, match="return the metrics as a dict from step"):
        study.optimize(Reports, n_trials=1)
    with pytest.raises(UsageError, match="step returned None; it must return a dict"):
        study.optimize(Silent, n_trials=1)


def test_reporting_outside_a_trial_is_explained() -> None:
    with pytest.raises(UsageError, match="inside a trial"):
        tune.report(loss=1.0)


def test_cleanup_runs_when_a_trial_is_stopped(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def train(config: dict[str, Any]) -> None:
        number = tune.get_trial().number
        try:
            for _ in range(100):
                try:
                    tune.report(loss=float(number))
                except Exception:
                    (marks / "swallowed").touch()
        finally:
            (marks / str(number)).touch()

    study = tune.create_study(SPACE, metric="loss", pruner=ASHA(9, reduction_factor=3))
    study.optimize(train, n_trials=4, n_jobs=2)
    assert sorted(path.name for path in marks.iterdir()) == ["0", "1", "2", "3"]
    assert max(trial.last_step for trial in study.trials) == 9


def test_a_time_limit_ends_the_run() -> None:
    def forever(config: dict[str, Any]) -> None:
        while True:
            tune.report(loss=1.0)
            time.sleep(0.02)

    study = tune.create_study(SPACE, metric="loss")
    start = time.monotonic()
    study.optimize(forever, timeout=1.0, n_jobs=2)
    assert time.monotonic() - start < 8
    assert {trial.state.name for trial in study.trials} == {"PRUNED"}


def test_stop_and_callbacks_as_in_optuna() -> None:
    seen: list[int] = []

    def stop_after_five(study: Any, trial: optuna.trial.FrozenTrial) -> None:
        seen.append(trial.number)
        if trial.number >= 4:
            study.stop()

    study = tune.create_study(seed=0)
    study.optimize(quadratic, n_trials=100, callbacks=[stop_after_five])
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_jobs": 0}, InvalidArgument, "n_jobs=0 must be >= 1, or -1"),
        ({"n_trials": -1}, InvalidArgument, "n_trials=-1 must be >= 0"),
        ({"timeout": 0}, InvalidArgument, "timeout=0 must be > 0"),
        ({"resources": {"gpu": 64}}, ResourcesUnavailable, "asks for 1 CPU, 64 GPU, but there is only"),
        ({"resources": {"tpu": 1}}, InvalidArgument, "unknown entries tpu; known are cpu, gpu"),
        ({"executor": "threads"}, InvalidArgument, "unknown executor 'threads'"),
    ],
)
def test_bad_arguments_of_optimize(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    study = tune.create_study()
    with pytest.raises(error, match=message):
        study.optimize(quadratic, **{"n_trials": 1, **arguments})
    assert study.trials == []


@pytest.mark.parametrize("trainable", [None, 3, "train", lambda: 1, lambda a, b, c: 1, int])
def test_what_is_no_trainable_is_refused(trainable: Any) -> None:
    with pytest.raises(TuneflowError, match="must"):
        tune.create_study().optimize(trainable, n_trials=1)


def test_workers_stay_warm_between_calls_and_end_with_the_driver(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            import tuneflow as tune

            class Local:
                pass

            def objective(trial):
                trial.set_user_attr("pid", os.getpid())
                assert Local().__class__.__name__ == "Local"
                return trial.suggest_float("x", 0, 1)

            study = tune.create_study()
            study.optimize(objective, n_trials=4, n_jobs=2)
            study.optimize(objective, n_trials=4, n_jobs=2)
            pids = {trial.user_attrs["pid"] for trial in study.trials}
            assert len(pids) <= 2, pids
            print(*pids, flush=True)
            os.kill(os.getpid(), 9)
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert pids, done.stderr
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def test_a_trial_that_ignores_its_stop_is_pruned_all_the_same() -> None:
    def stubborn(trial: Any) -> float:
        for step in range(1, 9):
            trial.report(float(trial.number), step)
        return -1.0

    study = tune.create_study(pruner=ASHA(9, reduction_factor=3))
    study.optimize(stubborn, n_trials=4)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert study.best_value == -1.0


def test_a_nested_study_inside_a_trial_works() -> None:
    def inner(trial: Any) -> float:
        return float(trial.suggest_float("y", 0, 1))

    def outer(trial: Any) -> float:
        study = tune.create_study(seed=trial.number)
        study.optimize(inner, n_trials=3)
        trial.report(study.best_value, 1)
        return study.best_value

    study = tune.create_study()
    study.optimize(outer, n_trials=3)
    assert len(study.trials) == 3


def test_progress_goes_nowhere_when_it_is_not_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    tune.create_study(seed=0).optimize(quadratic, n_trials=3, n_jobs=2, show_progress_bar=False)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_a_warm_worker_runs_what_it_is_sent_and_not_what_it_ran_before() -> None:
    for value in range(6):  # closures of one line of code: freed objects' addresses are used again

        def train(config: dict[str, Any], value: int = value) -> float:
            return float(value)

        study = tune.create_study(SPACE, metric="loss")
        study.optimize(train, n_trials=2, n_jobs=2)
        assert [trial.value for trial in study.trials] == [value, value]
        del train, study


def test_limits_that_cannot_be_kept_to_inline_are_named(tmp_path: Path) -> None:
    given = {"executor": "inline", "verbose": 0, "storage_path": tmp_path, "trial_timeout_s": 1.0}
    with pytest.warns(
        TuneflowWarning, match=r"trial_timeout_s=1.0 and memory_bytes=1000000.* cannot be kept to inline"
    ):
        tune.run(lambda config: 1.0, {}, resources_per_trial={"cpu": 1, "memory_bytes": 1e6}, **given)
