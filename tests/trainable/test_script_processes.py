"""Nothing of a program outlives its trial, whoever is killed; and nobody else is heard on its socket."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import psutil
import pytest

import tuneflow as tune
from tuneflow.errors import TrialsFailed, TrialTimeout
from tuneflow.trainable.program import Program
from tuneflow.trainable.relay import Relay

Write = Callable[[str, str], Path]
Gone = Callable[[Iterable[int]], bool]
Soon = Callable[[Callable[[], object]], bool]

# Leaves its own process, a child in its group, one in a session of its own as torchrun makes them, and an orphan in a
# session of its own that ignores SIGTERM; then reports, over and over.
FAMILY = """\
import json, os, signal, subprocess, sys, time
import tuneflow
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-S", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"]
child = subprocess.Popen(sleep)
apart = subprocess.Popen(sleep, start_new_session=True)
orphan = subprocess.run(["sh", "-c", 'setsid "$0" "$@" >/dev/null 2>&1 & echo $!', *sleep], capture_output=True)
pids = {"script": os.getpid(), "child": child.pid, "apart": apart.pid, "orphan": int(orphan.stdout)}
json.dump({**pids, "keeper": os.getppid()}, open("pids.part", "w"))
os.rename("pids.part", "pids.json")
while True:
    tuneflow.report(loss=1)
    time.sleep(0.05)
"""

DRIVER = """\
import sys, tuneflow as tune
if __name__ == "__main__":
    tune.run(
        tune.script("family.py"), {}, metric="loss", mode="min", storage_path="results", name="e", verbose=0,
        executor=sys.argv[1], max_concurrent_trials=1, raise_on_failed_trial=False,
        trial_timeout_s=float(sys.argv[2]),
    )
"""


def pids() -> dict[str, int]:
    return dict(json.loads(Path("pids.json").read_text()))


@pytest.fixture
def start(write: Write, soon: Soon) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a driver and waits until its trial's program has started its family."""

    def make(executor: str = "processes", limit_s: float = 60) -> subprocess.Popen[bytes]:
        write("family.py", FAMILY)
        write("driver.py", DRIVER)
        driver = subprocess.Popen([sys.executable, "driver.py", executor, str(limit_s)])
        assert soon(Path("pids.json").exists)
        return driver

    return make


def worker_of(family: dict[str, int]) -> int:
    return int(psutil.Process(family["keeper"]).ppid())


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_the_driver_is_killed(start: Any, gone: Gone, executor: str) -> None:
    driver = start(executor)
    family = pids()
    assert worker_of(family) == driver.pid or executor == "processes"
    driver.kill()
    driver.wait()
    assert gone(family.values())


def test_the_worker_is_killed(start: Any, gone: Gone) -> None:
    driver = start()
    family = pids()
    os.killpg(worker_of(family), signal.SIGKILL)
    assert gone(family.values())
    assert driver.wait(20) == 0
    assert "SIGKILL" in Path("results/e/00000/error.txt").read_text()


def test_a_trial_that_takes_too_long(write: Write, gone: Gone) -> None:
    write("family.py", FAMILY)
    with pytest.raises(TrialsFailed) as caught:
        tune.run(
            tune.script("family.py"), {}, metric="loss", mode="min", storage_path="results", verbose=0,
            max_concurrent_trials=1, trial_timeout_s=3.0,
        )  # fmt: skip
    assert type(caught.value.errors[0]) is TrialTimeout
    assert gone(pids().values())
    (told,) = Path("results").glob("*/00000/error.txt")
    assert "worker.py" not in told.read_text(), "what hung was the program"


def test_the_driver_is_told_to_end(start: Any, gone: Gone) -> None:
    driver = start("inline")
    family = pids()
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(20) != 0
    assert not psutil.pid_exists(family["script"]), "it waits for its programs"
    assert gone(family.values())


