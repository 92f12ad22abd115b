"""Programs as trials: what they get, what they say, what goes wrong."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import tuneflow as tune
from tuneflow.errors import (
    InvalidArgument,
    InvalidArgumentType,
    MetricMissing,
    OutOfMemory,
    TrialFailed,
    TrialsFailed,
    TuneflowWarning,
    UsageError,
)

SPACE = {"x": tune.uniform(0, 1)}
Write = Callable[[str, str], Path]


def run(trainable: Any, config: Any = SPACE, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {
        "metric": "loss", "mode": "min", "storage_path": "results", "name": "e", "verbose": 0, "seed": 0,
        "executor": "inline", **arguments,
    }  # fmt: skip
    return tune.run(trainable, config, **given)


def failure(trainable: Any, config: Any = SPACE, **arguments: Any) -> Any:
    """The error of a run's only trial."""
    with pytest.raises(TrialsFailed) as caught:
        run(trainable, config, **arguments)
    return caught.value.errors[0]


# What a program gets

SHOW = """\
import json, os, sys
print("loss=1")
json.dump({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}, open(os.environ["OUT"], "w"))
"""


def test_arguments_and_environment_reach_the_program_as_they_are(write: Write, monkeypatch: Any) -> None:
    write("show.py", SHOW)
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):  # of a launcher around the driver
        monkeypatch.setenv(name, "3")
    evil = "a b; $(touch pwned) `x` 'y\" * \\"
    config = {"x": 0.25, "text": evil, "model": {"layers": [64, 32]}, "where": "sub dir"}
    Path("sub dir").mkdir()
    show = tune.script(
        "show.py",
        args="--text {text} '--both={x:.1f} {text}' {model/layers} --last '{{}}' --seed {trial.seed} {trial.dir}",
        env={"TEXT": "<{text}>", "OUT": str(Path("out.json").absolute())},
        cwd="{where}",
    )
    run(show, config)
    seen = json.loads(Path("out.json").read_text())
    folder = str(Path("results/e/00000").absolute())
    assert seen["argv"][:-2] == ["--text", evil, f"--both=0.2 {evil}", "[64, 32]", "--last", "{}", "--seed"]
    assert seen["argv"][-2].isdecimal()
    assert seen["argv"][-1] == folder
    assert seen["env"]["TEXT"] == f"<{evil}>"
    assert seen["cwd"] == str(Path("sub dir").absolute())
    assert not {"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"} & seen["env"].keys()
    assert not list(Path.cwd().rglob("pwned"))


def test_a_shell_line_is_a_list_and_values_are_its_arguments(write: Write) -> None:
    line = ["bash", "-c", 'f() { echo "loss=$1"; }; f "$1"; echo "$TEXT" > "out ${X}.txt"', "-", "{x}"]
    evil = "a; touch pwned"
    analysis = run(tune.script(line, env={"TEXT": "{text}", "X": "1"}), {"x": 0.25, "text": evil})
    assert analysis.best_result["loss"] == 0.25
    assert Path("out 1.txt").read_text() == f"{evil}\n"
    assert not Path("pwned").exists()
    with pytest.raises(InvalidArgument, match="stands in a program's text"):
        run(tune.script(["bash", "-c", "echo loss={x}"]), name="f")
    assert not Path("results/f").exists()


TRIAL = """\
import json, sys, tuneflow
trial = tuneflow.get_trial()
print("this is no metric: loss=100")
names = ("number", "trial_id", "config", "resources", "device", "dir", "seed", "start_step", "attempt", "experiment")
json.dump({name: getattr(trial, name) for name in names}, open("seen.json", "w"))
for step in range(2):
    tuneflow.report({"loss": trial.config["model"]["x"] + step, "n": None}, checkpoint=sys.argv[0])
assert tuneflow.get_checkpoint() is None
"""


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_program_that_knows_tuneflow(write: Write, executor: str) -> None:
    write("train.py", TRIAL)
    space = {"model": {"x": tune.uniform(0, 1)}, "api_key": "k"}
    analysis = run(tune.script("train.py"), space, executor=executor, max_concurrent_trials=1)
    trial = analysis.trials[0]
    seen = json.loads(Path("seen.json").read_text())
    assert 0 <= seen["seed"] < 2**32
    assert seen == {
        "number": 0, "trial_id": "00000", "config": {"model": trial.config["model"], "api_key": "k"},
        "resources": {"cpu": 1.0, "gpu": 0.0}, "device": "cpu", "dir": str(Path("results/e/00000").absolute()),
        "start_step": 0, "attempt": 1, "experiment": "e", "seed": seen["seed"],
    }  # fmt: skip
    assert [(r["loss"], r["training_iteration"]) for r in trial.results] == [
        (trial.config["model"]["x"], 1),
        (trial.config["model"]["x"] + 1, 2),
    ]
    assert trial.results[0]["time_this_iter_s"] > 0.005, "what it takes to start counts"
    assert trial.results[1]["time_total_s"] > trial.results[0]["time_total_s"]
    assert Path(trial.checkpoint.path, "train.py").read_text() == TRIAL


