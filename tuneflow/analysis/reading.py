"""What lies in an experiment's folder, read and never written."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneflow.checkpoint import Checkpoint
from tuneflow.errors import ExperimentNotFound, InvalidArgument, TuneflowWarning

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = [
    "iter_results",
    "read_checkpoints",
    "read_error_text",
    "read_experiment",
    "read_last_result",
    "read_params",
    "read_stored_trials",
    "trial_folders",
]

_TAIL_BYTES = 1 << 14


def read_experiment(folder: Path) -> dict[str, Any]:
    """``experiment.json``; empty where the folder has none.

    Raises:
        ExperimentNotFound: there is no such folder, or nothing of an experiment in it.
        InvalidArgument: the file is damaged.
    """
    if not folder.is_dir():
        raise ExperimentNotFound(f"there is no folder {str(folder)!r}; give the folder of an experiment")
    path = folder / "experiment.json"
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / "study.log").is_file() or trial_folders(folder):
            return {}
        raise ExperimentNotFound(
            f"{str(folder)!r} holds no experiment: neither experiment.json, study.log nor a trial's folder (00000); "
            f"give the folder that tune.run names as its result folder"
        ) from None
    except ValueError as error:
        raise InvalidArgument(f"{path} is damaged ({error}); restore it from a copy, or delete it") from error
    return noted if isinstance(noted, dict) else {}


def trial_folders(folder: Path) -> dict[int, Path]:
    """The trials' folders by number."""
    return {int(path.name): path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()}


def read_stored_trials(folder: Path, name: str | None) -> list[FrozenTrial] | None:
    """The trials that ``study.log`` holds, in order of number; None without the file or without a study in it.

    Args:
        folder: the experiment's folder.
        name: the study's name; the only or first study where there is none of that name.
    """
    path = folder / "study.log"
    if not path.is_file():
        return None
    from tuneflow.storage import Journal

    with Journal(path) as storage:
        studies = storage.get_all_studies()
        if not studies:
            return None
        study = next((study for study in studies if study.study_name == name), studies[0])
        return storage.get_all_trials(study._study_id, deepcopy=False)


def iter_results(path: Path) -> Iterator[dict[str, Any]]:
    """The results of a ``result.json``, in order; none where there is no file.

    A torn last line, of a trial that runs or was killed, is passed over; any other line that cannot be read is too,
    with a warning.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, start=1):
            result = _parse(line)
            if result is not None:
                yield result
            elif line.endswith(b"\n") and line.strip():
                warnings.warn(
                    TuneflowWarning(f"{path}, line {number} is damaged and left out"),
                    stacklevel=2,
                )


def read_last_result(path: Path) -> dict[str, Any] | None:
    """The last whole result of a ``result.json``, read from its end; None where there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        size = file.seek(0, 2)
        n_bytes = min(size, _TAIL_BYTES)
        while True:
            file.seek(size - n_bytes)
            # The beginning of the first line may be missing: no end of a JSON object is one itself.
            for line in reversed(file.read(n_bytes).split(b"\n")):
                result = _parse(line)
                if result is not None:
                    return result
            if n_bytes == size:
                return None
            n_bytes = min(size, n_bytes * 8)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        result = json.loads(line)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def read_params(folder: Path) -> dict[str, Any] | None:
    """A trial's ``params.json``; None where there is none that can be read."""
    try:
        params = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return params if isinstance(params, dict) else None


def read_checkpoints(folder: Path) -> list[tuple[int, Checkpoint]]:
    """The whole checkpoints in a trial's folder with their steps, in order of step."""
    if not folder.is_dir():
        return []
    found = []
    for path in folder.glob("checkpoint_*"):
        step = path.name.removeprefix("checkpoint_")
        if step.isdigit() and path.is_dir():
            found.append((int(step), Checkpoint(path)))
    return sorted(found, key=lambda entry: entry[0])


def read_error_text(folder: Path) -> str:
    """A trial's ``error.txt``; "" where there is none."""
    try:
        return (folder / "error.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
