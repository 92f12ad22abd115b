"""The command line: what it accepts, prints and returns."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

import tuneflow as tune
from tuneflow.cli import demo
from tuneflow.cli.main import main


def test_version(capsys):
    assert main(["version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"tuneflow {tune.__version__}"
    assert any(line.startswith("optuna 5.") for line in lines)


@pytest.mark.parametrize(
    "arguments",
    ["", "no-such-command", "demo --trials 0", "demo --epochs x", "demo --seed -1", "report"],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert "usage: tuneflow" in capsys.readouterr().err


def test_an_error_is_one_line_and_status_1(capsys):
    assert main(["report", "no-such-folder"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tuneflow: ")
    assert "no-such-folder" in err
    assert "Traceback" not in err


def test_ctrl_c_is_status_130(monkeypatch):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("tuneflow.cli.main.run_demo", interrupted)
    assert main(["demo"]) == 130


def test_demo_passes_its_options_on(monkeypatch):
    given = []
    monkeypatch.setattr("tuneflow.cli.main.run_demo", given.append)
    main(["demo"])
    main(["demo", "--trials", "3", "--epochs", "2", "--seed", "7", "--workers", "1", "--folder", "here"])
    assert given == [demo.DemoSettings(), demo.DemoSettings(3, 2, 7, 1, "here")]


@pytest.mark.parametrize("missing", ["torch", "sklearn"])
def test_demo_without_its_libraries_says_what_to_install(missing, monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == missing else find_spec(name))
    assert main(["demo"]) == 1
    assert "pip install 'tuneflow[demo]'" in capsys.readouterr().err


def test_report_writes_a_page(tmp_path, capsys):
    def train(config):
        return {"loss": (config["x"] - 1) ** 2}

    space = {"x": tune.grid_search([0, 1, 2])}
    folder = tune.run(
        train, space, metric="loss", mode="min", storage_path=tmp_path, name="e", executor="inline", verbose=0
    ).folder
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert main(["report", str(folder), "--output", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").exists()


def test_the_command_line_starts_without_heavy_libraries():
    heavy = {"torch", "sklearn", "optuna", "pandas"}
    code = f"import sys, tuneflow.cli.main; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_package_can_be_run():
    command = [sys.executable, "-m", "tuneflow", "version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("tuneflow ")
