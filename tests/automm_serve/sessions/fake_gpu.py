"""CUDA's bindings and TensorRT's module, as far as a session calls them, on memory of the host.

They hold the session to the order that the real ones ask for, and fail where those would: a call of
a freed address, a run without an input's shape, an allocation while a graph is recorded. What they
cannot show is that the real ones behave so: no GPU has run this code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

SUCCESS, OUT_OF_MEMORY, INVALID, NO_DRIVER = 0, 2, 1, 35


class FakeCuda:
    """``cuda.bindings.runtime``: each call returns its error first."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self, memory_bytes: int = 2**20, devices: int = 1, records: bool = True) -> None:
        self.memory_bytes, self.devices, self.records = memory_bytes, devices, records
        self.live: dict[int, ctypes.Array[Any]] = {}
        self.streams: set[int] = set()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.calls: list[str] = []
        self._next = 100

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cuda") and name[4].isupper() and name not in _PLAIN:
            object.__getattribute__(self, "calls").append(name)
        return object.__getattribute__(self, name)

    def do(self, work: Callable[[], None]) -> None:
        """Work of a stream: later, where a graph is recorded."""
        if self.recording is not None:
            self.recording.append(work)
        else:
            work()

    def cudaSetDevice(self, device: int) -> tuple[int]:  # noqa: N802
        return (SUCCESS if device < self.devices else NO_DRIVER,)

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:  # noqa: N802
        return SUCCESS, f"error {error}".encode()

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:  # noqa: N802
        self.streams.add(self._number())
        return SUCCESS, self._next

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        self.streams.remove(stream)
        return (SUCCESS,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        return (SUCCESS if stream in self.streams and self.recording is None else INVALID,)

    def cudaMalloc(self, size: int) -> tuple[int, int | None]:  # noqa: N802
        used = sum(len(block) for block in self.live.values())
        if self.recording is not None or used + size > self.memory_bytes:
            return OUT_OF_MEMORY, None
        block = (ctypes.c_ubyte * size)()
        self.live[ctypes.addressof(block)] = block
        return SUCCESS, ctypes.addressof(block)

    cudaMallocHost = cudaMalloc  # noqa: N815

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        return (SUCCESS if self.live.pop(address, None) is not None else INVALID,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemcpyAsync(  # noqa: N802
        self, target: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[int]:
        if target not in self.live or source not in self.live or stream not in self.streams:
            return (INVALID,)
        self.do(lambda: _copy(target, source, size))
        return (SUCCESS,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:  # noqa: N802
        if not self.records:
            return (INVALID,)
        self.recording = []
        return (SUCCESS,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, int]:  # noqa: N802
        assert self.recording is not None
        self.graphs[self._number()] = self.recording
        self.recording = None
        return SUCCESS, self._next

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[int, int]:  # noqa: N802
        self.graphs[self._number()] = self.graphs[graph]
        return SUCCESS, self._next

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[int]:  # noqa: N802
        for work in self.graphs[graph]:
            work()
        return (SUCCESS,)

    def cudaGraphDestroy(self, graph: int) -> tuple[int]:  # noqa: N802
        del self.graphs[graph]
        return (SUCCESS,)

    cudaGraphExecDestroy = cudaGraphDestroy  # noqa: N815

    def _number(self) -> int:
        self._next += 1
        return self._next


_PLAIN = {"cudaMemcpyKind", "cudaStreamCaptureMode"}


class FakeContext:
    """An execution context: it doubles ``ids`` into ``twice``."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.profile: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return profile < self.engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.profile is not None
        least, _, most = self.engine.get_tensor_profile_shape(name, self.profile)
        self.shapes[name] = tuple(shape)
        return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        cuda = self.engine.cuda
        if self.engine.fails or stream not in cuda.streams:
            self.engine.log.log("error", "a kernel fails")
            return False
        shape = self.shapes["ids"]
        source, target = self.addresses["ids"], self.addresses["twice"]
        assert source in cuda.live
        assert target in cuda.live
        self.engine.runs.append((self.profile, shape))
        cuda.do(lambda: _double(source, target, shape))
        return True


class FakeEngine:
    def __init__(self, cuda: FakeCuda, log: Any, ranges: list[tuple[Any, Any, Any]]) -> None:
        self.cuda, self.log, self.ranges = cuda, log, ranges
        self.fails = False
        self.runs: list[tuple[int | None, tuple[int, ...]]] = []
        self.names = ["ids", "twice"]
        self.num_io_tensors, self.num_optimization_profiles = 2, len(ranges)

    def get_tensor_name(self, number: int) -> str:
        return self.names[number]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "ids" else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return "float"

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[Any, Any, Any]:
        return self.ranges[profile]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)


class FakeTrt:
    """``tensorrt`` or ``tensorrt_rtx``."""

    class ILogger:
        ERROR, INTERNAL_ERROR = "error", "internal error"

    class TensorIOMode:
        INPUT, OUTPUT = "input", "output"

    def __init__(self, cuda: FakeCuda, ranges: list[tuple[Any, Any, Any]]) -> None:
        self.__version__ = "10.1"
        self.cuda, self.ranges = cuda, ranges
        self.engine: FakeEngine | None = None

    def nptype(self, dtype: str) -> type[np.float32]:
        return np.float32

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        def deserialize(content: bytes) -> FakeEngine | None:
            if content != b"engine":
                log.log("error", "magic tag does not match")
                return None
            self.engine = FakeEngine(self.cuda, log, self.ranges)
            return self.engine

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


def _double(source: int, target: int, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    floats = [
        np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
        for address in (source, target)
    ]
    floats[1][:] = floats[0] * 2


def _copy(target: int, source: int, size: int) -> None:
    ctypes.memmove(target, source, size)
