"""One trial of an experiment, as it can be read afterwards or meanwhile."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneflow.analysis.reading import (
    iter_results,
    read_checkpoints,
    read_error_text,
    read_last_result,
    read_params,
)
from tuneflow.analysis.scopes import Mode, is_better
from tuneflow.checkpoint import Checkpoint
from tuneflow.errors import TrialFailed
from tuneflow.moved import lacks_attribute
from tuneflow.plain import is_secret
from tuneflow.verdicts import DECISION, is_paused
from tuneflow.views import stored_exploits

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["TrialRecord", "lookup", "number"]

_STATUS = {
    "WAITING": "PENDING",
    "RUNNING": "RUNNING",
    "COMPLETE": "TERMINATED",
    "PRUNED": "TERMINATED",
    "FAIL": "ERROR",
}


class TrialRecord:
    """One trial: what it tried, what came of it, where its files are.

    Files are read when they are asked for. ``results`` are read anew each time, since a large experiment's do not fit
    into memory together.

    Attributes:
        number: the trial's number, from 0.
        trial_id: the number in five digits.
        logdir: the trial's folder, as a string.
        state: Optuna's word: WAITING, RUNNING, COMPLETE, PRUNED or FAIL.
        status: Tune's word: PENDING, RUNNING, PAUSED, TERMINATED or ERROR.
        resources: what each trial takes, ``{"cpu": 1.0, "gpu": 0.0}``; empty where ``experiment.json`` does not say.
        frozen: the trial as Optuna stores it; None where the folder has no ``study.log``.

    Example:
        >>> record = TrialRecord(3, "results/00003")
        >>> record.trial_id, record.config, record.results
        ('00003', {}, [])
    """

    def __init__(
        self,
        number: int,
        logdir: str | Path,
        frozen: FrozenTrial | None = None,
        *,
        objectives: Sequence[str] = (),
        config_of: Callable[[FrozenTrial], dict[str, Any]] | None = None,
        error: BaseException | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        self.number = number
        self.trial_id = f"{number:05d}"
        self.logdir = str(logdir)
        self.resources = dict(resources or {})
        self.frozen = frozen
        self._folder = Path(logdir)
        self._objectives = list(objectives)
        self._config_of = config_of
        self._error = error
        self._config: dict[str, Any] | None = None
        self._last_result: dict[str, Any] | None = None
        self.state = self._read_state() if frozen is None else frozen.state.name
        self.status = "PAUSED" if frozen is not None and is_paused(frozen) else _STATUS[self.state]

    def _read_state(self) -> str:
        """The state as far as the trial's files tell it."""
        last = read_last_result(self._folder / "result.json")
        if last:
            return "FAIL" if read_error_text(self._folder) and not last.get("done") else "COMPLETE"
        return "FAIL" if read_error_text(self._folder) else "WAITING"

    # What it tried

    @property
    def config(self) -> dict[str, Any]:
        """The nested configuration, after an exploit the last one.

        Natural Python values in the process that ran the trial; else what ``params.json`` says, with secrets masked.
        Of a trial that waits to be started, what it was given.
        """
        if self._config is None:
            if self.frozen is not None and self.state == "WAITING":
                self._config = _overlaid({}, self.frozen.system_attrs.get("fixed_params") or {})
            elif self._config_of is not None and self.frozen is not None:
                self._config = self._config_of(self.frozen)
            else:
                self._config = read_params(self._folder)
            if self._config is None:
                self._config = {} if self.frozen is None else _overlaid({}, self.frozen.params)
        return self._config

    def config_at(self, step: float) -> dict[str, Any]:
        """The configuration in force when ``step`` was reported."""
        changes = [] if self.frozen is None else stored_exploits(self.frozen)
        if self.frozen is None or not changes or changes[-1][0] < step:
            return self.config
        if self._config_of is not None:
            frozen = copy.copy(self.frozen)
            frozen.user_attrs = {
                key: value
                for key, value in frozen.user_attrs.items()
                if not (key.startswith(DECISION) and int(key[len(DECISION) :]) >= step)
            }
            return self._config_of(frozen)
        sampled = self.frozen.user_attrs.get("config") or _overlaid(self.config, self.frozen.params)
        before = [values for changed_at, values, _ in changes if changed_at < step]
        return _overlaid(sampled, before[-1]) if before else sampled

    # What came of it

    @property
    def results(self) -> list[dict[str, Any]]:
        """Every result in order; the metric alone where no logger wrote them down."""
        return list(iter_results(self._folder / "result.json")) or self._recorded_results()

    def _recorded_results(self) -> list[dict[str, Any]]:
        if self.frozen is None or not self._objectives:
            return []
        values = self.frozen.intermediate_values
        return [{self._objectives[0]: values[step], "training_iteration": step} for step in sorted(values)]

    @property
    def last_result(self) -> dict[str, Any]:
        """The last result; what the trial was told where it reported nothing; empty without either.

        Its ``done`` is True once the trial has ended. In ``results`` it is so only where that was known when the result
        was reported.
        """
        if self._last_result is None:
            found = read_last_result(self._folder / "result.json")
            if found is None:
                recorded = self._recorded_results()
                found = recorded[-1] if recorded else self._told()
            has_ended = self.status in ("TERMINATED", "ERROR")
            self._last_result = {**found, "done": True} if has_ended and found.get("done") is False else found
        return self._last_result

    def _told(self) -> dict[str, Any]:
        values = None if self.frozen is None or self.state != "COMPLETE" else self.frozen.values
        return dict(zip(self._objectives, values or (), strict=False))

    def values(self, metric: str) -> list[float]:
        """Every value of a metric, in order of report; the value told last where it is another.

        Args:
            metric: a key of the results, nested ones joined by ``/``. Results without it, or with something else than a
                number there, are passed over.
        """
        values = [value for result in self.results if (value := number(lookup(result, metric))) is not None]
        return self._with_told(values, metric)

    def last_value(self, metric: str) -> float:
        """The last of ``values``, without reading the earlier ones where the last result holds the metric."""
        value = number(lookup(self.last_result, metric))
        values = self.values(metric) if value is None else self._with_told([value], metric)
        return values[-1] if values else math.nan

    def _with_told(self, values: list[float], metric: str) -> list[float]:
        told = self._told().get(metric) if self.frozen is not None and self.state == "COMPLETE" else None
        if told is not None and (not values or values[-1] != told):
            values.append(told)
        return values

    def best_result(self, metric: str, mode: Mode) -> dict[str, Any]:
        """The result with the best value of a metric, the earliest of equal ones; the last one where none has any."""
        best, found = None, None
        for result in self.results:
            value = number(lookup(result, metric))
            if value is not None and is_better(value, best, mode):
                best, found = value, result
        return self.last_result if found is None else found

    @property
    def error(self) -> BaseException | None:
        """Why the trial failed; None where it did not."""
        if self._error is None and self.state == "FAIL":
            text = read_error_text(self._folder)
            reason = None if self.frozen is None else self.frozen.user_attrs.get("tuneflow:reason")
            summary = reason or next(
                (line for line in reversed(text.splitlines()) if line.strip()), "no reason is known"
            )
            self._error = TrialFailed(str(summary), trial=self.number, traceback_text=text)
        return self._error

    # Checkpoints

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The latest checkpoint; None where there is none."""
        found = read_checkpoints(self._folder)
        return found[-1][1] if found else None

    def best_checkpoint(self, metric: str, mode: Mode) -> Checkpoint | None:
        """The checkpoint whose step had the best value of a metric, the latest of equal ones.

        Returns:
            The latest of all where no kept one's step has a value; None where there is none.
        """
        found = read_checkpoints(self._folder)
        if len(found) < 2:
            return found[0][1] if found else None
        by_step = {step: number(lookup(result, metric)) for step, result in self.steps()}
        best, chosen = None, found[-1][1]
        for step, checkpoint in reversed(found):
            value = by_step.get(step)
            if value is not None and is_better(value, best, mode):
                best, chosen = value, checkpoint
        return chosen

    def steps(self) -> list[tuple[float, dict[str, Any]]]:
        """Every result with its step, which is its iteration unless the trial named steps of its own."""
        results = self.results
        steps = sorted(self.frozen.intermediate_values) if self.frozen is not None else []
        if len(steps) == len(results):
            return list(zip(steps, results, strict=True))
        return [(result.get("training_iteration", index), result) for index, result in enumerate(results, start=1)]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise lacks_attribute(self, name, "TrialRecord")

    def __repr__(self) -> str:
        return f"TrialRecord({self.trial_id}, {self.status})"


def lookup(result: Mapping[str, Any], metric: str) -> Any:
    """The value under a key, or under a path of nested keys joined by ``/``; None where there is none."""
    if metric in result:
        return result[metric]
    node: Any = result
    for part in metric.split("/"):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node


def number(value: Any) -> float | None:
    """A metric's value as a float; None where it is no number."""
    return float(value) if isinstance(value, (int, float)) else None


def _overlaid(config: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with flat parameters (``optimizer/lr``) put in their places."""
    config = copy.deepcopy(config)
    for name, value in params.items():
        *path, key = name.split("/")
        node = config
        for part in path:
            inner = node.get(part)
            if not isinstance(inner, dict):
                inner = node[part] = {}
            node = inner
        if not is_secret(key):
            node[key] = value
    return config
