"""``params.json`` and ``result.json`` of each trial."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.callbacks.files import replace_file
from tuneflow.callbacks.line_logger import LineLogger, TrialLog
from tuneflow.callbacks.recorded import missing_results
from tuneflow.plain import is_secret, plain

if TYPE_CHECKING:
    from tuneflow.pruners.base import Exploit
    from tuneflow.trial import Trial

__all__ = ["JsonLogger"]

_SCALARS = frozenset({float, int, str, bool, type(None)})
_encode = json.JSONEncoder(separators=(", ", ": ")).encode


class JsonLog(TrialLog):
    """A trial's ``result.json``, and the configuration that ``params.json`` holds."""

    __slots__ = ("config", "text")

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.config: Any = None
        self.text = ""


class JsonLogger(LineLogger[JsonLog]):
    r"""Writes ``params.json`` and ``result.json`` into each trial's folder.

    * ``result.json``: one JSON object per line and report; NaN and infinities as Python's ``json`` writes and reads
      them (``NaN``, ``Infinity``), NumPy and torch scalars as numbers, what has no form in JSON as its ``repr``;
    * ``params.json``: the configuration, sorted, secrets masked; again after an exploit, and when a define-by-run
      trial has suggested more.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=0)
        >>> study.add_callback(JsonLogger())
        >>> trial = study.ask()
        >>> _ = trial.report({"loss": 0.5}, step=1)
        >>> (trial.dir / "result.json").read_text()
        '{"loss": 0.5, "training_iteration": 1}\n'
    """

    file_name: ClassVar[str] = "result.json"

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[tuple[str, ...], bool] = {}

    def on_trial_start(self, trial: Trial) -> None:
        self._note_config(trial)

    def on_trial_resume(self, trial: Trial) -> None:
        super().on_trial_resume(trial)
        if trial in self._logs:
            self._note_config(trial)  # an exploit may have been decided during the pause

    def on_trial_exploit(self, trial: Trial, decision: Exploit) -> None:
        self._note_config(trial)

    def on_trial_report(self, trial: Trial, result: dict[str, Any]) -> None:
        super().on_trial_report(trial, result)
        if self._logs[trial].config is not trial.config:
            self._note_config(trial)

    def on_trial_end(self, trial: Trial) -> None:
        self._note_config(trial)
        super().on_trial_end(trial)

    def _new_log(self, path: str) -> JsonLog:
        return JsonLog(path)

    def _write(self, log: JsonLog, result: dict[str, Any]) -> None:
        self._pool.append(log.path, self._line(result))

    def _line(self, result: dict[str, Any]) -> bytes:
        shape = tuple(result)
        is_open = self._shapes.get(shape)
        if is_open is None:
            is_open = self._learn(shape)
        if is_open and _SCALARS.issuperset(map(type, result.values())):
            return f"{_encode(result)}\n".encode()
        return f"{_encode(plain(result))}\n".encode()

    def _learn(self, shape: tuple[str, ...]) -> bool:
        """Whether results with these keys can be written as they are, asked once per set of keys."""
        if len(self._shapes) >= 1024:  # a trial that makes up new keys as it goes
            self._shapes.clear()
        is_open = all(isinstance(key, str) and not is_secret(key) for key in shape)
        self._shapes[shape] = is_open
        return is_open

    def _mend(self, log: JsonLog, recorded: list[dict[str, Any]] | None, result: dict[str, Any] | None) -> None:
        try:
            found = Path(log.path).read_bytes()
        except FileNotFoundError:
            found = b""
        lines = [line for line in found.split(b"\n") if line.strip()]
        if lines and not found.endswith(b"\n") and _iteration(lines[-1]) is None:
            lines.pop()
        if recorded is not None:
            lines = lines[: len(recorded)]
            lines += [self._line(entry)[:-1] for entry in missing_results(recorded, list(map(_iteration, lines)))]
        elif result is not None:
            lines = [line for line in lines if (_iteration(line) or 0) < result["training_iteration"]]
        whole = b"".join(line + b"\n" for line in lines)
        if whole != found:
            replace_file(log.path, whole)

    def _note_config(self, trial: Trial) -> None:
        """Writes ``params.json`` where the configuration is another one than that it holds."""
        log = self._logs.get(trial)
        if log is None:
            log = self._meet(trial, None)
        config = trial.config
        if log.config is config or not (config or trial.state.is_finished()):
            return
        log.config = config
        text = json.dumps(plain(config), indent=2, sort_keys=True) + "\n"
        if log.text != text:
            replace_file(os.fspath(trial.dir / "params.json"), text.encode())
            log.text = text


def _iteration(line: bytes) -> float | None:
    """The iteration of a line; None where the line is no whole object."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    iteration = entry.get("training_iteration", 0) if isinstance(entry, dict) else None
    return iteration if isinstance(iteration, (int, float)) else None
