"""Who uses what of a machine: CPUs and memory by amount, GPUs by device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuneflow.runner.resources import Available, Resources

__all__ = ["Slots", "Taken", "worker_environment"]

_EPSILON = 1e-9
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Taken(NamedTuple):
    """What one trial holds.

    Attributes:
        request: what it asked for.
        devices: indices of its GPUs among those of the machine.
    """

    request: Resources
    devices: tuple[int, ...]


class Slots:
    """The resources of one machine, handed out and given back.

    A fraction of a GPU goes to the device that has the least left and still holds it, so that whole devices stay
    whole; equal ones go by their order.

    Args:
        total: what there is.
        n_devices: GPUs; as many as ``total`` says by default.

    Example:
        >>> slots = Slots(Resources(cpu=4, gpu=2))
        >>> [slots.take(Resources(cpu=1, gpu=gpu)).devices for gpu in (0.5, 0.25, 1)]
        [(0,), (0,), (1,)]
        >>> slots.free().times_that_fit(Resources(cpu=1, gpu=0.25))
        1
    """

    def __init__(self, total: Resources, n_devices: int | None = None) -> None:
        self.total = total
        self._cpu, self._memory = total.cpu, total.memory_bytes
        self._shares = [1.0] * (int(total.gpu) if n_devices is None else n_devices)

    def free(self) -> Available:
        """What nobody holds."""
        return Available(
            cpu=max(0.0, self._cpu),
            gpu=float(sum(self._shares)),
            memory_bytes=max(0.0, self._memory),
            shares=tuple(self._shares),
        )

    def take(self, request: Resources) -> Taken:
        """Hands resources out. Where no device is left for a request, the ones with most left are shared."""
        self._cpu -= request.cpu
        if request.memory_bytes and self.total.memory_bytes:
            self._memory -= request.memory_bytes
        devices = self._devices_for(request.gpu)
        share = min(1.0, request.gpu)
        for index in devices:
            self._shares[index] -= share
        return Taken(request, devices)

    def give_back(self, taken: Taken) -> None:
        """Takes resources back."""
        self._cpu += taken.request.cpu
        if taken.request.memory_bytes and self.total.memory_bytes:
            self._memory += taken.request.memory_bytes
        for index in taken.devices:
            # Thirds do not add up to one: what is nearly whole is whole.
            whole = self._shares[index] + min(1.0, taken.request.gpu)
            self._shares[index] = 1.0 if whole > 1 - _EPSILON else whole

    def _devices_for(self, gpu: float) -> tuple[int, ...]:
        if gpu == 0 or not self._shares:
            return ()
        order = range(len(self._shares))
        if gpu >= 1:
            emptiest = sorted(order, key=lambda index: (-self._shares[index], index))
            return tuple(sorted(emptiest[: int(gpu)]))
        holding = [index for index in order if self._shares[index] >= gpu - _EPSILON]
        if not holding:
            return (max(order, key=lambda index: (self._shares[index], -index)),)
        return (min(holding, key=lambda index: (self._shares[index], index)),)


def worker_environment(
    request: Resources, devices: Sequence[str], inherited: Sequence[str] = ()
) -> tuple[tuple[str, str], ...]:
    """The variables that a worker is started with, before it imports anything.

    Args:
        request: what the trial asks for.
        devices: the GPUs it gets, as ``CUDA_VISIBLE_DEVICES`` takes them.
        inherited: names of variables that the user has set: thread counts among them stay as they are.
    """
    n_threads = str(max(1, int(request.cpu)))
    found = {"CUDA_VISIBLE_DEVICES": ",".join(devices)}
    found.update({name: n_threads for name in _THREADS if name not in inherited})
    if 0 < request.gpu < 1:
        found["TUNEFLOW_GPU_FRACTION"] = f"{request.gpu:.6g}"
        found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{request.gpu * 0.9:.3g}"
        found["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    return tuple(sorted(found.items()))
