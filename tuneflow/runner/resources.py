"""What a trial takes and what a machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneflow.errors import InvalidArgument, InvalidArgumentType, ResourcesUnavailable
from tuneflow.runner.cgroups import cpu_quota, memory_limit_bytes
from tuneflow.runner.gpus import find_gpus

__all__ = ["Available", "Resources", "check_fits", "machine", "request_from", "times_in_shares"]

_EPSILON = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """CPUs, GPUs and memory; GPUs may be shared in fractions.

    Attributes:
        cpu: number of CPU cores, >= 0.
        gpu: number of GPUs, >= 0; a fraction below 1 shares a device.
        memory_bytes: of a trial: the limit on what its processes hold in memory; 0 for none. Of a machine: what it
            has; 0 where that is not known.

    Example:
        >>> Resources(cpu=4, gpu=1).times_that_fit(Resources(cpu=1, gpu=0.5))
        2
    """

    cpu: float = 1.0
    gpu: float = 0.0
    memory_bytes: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cpu", "gpu", "memory_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise InvalidArgument(f"{name}={value!r} must be a number >= 0")
        if self.gpu > 1 and self.gpu != int(self.gpu):
            raise InvalidArgument(f"gpu={self.gpu} must be a fraction below 1 or a whole number of devices")

    def times_that_fit(self, request: Resources) -> int:
        """How many such requests these resources hold at once."""
        counts = []
        if request.cpu > 0:
            counts.append(int(self.cpu / request.cpu + _EPSILON))
        if request.gpu > 0:
            counts.append(self._times_on_gpus(request.gpu))
        if request.memory_bytes > 0 and self.memory_bytes > 0:
            counts.append(int(self.memory_bytes / request.memory_bytes + _EPSILON))
        return min(counts) if counts else 1

    def _times_on_gpus(self, gpu: float) -> int:
        return times_in_shares((1.0,) * int(self.gpu), gpu)

    def as_dict(self) -> dict[str, float]:
        """``{"cpu": 1.0, "gpu": 0.0}``; ``memory_bytes`` where there is a limit."""
        found = {"cpu": float(self.cpu), "gpu": float(self.gpu)}
        return {**found, "memory_bytes": float(self.memory_bytes)} if self.memory_bytes else found

    def __str__(self) -> str:
        memory = f", {self.memory_bytes / 2**30:.3g} GiB of memory" if self.memory_bytes else ""
        return f"{self.cpu:g} CPU, {self.gpu:g} GPU{memory}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Available(Resources):
    """What is left of a machine, device by device: two halves of different GPUs do not make a whole one.

    Attributes:
        shares: the free share of each GPU, in [0, 1].
    """

    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """What is left may be any amount."""

    def _times_on_gpus(self, gpu: float) -> int:
        return times_in_shares(self.shares, gpu)


def times_in_shares(shares: tuple[float, ...], gpu: float) -> int:
    """How many requests for ``gpu`` devices fit into free shares of devices."""
    if gpu >= 1:
        return int(sum(1 for share in shares if share >= 1 - _EPSILON) / gpu + _EPSILON)
    return sum(int(share / gpu + _EPSILON) for share in shares)


def machine() -> Resources:
    """What this process may use: CPUs, visible GPUs, memory. CUDA is not started.

    CPUs are those of the affinity mask, and no more than the time that a container may take of them (at least 1);
    memory is the machine's, or what the container may hold.
    """
    try:
        cpus = float(len(os.sched_getaffinity(0)))
    except AttributeError:
        cpus = float(os.cpu_count() or 1)
    quota = cpu_quota()
    if quota is not None:
        cpus = min(cpus, max(1.0, quota))
    try:
        memory_bytes = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        memory_bytes = 0.0
    limit = memory_limit_bytes()
    if limit is not None and (limit < memory_bytes or memory_bytes <= 0):
        memory_bytes = limit
    return Resources(cpu=cpus, gpu=float(len(find_gpus().names)), memory_bytes=max(0.0, memory_bytes))


def request_from(given: Mapping[str, Any] | Resources | None) -> Resources:
    """``resources_per_trial`` as a value; one CPU where nothing is given.

    Raises:
        InvalidArgument: an unknown key or a value that is no number >= 0.
        InvalidArgumentType: no dict.
    """
    if given is None:
        return Resources()
    if isinstance(given, Resources):
        return given
    if not isinstance(given, Mapping):
        raise InvalidArgumentType(
            f"resources_per_trial={given!r} must be a dict, {{'cpu': 1, 'gpu': 0.5}} for instance"
        )
    known = ("cpu", "gpu", "memory_bytes")
    unknown = sorted(set(map(str, given)) - set(known))
    if unknown:
        raise InvalidArgument(
            f"resources_per_trial has unknown entries {', '.join(unknown)}; known are {', '.join(known)}"
        )
    return Resources(
        cpu=given.get("cpu", 1.0), gpu=given.get("gpu", 0.0), memory_bytes=given.get("memory_bytes") or 0.0
    )


def check_fits(request: Resources, total: Resources) -> int:
    """How many trials run at once.

    Raises:
        ResourcesUnavailable: not even one does; the message says what there is.
    """
    n_slots = total.times_that_fit(request)
    if n_slots < 1:
        hint = ""
        if request.gpu > total.gpu:
            problem = find_gpus().problem
            hint = f" ({problem})" if problem else ""
        raise ResourcesUnavailable(
            f"a trial asks for {request}, but there is only {total}{hint}; ask for less per trial"
        )
    if request.gpu > 1 and any(name.startswith("MIG-") for name in find_gpus().names):
        raise ResourcesUnavailable(
            f"a trial asks for {request.gpu:g} GPUs, and there are MIG instances among those here: CUDA shows a "
            f"process no more than one instance; ask for gpu=1, or leave the instances out of CUDA_VISIBLE_DEVICES"
        )
    return n_slots
