"""What trials print, and how they end: each told apart, with its last words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tuneflow as tune
from tuneflow.errors import OutOfMemory, TrialFailed, TrialTimeout, WorkerLost
from tuneflow.pids import is_running
from tuneflow.runner.exits import end_all


def run(trainable, tmp_path, **given):
    given = {"metric": "loss", "mode": "min", "storage_path": tmp_path, "name": "out", "verbose": 0, **given}
    return tune.run(trainable, **given)


def talkative(config):
    import subprocess
    import sys

    print(f"trial {config['i']} says hello")
    os.write(1, b"from the file descriptor\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    print("to stderr", file=sys.stderr)
    return float(config["i"])


def silent(config):
    return float(config["i"])


def test_each_trial_keeps_what_it_and_its_children_print(tmp_path, capfd) -> None:
    analysis = run(talkative, tmp_path, config={"i": tune.grid_search([0, 1, 2])})
    for trial in analysis.trials:
        folder = Path(trial.logdir)
        out = (folder / "stdout.txt").read_text().splitlines()
        assert out == [f"trial {trial.config['i']} says hello", "from the file descriptor", "from a child"]
        assert (folder / "stderr.txt").read_text() == "to stderr\n"
    shown = capfd.readouterr()
    assert "hello" not in shown.out
    assert [path.name for path in (tmp_path / "out").glob(".output*")] == []


def test_a_silent_trial_makes_no_files(tmp_path) -> None:
    analysis = run(silent, tmp_path, config={"i": tune.grid_search([0, 1])})
    for trial in analysis.trials:
        assert not list(Path(trial.logdir).glob("std*"))
    assert [path.name for path in (tmp_path / "out").glob(".output*")] == []


def test_what_trials_print_can_be_shown_too(tmp_path, capfd) -> None:
    tune.shutdown_workers()  # a worker shows things where it was started
    run(talkative, tmp_path, config={"i": tune.grid_search([0, 1])}, echo_output=True)
    tune.shutdown_workers()
    shown = capfd.readouterr()
    assert sorted(line for line in shown.out.splitlines() if "hello" in line) == [
        "[00000] trial 0 says hello",
        "[00001] trial 1 says hello",
    ]
    assert "[00001] to stderr" in shown.err


def endless(config):
    print("about to wait", flush=True)
    while True:
        time.sleep(0.01)


def test_a_trial_that_hangs_says_where(tmp_path) -> None:
    with pytest.raises(tune.errors.TrialsFailed):
        run(endless, tmp_path, trial_timeout_s=2.0)
    error_text = (tmp_path / "out" / "00000" / "error.txt").read_text()
    assert "about to wait" in error_text
    assert "in endless" in error_text  # where it hung


def stubborn(config):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if config["i"] == 0:
        while True:
            time.sleep(0.05)
    for step in range(30):
        time.sleep(0.1)
        tune.report(loss=step)


def test_a_trial_that_will_not_end_holds_nobody_up(tmp_path, monkeypatch) -> None:
    from tuneflow.runner import processes

    monkeypatch.setattr(processes, "_KILL_GRACE_S", 3.0)

    class Moments(tune.callbacks.Callback):
        def __init__(self):
            self.at = []

        def on_trial_report(self, trial, result):
            self.at.append(time.monotonic())

    moments = Moments()
    analysis = run(
        stubborn,
        tmp_path,
        config={"i": tune.grid_search([0, 1])},
        trial_timeout_s=5.0,
        stop={"training_iteration": 25},
        callbacks=[moments],
        raise_on_failed_trial=False,
    )
    assert isinstance(analysis.trials[0].error, TrialTimeout)
    assert analysis.trials[1].status == "TERMINATED"
    gaps = [later - earlier for earlier, later in zip(moments.at, moments.at[1:], strict=False)]
    assert max(gaps) < 2.5  # the grace time is 3 s


def greedy(config):
    held = []
    while True:
        held.append(bytearray(20_000_000))
        time.sleep(0.01)


def test_a_trial_that_takes_too_much_memory_is_ended(tmp_path) -> None:
    analysis = run(greedy, tmp_path, resources_per_trial={"cpu": 1, "memory_bytes": 400e6}, raise_on_failed_trial=False)
    error = analysis.trials[0].error
    assert isinstance(error, OutOfMemory)
    assert "more than memory_bytes=0.373 GiB" in str(error)


def ends_badly(config):
    import ctypes

    print(f"last words of {config['how']}", flush=True)
    if config["how"] == "raise":
        raise ValueError("broken")
    if config["how"] == "segfault":
        ctypes.string_at(0)
    if config["how"] == "exit":
        os._exit(3)
    if config["how"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if config["how"] == "hang":
        time.sleep(1000)
    return 1.0


def test_every_way_to_end_is_told_apart_with_its_last_words(tmp_path) -> None:
    ways = {
        "raise": (TrialFailed, "broken"),
        "segfault": (WorkerLost, "SIGSEGV"),
        "exit": (WorkerLost, "exit code 3"),
        "killed": (WorkerLost, "SIGKILL"),
        "hang": (TrialTimeout, "ran past 4"),
        "fine": (type(None), ""),
    }
    analysis = run(
        ends_badly,
        tmp_path,
        config={"how": tune.grid_search(list(ways))},
        trial_timeout_s=4.0,
        raise_on_failed_trial=False,
    )
    for trial in analysis.trials:
        kind, text = ways[trial.config["how"]]
        assert type(trial.error) is kind
        if trial.error is not None:
            assert text in str(trial.error)
            assert f"last words of {trial.config['how']}" in trial.error.output
            assert f"last words of {trial.config['how']}" in (Path(trial.logdir) / "error.txt").read_text()
    segfault = next(trial for trial in analysis.trials if trial.config["how"] == "segfault")
    assert "in ends_badly" in segfault.error.output  # the stack of the crash


def test_a_retry_goes_on_in_the_same_files(tmp_path) -> None:
    def fails_once(config):
        print("attempt", tune.get_trial().attempt)
        if tune.get_trial().attempt == 1:
            os._exit(1)
        return 1.0

    analysis = run(fails_once, tmp_path, max_failures=1)
    assert (Path(analysis.trials[0].logdir) / "stdout.txt").read_text() == "attempt 1\nattempt 2\n"


def leaves_a_child(config):
    import subprocess

    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    Path(config["folder"], "pid").write_text(str(child.pid))
    time.sleep(300)


def test_what_a_trial_has_started_ends_with_it(tmp_path) -> None:
    run(leaves_a_child, tmp_path, config={"folder": str(tmp_path)}, trial_timeout_s=2.0, raise_on_failed_trial=False)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.02)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("it lives on")


CHILDREN = """
import os, subprocess, sys, time
import tuneflow as tune

