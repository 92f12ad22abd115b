"""The process that ends workers which cannot notice that their driver is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from tuneflow.pids import is_running

DRIVER = """
    import ctypes, os, subprocess, sys, threading
    from pathlib import Path
    import tuneflow as tune

    def train(config):  # in native code that holds the interpreter's lock: no thread of Python's gets a turn
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
        Path("pids.draft").write_text(f"{os.getpid()} {child.pid} {os.getppid()}")
        Path("pids.draft").rename("pids")
        ctypes.PyDLL(None).sleep(120)

    tune.run(train, {}, metric="loss", mode="min", num_samples=1, name="e", storage_path="results", verbose=0)
"""


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return condition()


def children(parent: int, module: str) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, of, command in rows if int(of) == parent and module in command]


def test_a_worker_in_native_code_ends_with_its_driver(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(textwrap.dedent(DRIVER))
    driver = subprocess.Popen([sys.executable, str(script)])
    pids = [driver.pid]
    try:
        assert eventually(Path("pids").exists)
        pids = [int(pid) for pid in Path("pids").read_text().split()]
        assert pids[-1] == driver.pid
        (sentinel,) = children(driver.pid, "tuneflow.runner.sentinel")
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        assert eventually(lambda: not any(map(is_running, [*pids, sentinel])))
    finally:
        for pid in pids:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        driver.wait()


def test_a_driver_that_ends_takes_it_along(tmp_path: Path) -> None:
    code = """
        import subprocess, sys
        import tuneflow as tune

        def train(config):
            tune.report(loss=1.0)

        tune.run(train, {}, metric="loss", mode="min", num_samples=1, name="e", storage_path="results", verbose=0)
        tune.shutdown_workers()
        listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True).stdout
        print(sum("tuneflow.runner.sentinel %d" % __import__("os").getpid() in line for line in listed.splitlines()))
        tune.run(train, {}, metric="loss", mode="min", num_samples=1, name="f", storage_path="results", verbose=0)
    """
    script = tmp_path / "main.py"
    script.write_text(textwrap.dedent(code))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as driver:
        out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert out.split() == ["0"]
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert f"tuneflow.runner.sentinel {driver.pid}" not in listed