# What a program says


def test_printed_metrics_with_a_pattern_of_ones_own(write: Write) -> None:
    write(
        "old.py", "import sys\nfor i in (3, 2, 1):\n    print(f'[{i}] loss is {i}', file=sys.stderr)\nprint('loss=9')"
    )
    old = tune.script("old.py", metrics=r"loss is (?P<loss>\S+)")
    assert [result["loss"] for result in run(old).trials[0].results] == [3, 2, 1]


def test_printed_values_need_not_be_finite(write: Write) -> None:
    write("odd.py", "import sys\nprint('loss=nan')\nprint('loss=inf')\nprint(f'loss={sys.argv[1]}', end='')")
    analysis = run(tune.script("odd.py", ["{x}"]), {"x": 0.5})
    losses = [result["loss"] for result in analysis.trials[0].results]
    assert math.isnan(losses[0])
    assert losses[1:] == [math.inf, 0.5]
    with pytest.warns(TuneflowWarning, match="the value is NaN"):
        assert "the value is NaN" in str(failure(tune.script("odd.py", "nan"), name="f"))


def test_optimize_takes_scripts_several_objectives_too(write: Write) -> None:
    write("two.py", "import sys\nprint('error=' + sys.argv[1])\nprint('time=2')")
    two = tune.script("two.py", "{x}")
    study = tune.create_study(SPACE, metric="error", mode="min", seed=1)
    study.optimize(two, n_trials=2)
    assert study.best_value == min(trial.params["x"] for trial in study.trials)
    both = tune.create_study(SPACE, metric=["time", "error"], mode=["min", "max"], seed=1)
    both.optimize(two, n_trials=1)
    assert both.trials[0].values == [2.0, both.trials[0].params["x"]]
    with pytest.raises(TrialFailed, match="value was never reported"):
        tune.create_study(SPACE).optimize(two, n_trials=1)


def test_what_it_prints_and_what_it_reports_never_mix(write: Write) -> None:
    text = """\
        import sys, tuneflow
        if sys.argv[1] == "prints":
            for i in range(500):
                print(f"loss={i}", file=sys.stderr)
        trial = tuneflow.get_trial()
        print("loss=7")
        if sys.argv[2] == "reports":
            tuneflow.report(loss=trial.config["x"])
        """
    write("both.py", text)

    def losses(args: str, name: str, **options: Any) -> list[float]:
        analysis = run(tune.script("both.py", args, **options), {"x": 0.5}, name=name)
        return [result["loss"] for result in analysis.trials[0].results]

    assert losses("- reports", "a") == [0.5], "it used tuneflow first"
    assert losses("prints -", "b") == [*range(500), 7], "it printed first, and only reads its configuration"
    assert losses("prints reports", "c", metrics=False) == [0.5]
    assert losses("- -", "d", metrics=r"(?P<name>\w+)=(?P<value>\d+)") == [7]
    for options in ({}, {"metrics": "=(?P<loss>.+)"}):
        error = failure(tune.script("both.py", "prints reports", **options), {"x": 0.5}, name=f"e{len(options)}")
        assert "calls tuneflow.report, but what it prints already counts as its results: it printed loss=" in str(error)
    assert "what it prints is not read" in str(failure(tune.script("both.py", "- -"), {"x": 1}, name="f"))


# What goes wrong


