"""A tuner's folder: what it says of the space, and whether that is still the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tuneflow.errors import InvalidArgument
from tuneflow.hyperparameters import HyperParameters, Objective, Parameter, differences

__all__ = ["Project"]


class Project:
    """The experiment's folder with ``hyperparameters.json`` in it: what ``build`` declared, and what was met later.

    Args:
        folder: the folder; it may not exist yet.
        objective: what is optimised.

    Attributes:
        folder: the folder.
    """

    def __init__(self, folder: Path, objective: Objective) -> None:
        self.folder = folder
        self._objective = objective
        self._file = folder / "hyperparameters.json"
        self._built: list[Parameter] = []

    @property
    def has_study(self) -> bool:
        """Whether anything was searched here."""
        return (self.folder / "study.log").exists()

    def delete(self) -> None:
        """Deletes the project, if there is one.

        Raises:
            InvalidArgument: the folder holds something else.
        """
        if not self.folder.exists():
            return
        is_project = self.has_study or self._file.exists() or not any(self.folder.iterdir())
        if not is_project:
            raise InvalidArgument(
                f"overwrite=True would delete {self.folder}, which is no project of a tuner; delete it yourself or "
                f"choose another project_name"
            )
        shutil.rmtree(self.folder)

    def check(self, space: HyperParameters) -> HyperParameters | None:
        """The space of the project that is there; None where there is none.

        Args:
            space: what ``build`` declares now.

        Raises:
            InvalidArgument: it declared something else when the project began, or the objective was another.
        """
        self._built = space.space
        if not self.has_study:
            return None
        try:
            stored = json.loads(self._file.read_text())
        except (OSError, ValueError):
            raise InvalidArgument(
                f"{self.folder} holds a study but no readable hyperparameters.json: it was not made by a tuner, or "
                f"the file is damaged; pass overwrite=True to start anew, or another project_name"
            ) from None
        before = (stored["objective"]["name"], stored["objective"]["direction"])
        now = (self._objective.name, self._objective.direction)
        advice = "pass overwrite=True to start anew, or another project_name to keep both"
        if before != now:
            raise InvalidArgument(
                f"the project in {self.folder} optimises {before[0]!r} ({before[1]}), not {now[0]!r} ({now[1]}); "
                f"{advice}"
            )
        built, met = _read(stored["built"]), _read(stored["met"])
        # What fit declared in the former search may be declared by build now: that is no change.
        now_built = {(parameter.name, parameter.conditions) for parameter in space.space}
        moved = [parameter for parameter in met.space if (parameter.name, parameter.conditions) in now_built]
        changed = differences([*built.space, *moved], space.space)
        if changed:
            raise InvalidArgument(
                f"the space of the project in {self.folder} has changed: {'; '.join(changed)}. Its trials would be "
                f"mixed with others; {advice}"
            )
        return met

    def describe(self, space: HyperParameters) -> None:
        """Writes what is known of the space."""
        built = HyperParameters()
        built.merge(self._built)
        met = HyperParameters()
        known = {(parameter.name, parameter.conditions) for parameter in self._built}
        met.merge(entry for entry in space.space if (entry.name, entry.conditions) not in known)
        content = {
            "objective": {"name": self._objective.name, "direction": self._objective.direction},
            "built": built.get_config()["space"],
            "met": met.get_config()["space"],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(".hyperparameters.json")
        draft.write_text(json.dumps(content, indent=1))
        draft.replace(self._file)


def _read(entries: list[dict[str, Any]]) -> HyperParameters:
    return HyperParameters.from_config({"space": entries})