def train(config):
    pids = [subprocess.Popen(["sleep", "600"], start_new_session=own).pid for own in (False, True)]
    with open("pids.draft", "w") as file:
        print(os.getpid(), *pids, file=file)
    os.rename("pids.draft", "pids")
    while True:
        tune.report(loss=1.0)
        time.sleep(0.05)

tune.run(train, {}, metric="loss", mode="min", storage_path="results", name="e", verbose=0)
"""


def test_what_trials_have_started_ends_with_the_driver(tmp_path) -> None:
    (tmp_path / "driver.py").write_text(CHILDREN)
    with subprocess.Popen([sys.executable, "driver.py"], cwd=tmp_path) as driver:
        deadline_s = time.monotonic() + 20
        while not (tmp_path / "pids").exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        driver.kill()
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    deadline_s = time.monotonic() + 5
    while any(map(is_running, pids)) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    left = [pid for pid in pids if is_running(pid)]
    end_all(left)
    assert not left


REPORTS = """
import tuneflow as tune

code = "import time, tuneflow\\nwhile True: tuneflow.report(loss=1); time.sleep(0.03)"
tune.run(tune.script(["python", "-c", code]), metric="loss", mode="min", storage_path="results", name="e", verbose=0)
"""


def test_a_program_does_not_hear_of_the_drivers_death_as_its_own_error(tmp_path) -> None:
    (tmp_path / "driver.py").write_text(REPORTS)
    folder = tmp_path / "results/e"
    with subprocess.Popen([sys.executable, "driver.py"], cwd=tmp_path) as driver:
        deadline_s = time.monotonic() + 20
        while not (folder / "00000/result.json").exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        time.sleep(0.3)
        driver.kill()
    time.sleep(1.5)  # until it has ended
    printed = [path for path in folder.rglob("*") if "stderr" in path.name and path.is_file()]
    assert "".join(path.read_text() for path in printed) == ""


NOTICED = """
import signal, sys, time
def leave(*_):
    time.sleep(0.3)
    open("noticed", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("loss=1", flush=True)
time.sleep(600)
"""


def test_a_program_that_is_out_of_time_is_given_notice(tmp_path) -> None:
    program = tune.script(["python", "-c", NOTICED], cwd=tmp_path)
    analysis = run(program, tmp_path, trial_timeout_s=1.0, raise_on_failed_trial=False)
    assert isinstance(analysis.trials[0].error, TrialTimeout)
    assert (tmp_path / "noticed").exists()  # when the run is over: nothing of it goes on after that


def saves_late(config):
    import subprocess
    import sys

    code = (
        "import signal, sys, time\n"
        "def leave(*_):\n    time.sleep(0.3)\n    open(sys.argv[1], 'w').close()\n    sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave)\nprint(flush=True)\ntime.sleep(600)\n"
    )
    for name, own in (("a", False), ("b", True)):
        command = [sys.executable, "-c", code, f"{config['folder']}/{name}"]
        subprocess.Popen(command, start_new_session=own, stdout=subprocess.PIPE).stdout.readline()
    time.sleep(600)


def test_children_of_a_trial_that_is_out_of_time_have_time_to_leave(tmp_path) -> None:
    run(saves_late, tmp_path, config={"folder": str(tmp_path)}, trial_timeout_s=1.5, raise_on_failed_trial=False)
    assert (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()


def test_output_that_nobody_claims_is_kept_where_it_is_seen(tmp_path) -> None:
    run(silent, tmp_path, config={"i": 0})
    folder = tmp_path / "out"
    (folder / ".output-99999-stdout").write_text("hello")
    (folder / ".output-99999-stderr").write_text("")
    run(silent, tmp_path, config={"i": 0}, resume=True)
    assert (folder / "unclaimed-output-99999-stdout.txt").read_text() == "hello"
    assert not list(folder.glob(".output*"))
