"""``tuneflow resume FOLDER``: an experiment goes on where its trainable can be imported."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import tuneflow as tune
from tuneflow.cli.main import main
from tuneflow.errors import NotResumable
from tuneflow.recall import recall

MODULE = """
    import os
    import time
    import tuneflow as tune

    def train(config):
        open("data.txt").close()
        checkpoint = tune.get_checkpoint()
        start = 0
        if checkpoint:
            with checkpoint.as_directory() as folder:
                start = int(open(os.path.join(folder, "step")).read())
        for step in range(start + 1, 7):
            time.sleep(config["pause_s"])
            def save(folder, step=step):
                with open(os.path.join(folder, "step"), "w") as file:
                    file.write(str(step))
            tune.report({"loss": config["x"] + 1 / step}, checkpoint=save)
"""


def start(folder: Path, pause_s: float) -> subprocess.Popen[str]:
    (folder / "mine.py").write_text(textwrap.dedent(MODULE))
    (folder / "data.txt").touch()
    call = f"""
        import mine
        import tuneflow as tune
        space = {{"x": tune.uniform(0, 1), "pause_s": {pause_s}}}
        tune.run(mine.train, space, metric="loss", mode="min", num_samples=4, name="moving",
                 storage_path="results", seed=1, verbose=0, checkpoint_freq=1)
    """
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}"}
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(call)], cwd=folder, env=environment, text=True)


def test_a_killed_experiment_that_was_moved_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, 0.15)
    rows = tmp_path / "results" / "moving" / "00001" / "result.json"
    for _ in range(600):
        if rows.exists() and len(rows.read_text().splitlines()) >= 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    (tmp_path / "results" / "moving").rename(moved)
    command = [sys.executable, "-m", "tuneflow.cli.main", "resume", str(moved)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"4 trials in {moved}"), done.stderr
    analysis = tune.ExperimentAnalysis(moved)
    for trial in analysis.trials:
        rows = [json.loads(line) for line in (moved / trial.trial_id / "result.json").read_text().splitlines()]
        assert [row["training_iteration"] for row in rows] == [1, 2, 3, 4, 5, 6]
        assert trial.status == "TERMINATED"


def test_a_directory_that_is_gone_is_said(tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "begun").mkdir()
    monkeypatch.chdir(tmp_path / "begun")
    tune.run(in_main, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", name="s", storage_path=tmp_path, verbose=0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "begun").rmdir()
    assert main(["resume", str(tmp_path / "s")]) == 0
    assert f"was begun in {tmp_path / 'begun'}, which cannot be entered" in capsys.readouterr().err


def in_main(config: dict[str, float]) -> float:
    return config["x"]


def test_what_cannot_be_imported_names_the_call(tmp_path: Path, capsys) -> None:
    def local(config):
        return config["x"]

    tune.run(local, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", name="here", storage_path=tmp_path, verbose=0)
    assert main(["resume", str(tmp_path / "here")]) == 1
    said = capsys.readouterr().err
    assert f"tune.run(local, ..., name='here', storage_path='{tmp_path}', resume=True)" in said


@pytest.mark.parametrize("service", [{"api_key": "very-secret-4711"}, {"uri": "http://me:very-secret-4711@host"}])
def test_a_secret_is_not_kept(tmp_path: Path, service: dict[str, str]) -> None:
    config = {"x": tune.uniform(0, 1), "service": service}
    tune.run(in_main, config, metric="loss", mode="min", name="s", storage_path=tmp_path, verbose=0, executor="inline")
    with pytest.raises(NotResumable, match="an argument cannot be kept"):
        recall(tmp_path / "s")
    for path in (tmp_path / "s").rglob("*"):
        assert not path.is_file() or b"very-secret-4711" not in path.read_bytes()


def test_a_folder_that_others_can_write_to_is_not_unpickled(tmp_path: Path) -> None:
    config = {"x": tune.uniform(0, 1)}
    tune.run(in_main, config, metric="loss", mode="min", name="s", storage_path=tmp_path, verbose=0, executor="inline")
    trainable, given, _ = recall(tmp_path / "s")
    assert trainable.__qualname__ == "in_main"
    assert given["metric"] == "loss"
    (tmp_path / "s").chmod(0o777)
    with pytest.raises(NotResumable, match="can be written to by other users"):
        recall(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "members", "is_refused"),
    [("me", [], False), ("me", ["me"], False), ("me", ["you"], True), ("staff", [], True)],
)
def test_a_group_of_the_users_own_is_nobody_else(
    tmp_path: Path, monkeypatch, name: str, members: list[str], is_refused: bool
) -> None:
    config = {"x": tune.uniform(0, 1)}
    tune.run(in_main, config, metric="loss", mode="min", name="s", storage_path=tmp_path, verbose=0, executor="inline")
    (tmp_path / "s").chmod(0o775)  # as a umask of 002 leaves it
    monkeypatch.setattr(grp, "getgrgid", lambda number: SimpleNamespace(gr_name=name, gr_mem=members))
    monkeypatch.setattr(pwd, "getpwuid", lambda number: SimpleNamespace(pw_name="me"))
    if is_refused:
        with pytest.raises(NotResumable, match="can be written to by other users"):
            recall(tmp_path / "s")
    else:
        assert recall(tmp_path / "s")[1]["metric"] == "loss"


def test_no_experiment_and_a_broken_file(tmp_path: Path, capsys) -> None:
    assert main(["resume", str(tmp_path / "nothing")]) == 1
    assert "there is no experiment in" in capsys.readouterr().err
    config = {"x": tune.uniform(0, 1)}
    tune.run(in_main, config, metric="loss", mode="min", name="s", storage_path=tmp_path, verbose=0, executor="inline")
    (tmp_path / "s" / "call.pkl").write_bytes(b"nonsense")
    assert main(["resume", str(tmp_path / "s")]) == 1
    assert "cannot be made here" in capsys.readouterr().err