def test_wrong_arguments_are_found_when_they_are_given(write: Write) -> None:
    write("train.py", "")
    write("tool", "")
    Path("folder").mkdir()
    Path("folder.py").mkdir()
    Path("text").write_text("")
    for make, message in (
        (lambda: tune.script("nowhere.py"), "there is no file"),
        (lambda: tune.script("no_such_program_here"), "was not found, neither beside"),
        (lambda: tune.script("echo train"), "a line with arguments is given as a list"),
        (lambda: tune.script("python train.py"), "there is no file .* a line with arguments is given as a list"),
        (lambda: tune.script("tool"), "for the file in this folder write './tool'"),
        (lambda: tune.script("./nowhere"), "no file that can be executed"),
        (lambda: tune.script(["no_such_program_here", "x"]), "was not found"),
        (lambda: tune.script([]), "must hold the program's name"),
        (lambda: tune.script("train.py", "--x 'open"), "cannot be split"),
        (lambda: tune.script("train.py", "--x {x"), "cannot be filled in"),
        (lambda: tune.script("train.py", metrics="loss=(.*)"), "no named groups"),
        (lambda: tune.script("train.py", grace_s=-1), "grace_s=-1"),
        (lambda: tune.script("./folder"), "no file that can be executed: .*folder, which is a folder"),
        (lambda: tune.script(["./folder"], cwd="."), "which is a folder"),
        (lambda: tune.script(["./train.py"], cwd="folder"), "folder/train.py, which is not there"),
        (lambda: tune.script("./text"), "which may not be executed; chmod"),
        (lambda: tune.script("folder.py"), "there is no file .*/folder.py"),
        (lambda: tune.script(["python", "nowhere.py"]), "there is no file .*/nowhere.py"),
        (lambda: tune.script(["python", "train.py"], cwd="folder"), "there is no file .*/folder/train.py"),
        (lambda: tune.script("train.py", cwd="nowhere"), "cwd='nowhere': there is no folder .*/nowhere"),
        (lambda: tune.script("train.py", cwd="train.py"), "cwd='train.py': there is no folder"),
        (lambda: tune.script("train.py", "--x {x:.3z}"), "a format for x that suits no value"),
        (lambda: tune.script("train.py", "--x {x!q}"), "a format for x that suits no value"),
        (lambda: tune.script("train.py", "--x {x:{y}}"), "a format for x that suits no value"),
        (lambda: tune.script("train.py", ["a\0b"]), "NUL character"),
        (lambda: tune.script("train.py", env={"A=B": "1"}), "env has the key 'A=B'"),
        (lambda: tune.script("train.py", env={"": "1"}), "must not be empty"),
        (lambda: tune.script("train.py", env={"TUNEFLOW_SECRET": "1"}), "leave it out"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            make()
    for make_wrong, message in (
        (lambda: tune.script(3), "program=3 must be"),  # type: ignore[arg-type]
        (lambda: tune.script("train.py", [object()]), "must be a list of strings"),
        (lambda: tune.script("train.py", env=["LR"]), "must be a dict"),  # type: ignore[arg-type]
        (lambda: tune.script("train.py", env={1: "x"}), "env has the key 1;"),  # type: ignore[dict-item]
        (lambda: tune.script("train.py", cwd=3), "cwd=3 must be a path"),  # type: ignore[arg-type]
        (lambda: tune.script("train.py", name=3), "name=3 must be a string"),  # type: ignore[arg-type]
        (lambda: tune.with_parameters(tune.script("train.py"), data=1), "a program gets what it needs as arguments"),
    ):
        with pytest.raises(InvalidArgumentType, match=message):
            make_wrong()


def test_a_placeholder_without_a_value_is_found_before_anything_runs(write: Write) -> None:
    write("train.py", "open('ran', 'w')")
    for wrong in (
        tune.script("train.py", "--lr {lr}"),
        tune.script("train.py", env={"A": "{lr}"}),
        tune.script("train.py", cwd="{lr}"),
    ):
        with pytest.raises(InvalidArgument, match=r"'.*\{lr\}' is no entry of the configuration, which has: x"):
            run(wrong)
        with pytest.raises(InvalidArgument, match="which has: x"):
            tune.create_study(SPACE).optimize(wrong, n_trials=1)
    with pytest.raises(InvalidArgument, match="which has: nothing"):
        tune.create_study().optimize(tune.script("train.py", "{lr}"), n_trials=1)
    assert not Path("ran").exists()
    assert not Path("results").exists()
    with pytest.raises(UsageError, match="works inside a trial"):
        tune.script("train.py")({})


def test_failures_say_what_the_program_said(write: Write) -> None:
    write("fails.py", "import sys\nprint('loss=1')\nsys.exit(int(sys.argv[1]) or {}['lost'])")
    error = failure(tune.script("fails.py", "0"))
    assert type(error) is TrialFailed
    assert str(error).splitlines()[0] == "fails ended with exit code 1; its last lines:"
    assert "KeyError: 'lost'" in str(error)
    assert "KeyError: 'lost'" in Path("results/e/00000/error.txt").read_text()
    assert str(failure(tune.script("fails.py", "3"), name="f")).startswith(
        "fails ended with exit code 3; its last lines:"
    )
    quiet = tune.script(["bash", "-c", "exit 4"], name="quiet")
    assert str(failure(quiet, name="g")) == "quiet ended with exit code 4; it printed nothing"
    crash = tune.script(["bash", "-c", "kill -SEGV $$"], name="crash")
    assert "crash was ended by SIGSEGV (a crash in native code)" in str(failure(crash, name="h"))
    memory = tune.script(["python", "-c", "raise MemoryError('too much')"], name="memory")
    assert type(failure(memory, name="i")) is OutOfMemory
    study = tune.create_study(SPACE, metric="loss", mode="min")
    with pytest.raises(TrialFailed, match="exit code 4"):
        study.optimize(quiet, n_trials=1)


def test_a_program_that_is_gone_when_its_trial_starts(write: Write) -> None:
    gone = tune.script(write("gone", "#!/bin/sh\n"))
    Path("gone").unlink()
    assert "gone could not be started: No such file or directory" in str(failure(gone))
    Path("elsewhere").mkdir()
    nowhere = tune.script(["bash", "-c", "echo loss=1"], cwd="elsewhere")
    Path("elsewhere").rmdir()
    assert f"No such file or directory: '{Path.cwd()}/elsewhere'" in str(failure(nowhere, name="g"))
    by_trial = tune.script(["bash", "-c", "echo loss=1"], cwd="{where}")
    assert "No such file or directory: 'nowhere'" in str(failure(by_trial, {"where": "nowhere"}, name="h"))


def test_a_program_without_a_result_is_told_how_to_give_one(write: Write) -> None:
    write("silent.py", "print('accuracy=0.3')")
    text = str(failure(tune.script("silent.py")))
    assert "silent ended without a result: loss was never reported" in text
    assert "the metrics that it printed are: accuracy" in text
    write("silent.py", "print('bye')")
    assert "no line that it printed looked like a metric" in str(failure(tune.script("silent.py"), name="f"))
    assert run(tune.script("silent.py"), metric=None, mode=None, name="g").trials[0].status == "TERMINATED"


def test_what_the_driver_refuses_is_raised_in_the_program(write: Write) -> None:
    text = """\
        import tuneflow
        try:
            tuneflow.report(accuracy=1.0)
        except tuneflow.errors.MetricMissing:
            open("refused", "w").close()
            raise
        """
    write("wrong.py", text)
    with pytest.raises(MetricMissing, match="'loss' was not reported; the report holds: accuracy"):
        run(tune.script("wrong.py"))
    assert Path("refused").exists()


def test_misuse_in_the_program_is_explained_there(write: Write) -> None:
    text = """\
        import tuneflow
        from tuneflow.trainable.session import current
        from tuneflow.trainable.session_trial import SessionTrial
        for wrong in (
            lambda: tuneflow.report(loss=1, checkpoint="nowhere"),
            lambda: tuneflow.report(3),
            lambda: SessionTrial(current("here")).suggest_float("y", 0, 1),
        ):
            try:
                wrong()
            except tuneflow.errors.TuneflowError as error:
                print(error, file=open("log", "a"))
        tuneflow.report(loss=1)
        """
    write("wrong.py", text)
    assert run(tune.script("wrong.py")).best_result["loss"] == 1
    log = Path("log").read_text().splitlines()
    assert len(log) == 3
    for line, part in zip(log, ("does not exist", "needs a dict", "suggest"), strict=True):
        assert part in line


def test_a_report_from_outside_a_trial(write: Write) -> None:
    code = "import tuneflow; tuneflow.report(loss=1)"
    for env, message in (
        ({}, "works inside a trial"),
        ({"TUNEFLOW_ADDRESS": "127.0.0.1:1", "TUNEFLOW_SECRET": "x"}, "does not answer there"),
    ):
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)
        assert done.returncode == 1
        assert message in done.stderr


def test_values_that_the_program_cannot_read_are_explained(write: Write, monkeypatch: Any) -> None:
    text = """\
        import tuneflow
        tuneflow.report(loss=0)
        try:
            tuneflow.get_trial()
        except tuneflow.errors.UsageError as error:
            open("log", "w").write(str(error))
        """
    Path("sub").mkdir()
    write("sub/train.py", text)
    write("only_here.py", "class Value:\n    pass")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    from only_here import Value  # type: ignore[import-not-found]

    run(tune.script("sub/train.py"), {"value": Value()})
    assert "configuration cannot be read in the script's process (ModuleNotFoundError" in Path("log").read_text()


def test_resources_and_name(write: Write) -> None:
    write("train.py", "print('loss=1')")
    trainable = tune.with_resources(tune.script("train.py", "{x}"), {"cpu": 1})
    with pytest.raises(InvalidArgument, match="which has: y"):
        run(trainable, {"y": 1})
    analysis = tune.run(
        trainable, {"x": 1}, metric="loss", mode="min", storage_path="results", verbose=0, executor="inline"
    )
    assert Path(analysis.best_logdir).parent.name.startswith("train_")


def test_a_format_that_does_not_fit_the_space_is_found_before_anything_runs(write: Write) -> None:
    write("train.py", "open('ran', 'w')")
    space = {
        "lr": tune.loguniform(1e-3, 1),
        "n": tune.randint(1, 9),
        "size": tune.choice([1, "auto"]),
        "model": {"depth": 3},
        "act": tune.grid_search(["relu", "tanh"]),
        "half": tune.sample_from(lambda spec: spec.config.lr / 2),
    }
    for args in ("{lr:d}", "{size:03d}", "{model/depth:>s}", "{act:.2f}", "{trial.number:s}"):
        with pytest.raises(InvalidArgument, match="cannot be written as"):
            run(tune.script("train.py", args=args), space, num_samples=3)
        with pytest.raises(InvalidArgument, match="cannot be written as"):
            run(tune.script("train.py", env={"A": args}), space, num_samples=3)
    assert not Path("ran").exists()
    args = (
        "{lr:.3g} {n:05d} {n:.1f} {size:>6} {size!r} {model/depth:d} {act:s} {half:.2f} {trial.id:>9} {trial.number:d}"
    )
    tune.script("train.py", args=args).tuneflow_bind(space=tune.space.Space(space), metrics=("loss",))


def test_a_message_about_the_environment_shows_no_value() -> None:
    for env in ({"API_KEY": "sesame", "B": None}, {"API_KEY": "sesame", "": "x"}, [("API_KEY", "sesame")]):
        with pytest.raises((InvalidArgument, InvalidArgumentType)) as caught:
            tune.script("true", env=env)  # type: ignore[arg-type]
        assert "sesame" not in str(caught.value)


def test_a_program_of_this_folder_is_run_where_it_is(write: Write) -> None:
    Path("sub").mkdir()
    write("show", "#!/bin/sh\necho loss=1\n")
    write("sub/show", "#!/bin/sh\necho loss=2\n")
    assert run(tune.script(["./show"]), name="here").best_result["loss"] == 1
    assert run(tune.script(["./show"], cwd="sub"), name="there").best_result["loss"] == 2


def test_a_program_without_its_interpreter_says_so(write: Write) -> None:
    write("show", "#!/nowhere/sh\necho loss=1\n")
    write("bare", "echo loss=1\n")
    assert "what its first line (#!) names is not" in str(failure(tune.script("./show"), name="a"))
    assert "no first line (#!)" in str(failure(tune.script("./bare"), name="b"))


# Secrets


def test_the_secret_is_nowhere_to_be_seen(write: Write) -> None:
    text = """\
        import os, subprocess, tuneflow
        tuneflow.report(loss=1)
        import psutil
        secret = os.environ["TUNEFLOW_SECRET"]
        lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        assert len(secret) == 64 and not any(secret in line for line in lines)
        open("../secret", "w").write(secret)
        """
    write("train.py", text)
    Path("work").mkdir()
    run(tune.script("train.py", cwd="work"), loggers=None)
    secret = Path("secret").read_text().encode()
    Path("secret").unlink()
    assert psutil.Process().environ().get("TUNEFLOW_SECRET") is None
    files = [path for path in Path.cwd().rglob("*") if path.is_file()]
    assert files
    assert not any(secret in path.read_bytes() for path in files)


def test_a_program_that_prints_its_environment_does_not_give_the_secret_away(write: Write) -> None:
    write("train", "#!/bin/sh\nenv\nenv >&2\nexit 3\n")
    error = failure(tune.script("./train"), executor="processes")
    shown = [Path(f"results/e/00000/{name}.txt").read_text() for name in ("stdout", "stderr", "error")]
    for text in (*shown, str(error), error.output, error.traceback_text):
        assert not re.search(r"[0-9a-f]{64}", text)
    for text in shown:
        assert "TUNEFLOW_SECRET=********\n" in text
