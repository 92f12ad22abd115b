"""Handing work to a thread: in order, all of it, and never waiting."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow.callbacks.outbox import Outbox


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_everything_comes_through_in_order(pauses: list[bool], capacity: int) -> None:
    got: list[int] = []
    outbox = Outbox(got.append, name="test", capacity=capacity)
    for number, is_paused in enumerate(pauses):
        outbox.put(number)
        if is_paused:
            outbox.drain(patience_s=10)
    assert outbox.close(patience_s=10) == 0
    assert got == list(range(len(pauses)))
    assert outbox.n_lost == 0


def test_a_receiver_that_hangs_costs_neither_time_nor_items() -> None:
    gate, got = threading.Event(), []

    def slow(item: Any) -> None:
        gate.wait(30)
        got.append(item)

    outbox = Outbox(slow, name="test", capacity=10)
    start = time.perf_counter()
    for number in range(2000):
        outbox.put({"number": number, "text": "x" * 100})
    assert time.perf_counter() - start < 2.0
    assert outbox.n_waiting == 2000
    assert outbox.drain(patience_s=0.05) == 2000
    gate.set()
    assert outbox.close(patience_s=10) == 0
    assert [item["number"] for item in got] == list(range(2000))


def test_a_receiver_that_raises_and_an_item_that_cannot_wait_are_said(caplog: pytest.LogCaptureFixture) -> None:
    gate, got = threading.Event(), []

    def picky(item: Any) -> None:
        gate.wait(30)
        if item in (2, 3):
            raise ValueError(f"not {item}")
        got.append(item)

    outbox = Outbox(picky, name="test", capacity=3)
    with caplog.at_level(logging.ERROR, logger="tuneflow"):
        for item in (0, 1, 2, 3, 4, lambda: None, 5):
            outbox.put(item)
        gate.set()
        outbox.close(patience_s=10)
    assert got == [0, 1, 4, 5]
    assert outbox.n_lost == 3
    assert caplog.text.count("ValueError: not 2") == 1
    assert "not 3" not in caplog.text, "said once"
    assert "pickle" in caplog.text.lower()


def test_a_full_disk_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **named: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    gate, got = threading.Event(), []

    def slow(item: Any) -> None:
        gate.wait(30)
        got.append(item)

    outbox = Outbox(slow, name="test", capacity=2)
    with caplog.at_level(logging.ERROR, logger="tuneflow"):
        outbox.put(0)
        while outbox.n_waiting != 1 or not outbox._is_busy:
            time.sleep(0.001)
        for number in range(1, 6):
            outbox.put(number)
        gate.set()
        outbox.close(patience_s=10)
    assert got == [0, 1, 2]
    assert outbox.n_lost == 3
    assert caplog.text.count("No space left") == 1


def test_it_can_be_used_again_after_its_end() -> None:
    got: list[int] = []
    outbox = Outbox(got.append, name="test")
    assert outbox.close(patience_s=1) == 0, "nothing was ever put"
    for number in range(3):
        outbox.put(number)
        outbox.close(patience_s=10)
    assert got == [0, 1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "raise RuntimeError('boom')"])
def test_a_process_that_ends_finishes_what_is_left(end: str) -> None:
    code = f"""
import time
from tuneflow.callbacks.outbox import Outbox
got = []
def slow(item):
    time.sleep(0.002)
    got.append(item)
outbox = Outbox(slow, name="test", capacity=5, at_exit=lambda: print(got == list(range(50))))
for number in range(50):
    outbox.put(number)
{end}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "True\n", done.stderr
    assert done.returncode == {"": 0, "raise SystemExit(3)": 3}.get(end, 1)