def test_even_the_keeper_may_be_killed(start: Any, soon: Soon) -> None:
    driver = start()
    family = pids()
    os.kill(family["keeper"], signal.SIGKILL)
    assert driver.wait(20) == 0
    assert "nobody knows how" in Path("results/e/00000/error.txt").read_text()
    assert not psutil.pid_exists(family["script"])
    for name in ("child", "apart", "orphan"):  # nobody knows them any more: that is what the keeper is for
        os.kill(family[name], signal.SIGKILL)


def test_what_the_program_leaves_behind_ends_with_its_trial(write: Write, gone: Gone) -> None:
    write("family.py", FAMILY.replace("while True:", "for _ in range(2):"))
    analysis = tune.run(
        tune.script("family.py"), {}, metric="loss", mode="min", storage_path="results", verbose=0, executor="inline"
    )
    assert len(analysis.trials[0].results) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids().values()), "before the trial's slot is free"


def test_a_file_that_is_held_open_does_not_hold_the_trial(write: Write) -> None:
    write("daemon.sh", "#!/bin/sh\nsetsid sleep 60 &\necho loss=1\n")
    start_s = time.monotonic()
    tune.run(tune.script("./daemon.sh"), {}, metric="loss", mode="min", verbose=0, executor="inline")
    assert time.monotonic() - start_s < 10


# The program by itself


def run_program(argv: list[str], **options: Any) -> tuple[int | None, str]:
    ended: queue.Queue[int | None] = queue.Queue()
    text: list[str] = []
    program = Program(argv, os.environ, on_text=lambda stream, piece: text.append(piece), on_end=ended.put, **options)
    try:
        return ended.get(timeout=20), "".join(text)
    finally:
        program.close()


def test_a_program_finds_signals_as_a_shell_leaves_them() -> None:
    show = "import signal; print([signal.getsignal(n) for n in (2, 13, 15)] == [signal.default_int_handler, 1, 0])"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a worker does
    try:
        assert run_program([sys.executable, "-c", show]) == (0, "True\n")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_program_leads_a_group_and_has_no_input() -> None:
    code, text = run_program(["sh", "-c", "read x; ps -o pid=,pgid= -p $$"])
    pid, group = text.split()
    assert (code, pid) == (0, group)


def test_all_output_is_handed_over() -> None:
    code, text = run_program([sys.executable, "-c", "print('ä' * 300000, end=''); import sys; sys.exit(3)"])
    assert (code, text) == (3, "ä" * 300000)
    assert run_program(["sh", "-c", r"printf 'a\377b\303'; kill -9 $$"]) == (-9, "a\ufffdb\ufffd")


def test_programs_leave_no_descriptors_and_threads(soon: Soon) -> None:
    run_program(["true"])
    process = psutil.Process()
    before = process.num_fds(), process.num_threads()
    for _ in range(3):
        run_program(["true"])
        with pytest.raises(FileNotFoundError, match="no_such_program"):
            run_program(["no_such_program"])
        relay = Relay(lambda request: None)
        relay.close()
    assert soon(lambda: process.num_fds() <= before[0] and process.num_threads() <= before[1])


# The socket


@pytest.fixture
def relay() -> Any:
    inbox: queue.Queue[Any] = queue.Queue()
    made = Relay(inbox.put)
    yield made, inbox
    made.close()


def test_the_socket_is_on_loopback_only(relay: Any) -> None:
    made, _ = relay
    assert made.address.startswith("127.0.0.1:")
    port = int(made.address.split(":")[1])
    listening = [c.laddr for c in psutil.Process().net_connections("inet") if c.laddr.port == port]
    assert {place.ip for place in listening} == {"127.0.0.1"}
    assert len(made.secret) == 64


def test_who_does_not_know_the_secret_is_not_heard(relay: Any) -> None:
    made, inbox = relay
    place = ("127.0.0.1", int(made.address.split(":")[1]))
    with pytest.raises(AuthenticationError):
        Client(place, authkey=b"guess")
    with socket.create_connection(place) as stranger:
        stranger.sendall(b"\xff" * 4096)
    with socket.create_connection(place) as mute, Client(place, authkey=made.secret.encode()) as client:
        client.send_bytes(b'{"kind": "hello"}')
        assert inbox.get(timeout=5).kind == "hello", "a mute stranger holds nobody up"
        client.send_bytes(b"no JSON at all")
        assert inbox.get(timeout=5).kind == "gone"
        assert mute.fileno() >= 0
    assert inbox.empty()


