"""A headless Chromium, for what only a browser can tell, and a pruner that decides what a test wants to see."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuneflow.pruners import Continue, Pause, Pruner, Stop

# Looks through shadow roots too, in which TensorBoard hides its elements.
_DEEP = """
const deep = (selector, root = document) => {
  const found = [...root.querySelectorAll(selector)];
  for (const element of root.querySelectorAll("*"))
    if (element.shadowRoot) found.push(...deep(selector, element.shadowRoot));
  return found;
};
const words = (root = document.body) => {
  let text = "";
  for (const node of root.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) text += node.textContent + " ";
    else if (node.nodeType === Node.ELEMENT_NODE && !["SCRIPT", "STYLE", "TEMPLATE"].includes(node.tagName)) {
      if (node.shadowRoot) text += words(node.shadowRoot);
      text += words(node);
    }
  }
  return text;
};
"""

# The protocol's pipes have to be descriptors 3 and 4, which may be taken, one of them by the other pipe.
_TRAMPOLINE = """
import fcntl, os, sys
to_read, to_write = (fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, 10) for descriptor in sys.argv[1:3])
os.dup2(to_read, 3)
os.dup2(to_write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """Chromium, driven over a pipe by its DevTools protocol: no driver and no further library."""

    def __init__(self, program: str, profile: Path) -> None:
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable, "-S", "-c", _TRAMPOLINE, str(to_read), str(to_write), program, "--headless=new",
                "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--window-size=1600,1200",
                f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
            ],
            pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, "HOME": str(profile)},
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._n_sent = 0
        self._session = ""

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                read = os.read(self._in, 1 << 20)
                assert read, "the browser has ended"
                self._buffer += read
            line, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._n_sent:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Opens a page in a new tab."""
        self._session = ""
        target = self._call("Target.createTarget", url=url)["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def widen(self, width: int) -> None:
        """Makes the page ``width`` pixels wide: tables leave out the columns that are out of sight."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=1200, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; ``deep(selector)`` and ``words()`` look into shadow roots."""
        expression = f"(() => {{ {_DEEP} return ({script}); }})()"
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = 30.0) -> Any:
        """The first value of an expression that counts as true."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            value = self.run(script)
            if value:
                return value
            if time.monotonic() > deadline_s:
                pytest.fail(f"the page never came to {script}; it says: {self.run('words()')!r:.3000}")
            time.sleep(0.2)

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)
        os.close(self._out)
        os.close(self._in)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium")
    made = Browser(program, tmp_path / "profile")
    yield made
    made.close()


class Scripted(Pruner):
    """Answers the reports named in ``script`` by ``{(trial, step): decision}``; paused trials go on when asked for.

    ``on_resume`` holds by trial what a paused one is answered when it goes on: an exploit, say.
    """

    def __init__(self, script=(), needs_checkpoints=False, on_resume=()):
        self.script = dict(script)
        self.resumes = dict(on_resume)
        self.needs_checkpoints = needs_checkpoints
        self.paused = []
        self.reports = []

    def on_report(self, trial, step, value, checkpoint, decided=None):
        self.reports.append((trial, step))
        decision = decided or self.script.get((trial, step), Continue())
        if isinstance(decision, Pause):
            self.paused.append(trial)
        return decision

    def next_resume(self, more=True):
        return self.paused.pop(0) if self.paused else None

    def on_resume(self, trial):
        return self.resumes.get(trial, Continue())


@pytest.fixture
def scripted():
    return Scripted


@pytest.fixture
def pause():
    return Pause()


@pytest.fixture
def stop():
    return Stop()
