"""What a trial takes and what a machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneflow.errors import InvalidArgument, ResourcesUnavailable

__all__ = ["Resources", "machine", "request_from"]

_EPSILON = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """CPUs and GPUs; GPUs may be shared in fractions.

    Attributes:
        cpu: number of CPU cores, >= 0.
        gpu: number of GPUs, >= 0; a fraction below 1 shares a device.

    Example:
        >>> Resources(cpu=4, gpu=1).times_that_fit(Resources(cpu=1, gpu=0.5))
        2
    """

    cpu: float = 1.0
    gpu: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cpu", "gpu"):
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
        if request.gpu >= 1:
            counts.append(int(self.gpu / request.gpu + _EPSILON))
        elif request.gpu > 0:
            counts.append(int(self.gpu) * int(1 / request.gpu + _EPSILON))
        return min(counts) if counts else 1

    def minus(self, request: Resources) -> Resources:
        """What is left when ``request`` is taken."""
        return Resources(cpu=max(0.0, self.cpu - request.cpu), gpu=max(0.0, self.gpu - request.gpu))

    def as_dict(self) -> dict[str, float]:
        """``{"cpu": 1.0, "gpu": 0.0}``."""
        return {"cpu": float(self.cpu), "gpu": float(self.gpu)}

    def __str__(self) -> str:
        return f"{self.cpu:g} CPU, {self.gpu:g} GPU"


def machine() -> Resources:
    """What this process may use: the CPUs of its affinity mask, and the visible GPUs, found without starting CUDA."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:
        cpus = os.cpu_count() or 1
    return Resources(cpu=float(cpus), gpu=float(len(visible_gpus())))


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA would show, as ``CUDA_VISIBLE_DEVICES`` takes them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def request_from(given: Mapping[str, Any] | Resources | None) -> Resources:
    """``resources_per_trial`` as a value; one CPU where nothing is given.

    Raises:
        InvalidArgument: an unknown key or a value that is no number >= 0.
    """
    if given is None:
        return Resources()
    if isinstance(given, Resources):
        return given
    unknown = sorted(set(given) - {"cpu", "gpu"})
    if unknown:
        raise InvalidArgument(f"resources_per_trial has unknown entries {', '.join(unknown)}; known are cpu, gpu")
    return Resources(cpu=given.get("cpu", 1.0), gpu=given.get("gpu", 0.0))


def check_fits(request: Resources, total: Resources) -> int:
    """How many trials run at once.

    Raises:
        ResourcesUnavailable: not even one does.
    """
    n_slots = total.times_that_fit(request)
    if n_slots < 1:
        raise ResourcesUnavailable(f"a trial asks for {request}, but there is only {total}; ask for less per trial")
    return n_slots