def test_what_a_program_sends_is_never_unpickled(relay: Any) -> None:
    made, inbox = relay

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.write_text, (Path("pwned"), "")

    place = ("127.0.0.1", int(made.address.split(":")[1]))
    with Client(place, authkey=made.secret.encode()) as client:
        client.send(Bomb())
        assert inbox.get(timeout=5).kind == "gone"
    assert not Path("pwned").exists()


# Several processes of one program

RANKS = """\
import os, subprocess, sys, time
import tuneflow
if "RANK" not in os.environ:
    ranks = [
        subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "RANK": str(rank)}, start_new_session=True)
        for rank in range(3)
    ]
    sys.exit(max(process.wait() for process in ranks))
rank = int(os.environ["RANK"])
n = 0
try:
    if rank == int(sys.argv[1]):
        time.sleep(0.3)
    for n in range(1, 6):
        tuneflow.report({"loss": 10 * rank + n}, checkpoint=lambda to: open(to / f"of{rank}", "w").close())
        assert rank != 2 or n < 9
finally:
    open(f"left{rank}", "w").write(f"{tuneflow.get_trial().number} {n}")
"""


@pytest.mark.parametrize("late", [0, 1])
def test_rank_0_reports_and_all_ranks_get_its_decision(write: Write, late: int) -> None:
    write("ranks.py", RANKS)
    analysis = tune.run(
        tune.script("ranks.py", str(late)), {}, metric="loss", mode="min", storage_path="results", verbose=0,
        executor="inline", stop={"training_iteration": 3}, checkpoint_freq=1,
    )  # fmt: skip
    assert [result["loss"] for result in analysis.trials[0].results] == [1, 2, 3]
    assert [Path(f"left{rank}").read_text() for rank in range(3)] == ["0 3"] * 3
    assert [path.name for path in Path(analysis.trials[0].checkpoint.path).glob("of*")] == ["of0"]


def test_a_rank_is_not_held_up_by_a_rank_0_that_is_done(write: Write) -> None:
    write("ranks.py", RANKS.replace("range(1, 6)", "range(1, 6 if rank else 3)"))
    analysis = tune.run(
        tune.script("ranks.py", "1"), {}, metric="loss", mode="min", storage_path="results", verbose=0,
        executor="inline",
    )  # fmt: skip
    assert [result["loss"] for result in analysis.trials[0].results] == [1, 2]
    assert [Path(f"left{rank}").read_text() for rank in range(3)] == ["0 2", "0 5", "0 5"]


def test_programs_one_after_another_count_on(write: Write) -> None:
    write("one.py", "import tuneflow\nfor _ in range(2):\n    tuneflow.report(loss=1)")
    line = tune.script(["sh", "-c", '"$0" one.py && "$0" one.py', sys.executable])
    analysis = tune.run(line, {}, metric="loss", mode="min", storage_path="results", verbose=0, executor="inline")
    assert [result["training_iteration"] for result in analysis.trials[0].results] == [1, 2, 3, 4]


def test_one_process_reports_at_a_time(write: Write) -> None:
    text = """\
        import os, tuneflow
        tuneflow.report(loss=1)
        if os.fork() == 0:
            assert tuneflow.get_trial().number == 0
            try:
                tuneflow.report(loss=2)
            except tuneflow.errors.UsageError as error:
                open("log", "w").write(str(error))
            os._exit(0)
        os.wait()
        tuneflow.report(loss=3)
        """
    write("forks.py", textwrap.dedent(text))
    analysis = tune.run(
        tune.script("forks.py"), {}, metric="loss", mode="min", storage_path="results", verbose=0, executor="inline"
    )
    assert [result["loss"] for result in analysis.trials[0].results] == [1, 3]
    assert "two processes of forks report at the same time" in Path("log").read_text()
