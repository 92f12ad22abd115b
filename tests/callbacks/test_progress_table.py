"""What is shown, at which ``verbose``, and on what kind of stream."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.callbacks import ProgressTable
from tuneflow.clock import ManualClock
from tuneflow.errors import InvalidArgument

SPACE = {"x": tune.uniform(0, 1), "net": {"width": tune.choice([16])}, "api_key": "sesame", "wandb": {"project": "p"}}


def objective(trial: Any) -> float:
    for step in (1, 2):
        trial.report({"loss": 1 / (trial.number + step), "val": {"acc": 0.5}}, step)
    if trial.number == 1:
        raise ValueError("boom")
    return 1 / (trial.number + 2)


def shown(verbose: int, **options: Any) -> str:
    stream = io.StringIO()
    table = ProgressTable("loss", "min", n_trials=3, verbose=verbose, stream=stream, **options)
    study = tune.create_study(SPACE, metric="loss", mode="min", seed=0)
    study.optimize(objective, n_trials=3, callbacks=[table], catch=ValueError)
    return stream.getvalue()


@pytest.mark.parametrize("verbose", [-1, 4, None, "2"])
def test_unknown_levels_are_refused(verbose: Any) -> None:
    with pytest.raises(InvalidArgument, match="verbose"):
        ProgressTable(verbose=verbose)


def test_level_0_is_silent() -> None:
    assert shown(0) == ""


def test_level_1_is_a_line_per_ended_trial_and_a_summary() -> None:
    first, failure, second, third, summary = shown(1, folder="/results/exp").splitlines()
    assert re.fullmatch(
        r"Trial 00000 complete: loss=0\.5 after 2 iteration\(s\), \d+\.\d s; x=0\.\d+, net/width=16, "
        r"api_key=\*{8} \(best so far\)",
        first,
    )
    assert failure == "Trial 00001, attempt 1: boom"
    assert second.startswith("Trial 00001 failed: loss=0.333333 after 2 iteration(s)")
    assert third.startswith("Trial 00002 complete: loss=0.25")
    assert re.match(r"3 trial\(s\) in .* s: 2 complete, 1 failed\. Best: trial 00002 with loss=0\.25; x=", summary)
    assert summary.endswith("Results: /results/exp")


def test_level_2_is_tunes_status_block() -> None:
    text = shown(
        2, folder="/results/exp", resources={"cpu": 1, "gpu": 0.5}, total={"cpu": 12, "gpu": 1}, name="MyTrainable"
    )
    block = text[text.index("== Status ==") :].splitlines()
    assert re.fullmatch(r"Memory usage on this node: \d+\.\d/\d+\.\d GiB", block[1])
    assert block[2:6] == [
        "Using FIFO scheduling algorithm.",
        "Resources requested: 0/12 CPUs, 0/1 GPUs",
        "Result logdir: /results/exp",
        "Number of trials: 3 (1 ERROR, 2 TERMINATED)",
    ]
    table = [line for line in block if line[0] in "+|"]
    assert len({len(line) for line in table}) == 1
    assert [cell.strip() for cell in table[1].split("|")[1:-1]] == [
        "Trial name", "status", "loc", "x", "net/width", "api_key", "loss", "total time (s)", "iter",
    ]  # fmt: skip
    assert [row.split()[1] for row in table[3:-1]] == ["MyTrainable_00002", "MyTrainable_00001", "MyTrainable_00000"]


def test_level_2_while_running_names_the_place() -> None:
    stream, clock = io.StringIO(), ManualClock()
    table = ProgressTable(
        "loss", "min", n_trials=7, scheduler="ASHA", resources={"cpu": 2}, total={"cpu": 8}, stream=stream, clock=clock
    )
    study = tune.create_study(SPACE, metric="loss", mode="min", seed=0)
    study.add_callback(table)
    trial = study.ask()
    clock.advance(5.0)
    trial.report(
        {"loss": 0.1289, "pid": 31115, "hostname": "node7", "time_total_s": 7.54952, "training_iteration": 15}, 15
    )
    text = stream.getvalue()
    assert "Using ASHA scheduling algorithm.\nResources requested: 2/8 CPUs, 0/0 GPUs\n" in text
    assert "Number of trials: 1/7 (1 RUNNING)" in text
    (row,) = [line for line in text.splitlines() if "trial_00000" in line and line.startswith("|")][-1:]
    assert [cell.strip() for cell in row.split("|")[1:-1]][:3] == ["trial_00000", "RUNNING", "node7:31115"]
    assert [cell.strip() for cell in row.split("|")[1:-1]][-3:] == ["0.1289", "7.54952", "15"]


def test_level_3_shows_every_result() -> None:
    text = shown(3)
    assert text.count("Result for trial_00000:\n") == 2
    assert "  val/acc: 0.5\n" in text


@pytest.mark.parametrize("verbose", [1, 2, 3])
def test_plain_text_has_no_control_characters_and_no_secrets(verbose: int) -> None:
    stream = io.StringIO()
    table = ProgressTable("loss", "min", verbose=verbose, stream=stream)
    study = tune.create_study({"text": "a\x1b[31m\tb\rc\n", "token": "sesame"}, metric="loss", mode="min", seed=0)
    study.optimize(lambda trial: trial.report({"loss": 0.5, "s": "\x07"}, 1) and 0.5, n_trials=2, callbacks=[table])
    text = stream.getvalue()
    assert text
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "sesame" not in text


def test_no_more_than_twenty_rows() -> None:
    stream = io.StringIO()
    study = tune.create_study(SPACE, metric="loss", mode="min", seed=0)
    study.optimize(lambda trial: 0.5, n_trials=25, callbacks=[ProgressTable("loss", "min", stream=stream)])
    block = stream.getvalue().split("== Status ==")[-1]
    assert sum(line.startswith("| trial_") for line in block.splitlines()) == 20
    assert "... 5 more trials not shown" in block


def test_many_parameters_do_not_widen_the_table_for_ever() -> None:
    stream = io.StringIO()
    space = {f"p{index:02d}": tune.uniform(0, 1) for index in range(40)}
    study = tune.create_study(space, metric="loss", mode="min", seed=0, sampler="random")
    study.optimize(lambda trial: 0.5, n_trials=2, callbacks=[ProgressTable("loss", "min", stream=stream)])
    header = next(line for line in stream.getvalue().splitlines() if line.startswith("| Trial name"))
    assert "p11" in header
    assert "p12" not in header


def test_standard_output_is_found_when_it_is_written_to(capsys: pytest.CaptureFixture[str]) -> None:
    table = ProgressTable("value", "min", verbose=1)
    study = tune.create_study({"x": 1}, seed=0)
    study.optimize(lambda trial: 0.5, n_trials=1, callbacks=[table])
    assert capsys.readouterr().out.startswith("Trial 00000 complete")


def test_a_stream_that_is_gone_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    stream.close()
    study = tune.create_study({"x": 1}, seed=0)
    study.optimize(lambda trial: 0.5, n_trials=2, callbacks=[ProgressTable(verbose=3, stream=stream)])
    assert len(study.trials) == 2
    assert caplog.records == []


def test_an_ascii_stream_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    study = tune.create_study({"name": "Grüße"}, seed=0)
    study.optimize(lambda trial: 0.5, n_trials=1, callbacks=[ProgressTable(verbose=1, stream=stream)])
    assert b"name=Gr\\xfc\\xdfe" in raw.getvalue()


# On a terminal


class Terminal:
    """A pseudo terminal whose output can be read."""

    def __init__(self) -> None:
        self.ours, theirs = os.openpty()
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")

    def text(self) -> str:
        os.set_blocking(self.ours, False)
        parts = []
        while True:
            try:
                parts.append(os.read(self.ours, 65536))
            except OSError:
                return b"".join(parts).decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self.ours)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    yield terminal
    terminal.close()


HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_a_terminal_gets_a_live_table(terminal: Terminal) -> None:
    table = ProgressTable("loss", "min", n_trials=3, stream=terminal.stream)
    study = tune.create_study(SPACE, metric="loss", mode="min", seed=0)
    study.optimize(objective, n_trials=3, callbacks=[table], catch=ValueError)
    text = terminal.text()
    assert text.count(HIDE) == 1
    assert text.rstrip().endswith(SHOW)
    final = text[text.rindex("Number of trials") :]
    assert "3 (1 ERROR, 2 TERMINATED)" in final
    assert "trial_00002" in final
    assert "== Status ==" not in text
    assert "sesame" not in text


def test_errors_appear_above_the_live_table(terminal: Terminal) -> None:
    study = tune.create_study({"x": 1}, metric="loss", mode="min", seed=0)
    table = ProgressTable("loss", "min", stream=terminal.stream)
    study.optimize(objective, n_trials=3, callbacks=[table], catch=ValueError)
    text = terminal.text()
    assert text.count("Trial 00001, attempt 1: boom") == 1
    assert text.index("attempt 1: boom") < text.rindex("Number of trials")


def test_a_program_without_a_console_runs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    study = tune.create_study({"x": 1}, seed=0)
    study.optimize(lambda trial: 0.5, n_trials=1, callbacks=[ProgressTable(verbose=3)])
    assert caplog.records == []


def test_a_live_table_draws_at_most_four_times_a_second(terminal: Terminal) -> None:
    clock = ManualClock()
    table = ProgressTable("loss", "min", stream=terminal.stream, clock=clock)
    study = tune.create_study({"x": 1}, metric="loss", mode="min", seed=0)
    study.add_callback(table)
    study.listeners.emit("on_study_start", study)
    before = len(terminal.text())
    for step in range(1, 100):
        study.ask().report({"loss": 0.5}, step)
    assert len(terminal.text()) == 0, "nothing is due"
    clock.advance(0.25)
    study.ask()
    assert terminal.text()
    table.on_study_end(study)
    assert before > 0


def test_the_terminal_is_given_back_when_the_run_is_interrupted(terminal: Terminal) -> None:
    def interrupted(trial: Any) -> float:
        raise KeyboardInterrupt

    stdout, stderr = sys.stdout, sys.stderr
    study = tune.create_study({"x": 1}, seed=0)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(interrupted, n_trials=1, callbacks=[ProgressTable(stream=terminal.stream)])
    assert SHOW in terminal.text()
    assert (sys.stdout, sys.stderr) == (stdout, stderr)


def test_the_terminal_is_given_back_when_drawing_fails(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    table = ProgressTable("loss", "min", stream=terminal.stream, clock=clock)
    study = tune.create_study({"x": 1}, metric="loss", mode="min", seed=0)
    study.add_callback(table)
    study.listeners.emit("on_study_start", study)
    clock.advance(1.0)

    def fail(progress: Any) -> Any:
        raise RuntimeError("cannot draw")

    monkeypatch.setattr("tuneflow.callbacks.live_view.summary_lines", fail)
    study.ask()
    assert SHOW in terminal.text()
    monkeypatch.undo()
    table.on_study_end(study)


def test_prints_appear_above_the_table(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    study = tune.create_study({"x": 1}, seed=0)
    study.optimize(lambda trial: print("hello from the trial") or 0.5, n_trials=1, callbacks=[ProgressTable()])
    text = terminal.text()
    assert text.index("hello from the trial") < text.rindex("Number of trials")
    assert sys.stdout is terminal.stream


def test_level_1_on_a_terminal_has_no_rows(terminal: Terminal) -> None:
    study = tune.create_study({"x": 1}, seed=0)
    study.optimize(lambda trial: 0.5, n_trials=1, callbacks=[ProgressTable(verbose=1, stream=terminal.stream)])
    text = terminal.text()
    assert "Number of trials: 1 (1 TERMINATED)" in text
    assert "Trial name" not in text


def test_a_narrow_terminal_keeps_names_and_iterations_readable(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    space = {f"parameter_{index}": tune.uniform(0, 1) for index in range(8)}
    study = tune.create_study(space, metric="loss", mode="min", seed=0, sampler="random")
    study.optimize(
        lambda trial: trial.report({"loss": 0.5}, 1) and 0.5,
        n_trials=1,
        callbacks=[ProgressTable("loss", "min", stream=terminal.stream)],
    )
    final = terminal.text()
    assert "trial_00000" in final
    assert "iter" in final
    assert "parameter_7 " not in final


def test_a_dumb_terminal_gets_plain_text(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    study = tune.create_study({"x": 1}, seed=0)
    study.optimize(lambda trial: 0.5, n_trials=1, callbacks=[ProgressTable(verbose=1, stream=terminal.stream)])
    assert "\x1b" not in terminal.text()
