"""tune.run from the outside: folders, limits, resuming, errors."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.errors import (
    ExperimentExists,
    ExperimentNotFound,
    InvalidArgument,
    InvalidArgumentType,
    MetricMissing,
    TrialFailed,
    TrialsFailed,
    TrialTimeout,
    TuneflowError,
    TuneflowWarning,
    UnpicklableTrainable,
    WorkerLost,
)
from tuneflow.pruners import ASHA

LOCK = threading.Lock()
SPACE = {"x": tune.uniform(0, 1), "deep": {"k": tune.randint(0, 9)}}


def train(config: dict[str, Any]) -> None:
    for step in range(1, 6):
        tune.report(loss=config["x"] / step, extra={"nested": step})


def run(trainable: Any = train, config: Any = SPACE, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {
        "metric": "loss", "mode": "min", "name": "e", "storage_path": "results", "verbose": 0, "seed": 0,
        "num_samples": 4, **arguments,
    }  # fmt: skip
    return tune.run(trainable, config, **given)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_folder_holds_what_the_pages_promise() -> None:
    analysis = run()
    folder = Path("results/e")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["00000", "00001", "00002", "00003"]
    for trial in analysis.trials:
        logdir = Path(trial.logdir)
        assert json.loads((logdir / "params.json").read_text()) == trial.config
        results = lines(logdir / "result.json")
        assert [result["training_iteration"] for result in results] == [1, 2, 3, 4, 5]
        assert {"time_this_iter_s", "time_total_s", "timestamp", "trial_id", "done", "pid", "hostname"} <= set(
            results[0]
        )
        assert all(result["trial_id"] == trial.trial_id for result in results)
        with open(logdir / "progress.csv") as file:
            rows = list(csv.DictReader(file))
        assert [row["extra/nested"] for row in rows] == ["1", "2", "3", "4", "5"]
        assert (trial.status, trial.state) == ("TERMINATED", "COMPLETE")
    assert analysis.best_config == min((trial.config for trial in analysis.trials), key=lambda config: config["x"])
    assert analysis.best_result["loss"] == analysis.best_config["x"] / 5
    reopened = tune.ExperimentAnalysis(folder)
    assert reopened.best_config == analysis.best_config
    assert [trial.last_result for trial in reopened.trials] == [trial.last_result for trial in analysis.trials]


def test_an_existing_folder_is_not_touched() -> None:
    run(num_samples=1)
    before = sorted(Path("results/e").rglob("*"))
    with pytest.raises(ExperimentExists, match="resume=True to go on with that experiment, or another name"):
        run()
    assert sorted(Path("results/e").rglob("*")) == before
    with pytest.raises(ExperimentNotFound, match="resume='auto'"):
        run(name="other", resume=True)


def test_resume_goes_on_to_the_number_of_samples() -> None:
    first = run(num_samples=2)
    again = run(num_samples=5, resume=True)
    whole = run(num_samples=5, name="whole")
    assert [trial.config for trial in again.trials][:2] == [trial.config for trial in first.trials]
    assert [trial.config for trial in again.trials] == [trial.config for trial in whole.trials]
    assert len(run(num_samples=5, resume="auto").trials) == 5
    assert len(run(num_samples=2, name="auto", resume="auto").trials) == 2


def test_one_driver_at_a_time() -> None:
    def nested(config: dict[str, Any]) -> None:
        with pytest.raises(ExperimentExists, match="another process runs the experiment"):
            run(num_samples=9, resume=True)
        tune.report(loss=1)

    assert run(nested, num_samples=1).trials[0].status == "TERMINATED"


@pytest.mark.parametrize(
    ("stop", "n_steps"),
    [
        ({"training_iteration": 3}, 3),
        ({"extra/nested": 2}, 2),
        (lambda trial_id, result: result["training_iteration"] >= 4, 4),
        ([{"training_iteration": 4}, lambda trial_id, result: result["extra"]["nested"] == 2], 2),
    ],
)
def test_stop_criteria(stop: Any, n_steps: int) -> None:
    analysis = run(stop=stop, num_samples=2)
    assert [len(trial.results) for trial in analysis.trials] == [n_steps] * 2
    assert all(trial.state == "COMPLETE" and trial.last_result["done"] for trial in analysis.trials)


def test_a_stop_key_that_no_result_holds_is_warned_about() -> None:
    with pytest.warns(TuneflowWarning, match="stop names accuracy"):
        run(stop={"accuracy": 0.9}, num_samples=1)


def test_a_stopper_may_end_the_run() -> None:
    class Enough(tune.Stopper):
        n = 0

        def __call__(self, trial_id: str, result: Any) -> bool:
            self.n += 1
            return False

        def stop_all(self) -> bool:
            return self.n >= 12

    analysis = run(stop=Enough(), num_samples=-1, max_concurrent_trials=1)
    assert 2 <= len(analysis.trials) <= 4


def test_grids_are_crossed_and_repeated() -> None:
    space = {"a": tune.grid_search([1, 2, 3]), "b": {"c": tune.grid_search(["x", "y"])}, "r": tune.uniform(0, 1)}

    def report(config: dict[str, Any]) -> None:
        tune.report(loss=config["a"])

    analysis = run(report, space, num_samples=2)
    cells = [(trial.config["a"], trial.config["b"]["c"]) for trial in analysis.trials]
    assert cells == [(1, "x"), (2, "x"), (3, "x"), (1, "y"), (2, "y"), (3, "y")] * 2
    assert len({trial.config["r"] for trial in analysis.trials}) == 12


def test_points_to_evaluate_come_first() -> None:
    analysis = run(points_to_evaluate=[{"x": 0.25}, {"deep": {"k": 3}}], num_samples=3)
    assert analysis.trials[0].config["x"] == 0.25
    assert analysis.trials[1].config["deep"]["k"] == 3
    assert len(analysis.trials) == 3


def test_a_given_point_pins_the_grids_that_it_names() -> None:
    space = {"a": tune.grid_search([1, 2, 3]), "b": tune.grid_search(["x", "y"]), "r": tune.uniform(0, 1)}

    def report(config: dict[str, Any]) -> None:
        tune.report(loss=config["a"])

    analysis = run(report, space, num_samples=1, points_to_evaluate=[{"a": 3, "r": 0.5}])
    assert analysis.trials[0].config == {"a": 3, "b": "x", "r": 0.5}
    cells = [(trial.config["a"], trial.config["b"]) for trial in analysis.trials[1:]]
    assert cells == [(1, "x"), (2, "x"), (1, "y"), (2, "y"), (3, "y")], "each cell once"


def test_without_a_metric_there_is_random_search_and_best_says_why() -> None:
    analysis = run(metric=None, mode=None)
    assert [trial.state for trial in analysis.trials] == ["COMPLETE"] * 4
    with pytest.raises(TuneflowError, match="metric="):
        _ = analysis.best_config
    assert analysis.get_best_config("loss", "min") == min(
        (trial.config for trial in analysis.trials), key=lambda config: config["x"]
    )


def fails(config: dict[str, Any]) -> None:
    number = tune.get_trial().number
    tune.report(loss=config["x"])
    if number == 1:
        raise ValueError("boo")
    if number == 2:
        os._exit(7)
    tune.report(loss=0.0)


def raises(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    raise ValueError("boo")


def test_failed_trials_raise_at_the_end_with_everything_kept() -> None:
    with pytest.raises(TrialsFailed, match="2 trial\\(s\\) failed: 1, 2") as caught:
        run(fails)
    errors = caught.value.errors
    assert isinstance(errors[1], TrialFailed)
    assert isinstance(errors[1].__cause__, ValueError)
    assert isinstance(errors[2], WorkerLost)
    assert 'raise ValueError("boo")' in Path("results/e/00001/error.txt").read_text()
    analysis = caught.value.analysis
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "ERROR", "TERMINATED"]
    assert analysis.trials[1].error is errors[1]
    again = run(fails, resume=True, raise_on_failed_trial=False)
    assert [trial.status for trial in again.trials] == ["TERMINATED", "ERROR", "ERROR", "TERMINATED"]


def test_errored_trials_are_tried_again() -> None:
    run(fails, raise_on_failed_trial=False)
    analysis = run(train, resume="errored")
    assert [trial.status for trial in analysis.trials] == [
        "TERMINATED",
        "ERROR",
        "ERROR",
        "TERMINATED",
        *["TERMINATED"] * 2,
    ]
    assert [trial.config for trial in analysis.trials[4:]] == [trial.config for trial in analysis.trials[1:3]]


def test_errored_trials_are_tried_again_once_each() -> None:
    run(fails, raise_on_failed_trial=False)
    assert len(run(train, resume="errored").trials) == 6
    for resume in ("errored", True, "auto"):
        analysis = run(train, resume=resume)
        assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "ERROR", *["TERMINATED"] * 3]
    assert len(run(train, resume=True, num_samples=6).trials) == 8  # what was tried again counts once


def test_what_fails_again_is_tried_again_and_waits_where_there_was_no_time() -> None:
    run(fails, raise_on_failed_trial=False)
    again = run(raises, resume="errored", raise_on_failed_trial=False)
    assert [trial.status for trial in again.trials] == ["TERMINATED", "ERROR", "ERROR", "TERMINATED", "ERROR", "ERROR"]
    with contextlib.suppress(TrialsFailed):
        run(raises, resume="errored", fail_fast=True, max_concurrent_trials=1)
    analysis = run(train, resume=True)
    assert [trial.status for trial in analysis.trials][6:] == ["ERROR", "TERMINATED"]
    assert len(run(train, resume="errored").trials) == 9


def test_trials_that_wait_stand_in_no_ones_way(tmp_path: Path) -> None:
    points = [{"x": 0.25}, {"x": 0.5}, {"x": 0.75}]
    analysis = run(
        raises, points_to_evaluate=points, fail_fast=True, max_concurrent_trials=1, raise_on_failed_trial=False
    )
    assert [trial.status for trial in analysis.trials] == ["ERROR", "PENDING", "PENDING"]
    assert [trial.config["x"] for trial in analysis.trials] == [0.25, 0.5, 0.75]
    analysis.report(tmp_path / "report.html")


def test_a_folder_that_another_run_makes_meanwhile_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, is_dir = tmp_path / "new", Path.is_dir

    def late(path: Path) -> bool:
        before = is_dir(path)
        if path == place and not before:
            place.mkdir()
        return before

    monkeypatch.setattr(Path, "is_dir", late)
    assert len(run(storage_path=place, num_samples=1, executor="inline").trials) == 1


def test_a_trial_that_ends_on_nan_is_a_failed_trial() -> None:
    def nan(config: dict[str, Any]) -> None:
        tune.report(loss=float("nan"))

    with pytest.warns(TuneflowWarning, match="NaN"), pytest.raises(TrialsFailed, match="trial 0: the value is NaN"):
        run(nan, num_samples=1)


class Reader(tune.Trainable):
    def setup(self, config: dict[str, Any], data: list[int]) -> None:  # type: ignore[override]
        self.data = data

    def step(self) -> dict[str, Any]:
        return {"loss": sum(self.data) + self.config["x"], "done": True}


def test_parameters_and_resources_can_be_bound() -> None:
    def reads(config: dict[str, Any], data: list[int]) -> None:
        tune.report(loss=sum(data) + config["x"], cpu=tune.get_trial().resources["cpu"])

    with pytest.raises(InvalidArgumentType, match=r"resources=.* must be a dict"):
        tune.with_resources(reads, lambda config: {"cpu": 1})  # type: ignore[arg-type]
    bound = tune.with_resources(tune.with_parameters(reads, data=[1, 2, 3]), {"cpu": 2})
    analysis = run(bound, num_samples=2)
    assert all(6 <= trial.last_result["loss"] < 7 and trial.last_result["cpu"] == 2 for trial in analysis.trials)
    assert all(set(trial.config) == {"x", "deep"} for trial in analysis.trials)
    classes = tune.with_resources(tune.with_parameters(Reader, data=[4]), {"cpu": 2})
    assert all(4 <= trial.last_result["loss"] < 5 for trial in run(classes, name="c", num_samples=2).trials)
    with pytest.raises(InvalidArgument, match="at least one"):
        tune.with_parameters(reads)
    for wrong in (reads, Reader):
        with pytest.raises(InvalidArgument, match=r"given typo, which .* does not take; its arguments are: .*config"):
            tune.with_parameters(wrong, typo=1)

    async def waits(config: dict[str, Any]) -> None: ...

    with pytest.raises(InvalidArgumentType, match=r"waits is a coroutine function.*asyncio\.run\(waits\(config\)\)"):
        run(waits, name="w")


def test_fail_fast_stops_what_runs_beside_the_failure() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        if config["i"] == 1:
            while not Path(f"{tune.get_trial().dir}/../00000/result.json").exists():
                time.sleep(0.01)
            raise ValueError("boo")
        time.sleep(60)

    space = {"i": tune.grid_search([0, 1, 2, 3])}
    analysis = run(train, space, num_samples=1, fail_fast=True, max_concurrent_trials=2, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR"]
    with pytest.raises(ValueError, match="boo"):
        run(train, space, num_samples=1, fail_fast="raise", max_concurrent_trials=2, name="f")
    with pytest.raises(InvalidArgument, match="fail_fast='x' must be True, False or 'raise'"):
        run(train, space, num_samples=1, fail_fast="x", name="g")


def test_fail_fast_ends_the_run() -> None:
    with pytest.raises(TrialsFailed) as caught:
        run(fails, num_samples=50, fail_fast=True, max_concurrent_trials=1)
    assert len(caught.value.analysis.trials) == 2


def flaky(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    start = 0 if checkpoint is None else int((checkpoint.path / "step").read_text())
    attempt = tune.get_trial().attempt
    for step in range(start + 1, 7):

        def save(folder: Path, step: int = step) -> None:
            (folder / "step").write_text(str(step))

        tune.report({"loss": float(step), "attempt": attempt}, checkpoint=save)
        if step in (2, 4) and attempt == step // 2:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_failed_attempt_goes_on_from_its_last_checkpoint_without_gap_or_double() -> None:
    analysis = run(flaky, num_samples=2, max_failures=3, checkpoint_freq=1)
    for trial in analysis.trials:
        assert [result["loss"] for result in trial.results] == [1, 2, 3, 4, 5, 6]
        assert [result["training_iteration"] for result in trial.results] == [1, 2, 3, 4, 5, 6]
        assert trial.results[-1]["attempt"] == 3


def test_a_hanging_trial_is_ended_with_its_process_group() -> None:
    def hangs(config: dict[str, Any]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (Path(tune.get_trial().dir) / "pid").write_text(str(child.pid))
        tune.report(loss=1.0)
        time.sleep(600)

    analysis = run(hangs, num_samples=1, trial_timeout_s=1.5, raise_on_failed_trial=False)
    assert isinstance(analysis.trials[0].error, TrialTimeout)
    pid = int(Path("results/e/00000/pid").read_text())
    deadline = time.monotonic() + 5
    while (
        Path(f"/proc/{pid}").exists()
        and "Z" not in Path(f"/proc/{pid}/stat").read_text()
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def test_checkpoints_are_kept_by_the_rules() -> None:
    def saves(config: dict[str, Any]) -> None:
        for step in range(1, 9):
            score = float(step % 5)
            tune.report({"loss": 1.0, "score": score}, checkpoint=lambda folder: (folder / "f").write_text("x"))

    analysis = run(saves, num_samples=1, checkpoint_freq=2, keep_checkpoints_num=2, checkpoint_score_attr="score")
    kept = sorted(path.name for path in Path(analysis.trials[0].logdir).glob("checkpoint_*"))
    assert kept == ["checkpoint_000004", "checkpoint_000008"], "scores 4 and 3, of 2, 4, 1, 3"


def test_quiet_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    run(verbose=0)
    assert capfd.readouterr() == ("", "")
    run(verbose=2, name="loud")
    out = capfd.readouterr().out
    assert "== Status ==" in out
    assert "\x1b" not in out, "no control characters where there is no terminal"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mode": "lowest"}, InvalidArgument, "mode='lowest' must be 'min' or 'max'"),
        ({"mode": None}, InvalidArgument, "metric='loss' needs a mode"),
        ({"num_samples": 0}, InvalidArgument, "num_samples=0 must be >= 1, or -1"),
        ({"name": "a/b"}, InvalidArgument, "without '/'"),
        ({"search_alg": "tpee"}, InvalidArgument, "unknown search_alg 'tpee'; known are:"),
        ({"resume": "yes"}, InvalidArgument, "resume='yes' must be"),
        ({"stop": 3}, TuneflowError, "stop=3 must be a dict"),
        ({"metric": None, "mode": None, "scheduler": ASHA(9)}, InvalidArgument, "needs to know what to compare"),
        ({"metric": None, "mode": None, "search_alg": "tpe"}, InvalidArgument, "needs to know what to optimise"),
        (
            {"config": {"x": tune.grid_search([1])}, "search_alg": "tpe"},
            InvalidArgument,
            "cannot be combined with grid",
        ),
        ({"trainable": lambda config: float(LOCK.locked())}, UnpicklableTrainable, "'LOCK'"),
        ({"resources_per_trial": {"cpu": 999}}, InvalidArgument, "asks for 999 CPU"),
        ({"max_failures": -2}, InvalidArgument, "max_failures=-2"),
        ({"checkpoint_freq": -1}, InvalidArgument, "checkpoint_freq=-1"),
        ({"trial_timeout_s": -1}, InvalidArgument, "trial_timeout_s=-1"),
        ({"keep_checkpoints_num": 0}, InvalidArgument, "keep_checkpoints_num=0"),
        ({"verbose": 7}, InvalidArgument, "verbose=7"),
        ({"points_to_evaluate": [{"y": 1}]}, InvalidArgument, "y"),
    ],
)
def test_bad_input_is_found_before_anything_runs(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(**arguments)
    assert not Path("results").exists(), "nothing was created: the name is free for another try"


def test_reversed_bounds_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"uniform\(lower=1, upper=0\)"):
        tune.uniform(1, 0)


def test_a_metric_that_is_never_reported_lists_what_was() -> None:
    with pytest.raises(MetricMissing, match="'accuracy' was not reported; the report holds: loss, extra"):
        run(metric="accuracy", mode="max", num_samples=100)
    assert len(list(Path("results/e").glob("0*"))) <= 3


SCRIPT = """
    import sys, time
    from pathlib import Path
    import tuneflow as tune
    from tuneflow.pruners import ASHA

    def train(config):
        checkpoint = tune.get_checkpoint()
        start = 0 if checkpoint is None else int((checkpoint.path / "step").read_text())
        for step in range(start + 1, 10):
            time.sleep(float(sys.argv[2]))
            tune.report({"loss": config["x"] + 1 / step},
                        checkpoint=lambda folder: (folder / "step").write_text(str(step)))

    analysis = tune.run(
        train, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=12, name="e", storage_path="results",
        scheduler=ASHA(9, reduction_factor=3, promote=True), seed=5, resume="auto", verbose=0, search_alg="random")
    print(analysis.best_config)
