"""GPUs, asked of the driver; the driver is a stand-in, because no test machine has one."""

from __future__ import annotations

import ctypes
from typing import Any

from automm_serve.gpu import find_gpus


class Driver:
    """``libcuda``: it writes through the pointers that it is given."""

    def __init__(self, count: int, status: int = 0) -> None:
        self.count, self.status = count, status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = f"Card {device.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:  # noqa: N802
        memory._obj.value = (device.value + 1) * 2**30
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 12, 76: device.value}[attribute]
        return 0


def test_each_gpu_is_named_with_its_capability_and_memory():
    first, second = find_gpus(Driver(2))
    assert first == ("Card 0", "12.0", 2**30)
    assert second == ("Card 1", "12.1", 2**31)


def test_without_a_device_or_a_driver_there_is_none(monkeypatch):
    assert find_gpus(Driver(0)) == ()
    assert find_gpus(Driver(1, status=100)) == ()

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert find_gpus() == ()
