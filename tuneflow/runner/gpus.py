"""Which GPUs there are, found without starting CUDA: a process that has started it can hand no device to others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Gpus", "find_gpus", "visible_names"]


class Gpus(NamedTuple):
    """The GPUs that this process may use.

    Attributes:
        names: as ``CUDA_VISIBLE_DEVICES`` takes them: UUIDs, or the indices that it held.
        problem: why there may be more than were found; "" where nothing stood in the way.
    """

    names: tuple[str, ...]
    problem: str = ""


def find_gpus(environment: Mapping[str, str] | None = None) -> Gpus:
    """The visible GPUs, a MIG instance counting as one.

    Without ``CUDA_VISIBLE_DEVICES`` they are listed by UUID through NVML, because CUDA's own numbers need not be those
    of NVML. With it, its entries are passed on as they are, up to the first that names no device, as CUDA does.

    Args:
        environment: of this process by default.
    """
    visible = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip():
        return Gpus((), "CUDA_VISIBLE_DEVICES is empty")
    try:
        import pynvml
    except ImportError:
        if visible is not None:
            return Gpus(visible_names(visible, None))
        return Gpus((), "nvidia-ml-py, which finds GPUs, is not installed; run: pip install 'tuneflow[gpu]'")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Gpus((), f"NVIDIA's driver does not answer: {error}")
    try:
        uuids, n_devices = _uuids(pynvml)
    finally:
        pynvml.nvmlShutdown()
    if visible is None:
        return Gpus(tuple(uuids))
    return Gpus(visible_names(visible, uuids, n_devices), f"CUDA_VISIBLE_DEVICES={visible}")


def visible_names(visible: str, uuids: list[str] | None, n_devices: int | None = None) -> tuple[str, ...]:
    """The entries of ``CUDA_VISIBLE_DEVICES`` that CUDA would take: those before the first that names no device.

    Args:
        visible: the variable.
        uuids: of all devices; None where they are not known, so that an entry cannot be checked.
        n_devices: how many indices there are; as many as UUIDs by default.
    """
    count = n_devices if n_devices is not None else None if uuids is None else len(uuids)
    names: list[str] = []
    for entry in visible.split(","):
        name = entry.strip()
        if name.isdecimal():
            is_device = count is None or int(name) < count
        else:  # a UUID may be cut short where it stays unique; "none" and "-1", which hide all, are none
            is_device = name.startswith(("GPU-", "MIG-")) and (
                uuids is None or sum(uuid.startswith(name) for uuid in uuids) == 1
            )
        if not is_device or name in names:
            break
        names.append(name)
    return tuple(names)


def _uuids(nvml: Any) -> tuple[list[str], int]:
    """UUIDs of all devices, those of the instances in place of a device that is split by MIG; and the device count."""
    uuids: list[str] = []
    count = nvml.nvmlDeviceGetCount()
    for index in range(count):
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        instances = _mig_instances(nvml, device)
        uuids += [_text(nvml.nvmlDeviceGetUUID(found)) for found in (instances or [device])]
    return uuids, count


def _mig_instances(nvml: Any, device: Any) -> list[Any]:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(device)
        if not current:
            return []
        found = []
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
            try:
                found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index))
            except nvml.NVMLError:  # a place that holds no instance
                continue
    except nvml.NVMLError:  # a device that cannot be split
        return []
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
