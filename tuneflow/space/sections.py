"""Parts of a configuration that are no hyperparameters: settings of trackers, under the trackers' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tuneflow.errors import InvalidArgument
from tuneflow.space.domain import holds_variable

__all__ = ["SECTIONS", "split_sections"]

SECTIONS = ("wandb", "mlflow")
"""The names under which a dict in a configuration is a tracker's settings and not a part of the space."""


def split_sections(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The space that a configuration holds, and the trackers' settings that stand beside it.

    Args:
        config: a search space as a dict, with ``{"wandb": {"project": ...}}`` in it, say. An entry of that name
            that is no dict is an ordinary part of the space.

    Returns:
        The configuration without the settings, and the settings by name.

    Raises:
        InvalidArgument: a setting is to be searched.

    Example:
        >>> split_sections({"lr": 0.1, "wandb": {"project": "mine"}})
        ({'lr': 0.1}, {'wandb': {'project': 'mine'}})
    """
    sections = {name: dict(config[name]) for name in SECTIONS if isinstance(config.get(name), Mapping)}
    for name, section in sections.items():
        for path, value in _entries(section, name):
            is_grid = isinstance(value, Mapping) and value.keys() == {"grid_search"}
            if is_grid or (not isinstance(value, Mapping) and holds_variable(value)):
                raise InvalidArgument(
                    f"the configuration's {path}={value!r} is to be searched, but {name!r} holds settings of a "
                    f"tracker, the same for all trials; give it a plain value, or put the domain outside {name!r}"
                )
    return {key: value for key, value in config.items() if key not in sections}, sections


def _entries(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        path = f"{prefix}/{key}"
        yield path, value
        if isinstance(value, Mapping):
            yield from _entries(value, path)
