"""Changing a hyperparameter of an optimizer that is in the middle of its schedule."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.plain import plain

__all__ = ["set_hyperparameter"]

_OF_GROUPS = {"lr": ("initial_lr", "max_lr", "min_lr"), "momentum": ("base_momentum", "max_momentum")}
_OF_SCHEDULERS = {"lr": ("base_lrs", "max_lrs", "_last_lr"), "momentum": ("base_momentums", "max_momentums")}
_BETAS = {"beta1": 0, "beta2": 1}


def set_hyperparameter(
    optimizer: torch.optim.Optimizer, schedulers: Any, name: str, new: float, old: float | None = None
) -> None:
    """Has the optimizer, and the schedulers that steer it, go on as if ``name`` had been ``new`` all along.

    Setting ``group["lr"]`` alone lasts until the next ``scheduler.step()``, which computes the rate from what it
    remembers. Here everything that they remember is scaled by ``new / old``: so parameter groups with different rates
    keep their ratio, and a rate that is halfway down its schedule stays halfway down. A schedule that ends at a fixed
    ``eta_min`` (cosine annealing) is put where it would be with the new rate.

    Args:
        optimizer: its parameter groups are changed in place.
        schedulers: one, several or none; those of other optimizers are left alone. Nested ones are found.
        name: "lr", "weight_decay", "momentum", "beta1", "beta2", or any other option of the parameter groups.
        new: the new value, that of the configuration.
        old: the configuration's value so far. Without one, or where it is 0, the option becomes ``new`` in every group,
            and what the schedulers remember likewise.

    Raises:
        InvalidArgument: no parameter group has such an option; the message lists those that there are.
        InvalidArgumentType: ``new`` or ``old`` is no number.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
        >>> set_hyperparameter(optimizer, scheduler, "lr", 0.4, old=0.1)
        >>> optimizer.step(); scheduler.step(); optimizer.param_groups[0]["lr"]
        0.2
    """
    new, old = _number("new", new), None if old is None else _number("old", old)
    optimizer = _inner(optimizer)
    ratio = None if not old else new / old
    given = [getattr(scheduler, "scheduler", scheduler) for scheduler in _listed(schedulers)]
    own = [scheduler for scheduler in given if _inner(getattr(scheduler, "optimizer", None)) is optimizer]
    groups = optimizer.param_groups
    if name in _BETAS and not any(name in group for group in groups):
        _set_beta(groups, _BETAS[name], new)
        return
    if name == "momentum" and not any(name in group for group in groups) and any("betas" in g for g in groups):
        _set_beta(groups, 0, new)  # what OneCycleLR calls Adam's first beta
    elif not any(name in group for group in groups):
        options = sorted({key for group in groups for key in group if key != "params"})
        raise InvalidArgument(
            f"{type(optimizer).__name__} has no option {name!r}; its parameter groups have: {', '.join(options)}"
        )
    fixed = [_exact_rates(scheduler, ratio) for scheduler in own] if name == "lr" else []
    for group in groups:
        for key in (name, *_OF_GROUPS.get(name, ())):
            if key in group:
                _assign(group, key, _scaled(group[key], new, old, ratio))
    for scheduler in (leaf for entry in own for leaf in _tree(entry)):
        for attribute in _OF_SCHEDULERS.get(name, ()):
            values = getattr(scheduler, attribute, None)
            if isinstance(values, list):
                setattr(scheduler, attribute, [_scaled(value, new, old, ratio) for value in values])
    for rates in filter(None, fixed):
        for group, rate in zip(groups, rates, strict=True):
            _assign(group, "lr", rate)
    if name == "lr":
        _remember(own, groups)


def _inner(optimizer: Any) -> Any:
    """The optimizer itself, out of the wrappers of Accelerate and Fabric, which share its parameter groups."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _number(name: str, value: Any) -> float:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentType(f"{name}={value!r} must be a number")
    return float(value)


def _listed(schedulers: Any) -> list[Any]:
    if schedulers is None:
        return []
    return list(schedulers) if isinstance(schedulers, Iterable) else [schedulers]


def _tree(scheduler: Any) -> Iterator[Any]:
    """The scheduler and all that are nested in it."""
    yield scheduler
    for inner in getattr(scheduler, "_schedulers", ()):
        yield from _tree(inner)


def _acting(scheduler: Any) -> Any:
    """The scheduler that sets the rate now: of a sequence, the one whose turn it is; None where several do."""
    inner = getattr(scheduler, "_schedulers", None)
    if inner is None:
        return scheduler
    milestones = getattr(scheduler, "_milestones", None)
    if milestones is None:
        return None
    return _acting(inner[bisect_right(milestones, scheduler.last_epoch)])


def _exact_rates(scheduler: Any, ratio: float | None) -> list[Any] | None:
    """The rates now, had the base rates been ``ratio`` times as high, where that is not simply a multiple."""
    leaf = _acting(scheduler)
    floor = getattr(leaf, "eta_min", None)
    if ratio is None or not floor:
        return None
    rates: list[Any] = []
    for group, base in zip(leaf.optimizer.param_groups, leaf.base_lrs, strict=True):
        share = 1.0 if base == floor else (group["lr"] - floor) / (base - floor)
        rates.append(floor + share * (base * ratio - floor))
    return rates


def _remember(schedulers: Sequence[Any], groups: Sequence[dict[str, Any]]) -> None:
    """What the acting schedulers say was the last rate is the rate in force."""
    for scheduler in schedulers:
        for entry in {id(entry): entry for entry in (scheduler, _acting(scheduler)) if entry is not None}.values():
            if getattr(entry, "_last_lr", None):
                entry._last_lr = [
                    group["lr"].clone() if isinstance(group["lr"], torch.Tensor) else group["lr"] for group in groups
                ]


def _scaled(value: Any, new: float, old: float | None, ratio: float | None) -> Any:
    # Multiplying would leave rounding errors where the value is simply the configuration's.
    if ratio is None or (isinstance(value, (int, float)) and value == old):
        return new
    return value * ratio


def _assign(group: dict[str, Any], key: str, value: Any) -> None:
    held = group[key]
    if isinstance(held, torch.Tensor):  # a compiled or capturable optimizer holds on to the tensor itself
        held.fill_(value)
    elif isinstance(held, (int, float)) and not isinstance(held, bool):
        group[key] = value
    else:
        raise InvalidArgument(f"option {key!r}={held!r} of the optimizer is not a number; it cannot be scaled")


def _set_beta(groups: Sequence[dict[str, Any]], index: int, new: float) -> None:
    if not any("betas" in group for group in groups):
        raise InvalidArgument(f"beta{index + 1} is asked for, but the optimizer's parameter groups have no betas")
    for group in groups:
        if "betas" in group:
            betas = list(group["betas"])
            betas[index] = new
            group["betas"] = tuple(betas)