"""


def start(script: Path, pause_s: float = 0.02) -> subprocess.Popen[str]:
    script.write_text(textwrap.dedent(SCRIPT))
    return subprocess.Popen(
        [sys.executable, str(script), "x", str(pause_s)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


def check_whole(folder: Path) -> None:
    """Every trial ended once, its reports are contiguous, its files agree with the study."""
    study = tune.load_study(study_name=None, storage=folder / "study.log")
    assert len(study.trials) == 12
    for trial in study.trials:
        assert trial.state.name in ("COMPLETE", "PRUNED"), trial
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
        results = lines(folder / f"{trial.number:05d}" / "result.json")
        assert [result["training_iteration"] for result in results] == steps
        with open(folder / f"{trial.number:05d}" / "progress.csv") as file:
            assert [int(row["training_iteration"]) for row in csv.DictReader(file)] == steps


def test_a_killed_driver_is_resumed(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    for wait_s in (0.25, 0.4, 0.15):
        driver = start(script)
        wait_for(Path("results/e/study.log"))
        time.sleep(wait_s)
        driver.kill()
        driver.communicate()
    driver = start(script, 0.0)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    assert "{'x':" in out
    check_whole(Path("results/e"))
    Path("results").rename("moved")
    assert (
        tune.ExperimentAnalysis("moved/e").best_config == tune.ExperimentAnalysis("moved/e", "loss", "min").best_config
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    script = tmp_path / "main.py"
    driver = start(script, 0.05)
    wait_for(Path("results/e/00001/result.json"))
    driver.send_signal(number)
    _, err = driver.communicate(timeout=20)
    assert driver.returncode == (-signal.SIGINT if number == signal.SIGINT else 143)
    assert "resume=True" in err
    driver = start(script, 0.0)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    check_whole(Path("results/e"))
