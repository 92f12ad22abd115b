"""Which GPUs there are, found without starting CUDA: a process that has started it can hand no device to others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Gpus", "find_gpus", "visible_names"]


_OF_PARENT = re.compile(r"MIG-GPU-[0-9a-f-]+/\d+/\d+$")


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
        uuids, n_devices, problem = _uuids(pynvml)
    except pynvml.NVMLError as error:
        return Gpus((), f"NVIDIA's driver does not list its devices: {error}")
    finally:
        pynvml.nvmlShutdown()
    if visible is None:
        return Gpus(tuple(uuids), problem)
    problems = (f"CUDA_VISIBLE_DEVICES={visible}", problem)
    return Gpus(visible_names(visible, uuids, n_devices), "; ".join(filter(None, problems)))


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
                uuids is None
                or sum(uuid.startswith(name) for uuid in uuids) == 1
                or _OF_PARENT.match(name) is not None  # CUDA's other name of an instance, which NVML no longer gives
            )
        if not is_device or name in names:
            break
        names.append(name)
    return tuple(names)


def _uuids(nvml: Any) -> tuple[list[str], int, str]:
    """UUIDs of all devices, those of the instances in place of a device that is split by MIG; how many devices; and
    which are not this process's.

    NVML counts the devices of the whole machine, and refuses those that a scheduler or a container keeps from this
    process, or that have fallen off the bus. CUDA does not count these.
    """
    uuids: list[str] = []
    n_devices = 0
    problems: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            found = [_text(nvml.nvmlDeviceGetUUID(part)) for part in _parts(nvml, device)]
        except nvml.NVMLError as error:
            problems.append(f"device {index} of the machine cannot be used: {error}")
            continue
        n_devices += 1
        if not found:
            problems.append(f"device {index} of the machine is in MIG mode and has no instance")
        uuids += found
    return uuids, n_devices, "; ".join(problems)


def _parts(nvml: Any, device: Any) -> list[Any]:
    """The device; of one in MIG mode its instances, since CUDA takes nothing else of it."""
    try:
        is_split, _ = nvml.nvmlDeviceGetMigMode(device)
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(device) if is_split else 0
    except nvml.NVMLError:  # a device that cannot be split
        return [device]
    if not is_split:
        return [device]
    found = []
    for index in range(count):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index))
        except nvml.NVMLError:  # a place that holds no instance
            continue
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
