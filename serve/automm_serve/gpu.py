"""The NVIDIA GPUs that this process sees, asked of the driver: no package and no program needed."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

_DRIVER = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""Numbers of ``CUdevice_attribute``."""


class Gpu(NamedTuple):
    """One GPU.

    Attributes:
        name: As its driver calls it.
        capability: Compute capability, ``8.6``: which engines run on it.
        memory_bytes: All of its memory.
    """

    name: str
    capability: str
    memory_bytes: int


def find_gpus(driver: Any = None) -> tuple[Gpu, ...]:
    """Return the GPUs in the order of their numbers; none where there is no driver.

    ``CUDA_VISIBLE_DEVICES`` counts, as for every CUDA program.

    Args:
        driver: The library; the machine's where None.
    """
    if driver is None:
        try:
            driver = ctypes.CDLL(_DRIVER)
        except OSError:
            return ()
    count = ctypes.c_int()
    # Calls return 0 where they succeed; without a device even the first one does not.
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_describe(driver, number) for number in range(count.value))


def _describe(driver: Any, number: int) -> Gpu:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(128)
    driver.cuDeviceGet(ctypes.byref(device), number)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    parts = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    return Gpu(name.value.decode(errors="replace"), ".".join(parts), memory.value)
