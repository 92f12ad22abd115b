"""Which hyperparameters a training takes over while it runs: the learning rate of a restored optimizer, for one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from tuneflow.errors import InvalidArgument, TuneflowWarning
from tuneflow_integrations.torch.hyperparameters import set_hyperparameter
from tuneflow_integrations.trials import flat

__all__ = ["Live"]

_OPTIONS = {"learning_rate": "lr", "wd": "weight_decay"}


class Live:
    """Applies changed values of a configuration to optimizers that were restored from a checkpoint.

    A restored optimizer comes with the rates it was saved with, those of a configuration that may not be the trial's
    any more. ``set_hyperparameter`` then scales them.

    Args:
        live: options of optimizers: "lr" stands for the entry of the configuration that is named so or, in a nested
            one, ends so; "learning_rate" is understood as "lr". With several optimizers a mapping says which entry
            goes where: ``{"generator/lr": (0, "lr"), "critic/lr": (1, "lr")}``; without an index it goes to all.

    Example:
        >>> live = Live(("lr",))
        >>> live.is_enough({"lr": 0.1, "width": 64}, {"lr": 0.2, "width": 64})
        True
        >>> live.is_enough({"lr": 0.1, "width": 64}, {"lr": 0.1, "width": 32})
        False
    """

    def __init__(self, live: Sequence[str] | Mapping[str, str | tuple[int, str]] = ("lr",)) -> None:
        if isinstance(live, str):
            raise InvalidArgument(f"live={live!r} must be a tuple or a mapping: live=({live!r},)")
        self._named: dict[str, tuple[int | None, str]] = {}
        self._options: tuple[str, ...] = ()
        if isinstance(live, Mapping):
            for name, target in live.items():
                self._named[name] = (None, target) if isinstance(target, str) else (int(target[0]), target[1])
        else:
            self._options = tuple(_option(name) for name in live)

    def is_enough(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether all that differs between two configurations can be taken over while the training runs."""
        old, new = dict(flat(old)), dict(flat(new))
        changed = {name for name in {*old, *new} if old.get(name) != new.get(name)}
        return not changed or changed <= set(self._targets(new))

    def apply(
        self, old: Mapping[str, Any], new: Mapping[str, Any], optimizers: Iterable[Any], schedulers: Iterable[Any]
    ) -> dict[str, Any]:
        """Takes over what differs from the configuration that the optimizers were saved with.

        Args:
            old: that configuration, flat or nested.
            new: the one in force.
            optimizers: in the order that the mapping's indices mean.
            schedulers: of any of them.

        Returns:
            The entries that were applied, by flat name.
        """
        old, new = dict(flat(old)), dict(flat(new))
        changed = {name: value for name, value in new.items() if name in old and old[name] != value}
        if not changed:
            return {}
        optimizers, schedulers = list(optimizers), list(schedulers)
        targets = self._targets(new)
        applied = {}
        for name, value in changed.items():
            if name in targets:
                index, option = targets[name]
                for optimizer in optimizers if index is None else [_at(optimizers, index, name)]:
                    set_hyperparameter(optimizer, schedulers, option, value, old[name])
                applied[name] = value
            elif any(_option(name) in group for optimizer in optimizers for group in optimizer.param_groups):
                warnings.warn(
                    TuneflowWarning(
                        f"{name} has changed from {old[name]!r} to {value!r}, but the restored optimizer keeps the "
                        f"old value; name it: live=(..., {_option(name)!r})"
                    ),
                    stacklevel=3,
                )
        return applied

    def _targets(self, config: Mapping[str, Any]) -> dict[str, tuple[int | None, str]]:
        """The entries that are live: which optimizer they go to, None for all, and as which option."""
        if self._named:
            return self._named
        found: dict[str, tuple[int | None, str]] = {
            name: (None, _option(name)) for name in config if _option(name) in self._options
        }
        for option in self._options:
            names = [name for name, (_, other) in found.items() if other == option]
            if len(names) > 1:
                raise InvalidArgument(
                    f"live={option!r} could mean each of {', '.join(names)}; say which optimizer each is for: "
                    f"live={{{names[0]!r}: (0, {option!r}), {names[1]!r}: (1, {option!r})}}"
                )
        return found


def _option(name: str) -> str:
    last = name.rsplit("/", 1)[-1]
    return _OPTIONS.get(last, last)


def _at(optimizers: list[Any], index: int, name: str) -> torch.optim.Optimizer:
    if not 0 <= index < len(optimizers):
        raise InvalidArgument(f"live sends {name} to optimizer {index}, but there are {len(optimizers)}")
    return optimizers[index]
