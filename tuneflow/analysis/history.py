"""The results of an experiment in the order in which its driver handled them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.storages.journal._storage import JournalOperation

from tuneflow.analysis.reading import iter_results, trial_folders
from tuneflow.storage import JournalBackend

if TYPE_CHECKING:
    import optuna

__all__ = ["PastResult", "past_results"]


class PastResult(NamedTuple):
    """One result.

    Attributes:
        trial_id: of its trial.
        result: what was reported, as ``result.json`` has it.
        is_whole: False where the driver died before it wrote the line: then only the metric is known.
    """

    trial_id: str
    result: dict[str, Any]
    is_whole: bool


def past_results(folder: Path, study: optuna.Study, metric: str) -> Iterator[PastResult]:
    """All results, in the order of the study's journal; in that of their times where it records no reports.

    Args:
        folder: the experiment's folder.
        study: the experiment's, on ``study.log``.
        metric: what the study records of a report.
    """
    trials = study.get_trials(deepcopy=False)
    if not any(trial.intermediate_values for trial in trials):
        yield from _by_time(folder)
        return
    numbers = {trial._trial_id: trial.number for trial in trials}
    left = {trial.number: deque(sorted(trial.intermediate_values)) for trial in trials}
    lines: dict[int, Iterator[dict[str, Any]]] = {}
    for trial_id, step in _recorded(folder):
        number = numbers[trial_id]
        steps = left[number]
        if not steps or steps[0] != step:
            continue  # told twice, or too late
        steps.popleft()
        if number not in lines:
            lines[number] = iter(list(iter_results(folder / f"{number:05d}" / "result.json")))
        result = next(lines[number], None)
        if not steps:
            del lines[number]
        known = {metric: trials[number].intermediate_values[step], "training_iteration": step}
        is_whole = result is not None and "timestamp" in result
        yield PastResult(f"{number:05d}", known if result is None else result, is_whole)


def _recorded(folder: Path) -> Iterator[tuple[int, int]]:
    """Trial and step of each report in the journal."""
    backend = JournalBackend(folder / "study.log")
    try:
        for record in backend.read_logs(0):
            if record["op_code"] == JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE:
                yield record["trial_id"], record["step"]
    finally:
        backend.close()


def _by_time(folder: Path) -> list[PastResult]:
    found = [
        PastResult(f"{number:05d}", result, True)
        for number, path in trial_folders(folder).items()
        for result in iter_results(path / "result.json")
    ]
    return sorted(found, key=lambda past: (past.result.get("timestamp", 0.0), past.trial_id))
