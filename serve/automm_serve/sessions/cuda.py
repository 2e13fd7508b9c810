"""CUDA as a session needs it: one stream, memory on both sides, recorded graphs; errors are raised.

Stands on ``cuda.bindings.runtime``, whose calls return their error beside the result.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automm_serve.errors import DeviceError

NON_BLOCKING = 1
"""``cudaStreamNonBlocking``: the stream does not wait for the default one."""


class Stream:
    """A stream on one GPU, and what is copied and recorded on it.

    Args:
        runtime: ``cuda.bindings.runtime``.
        device: Number of the GPU.

    Raises:
        DeviceError: There is no such GPU, or its driver does not work.
    """

    def __init__(self, runtime: Any, device: int = 0) -> None:
        self._runtime = runtime
        self._device = device
        self.use()
        self._live: Any = self.call("cudaStreamCreateWithFlags", NON_BLOCKING)

    @property
    def handle(self) -> int:
        """As TensorRT takes it."""
        return int(self._live)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of CUDA, and return what it gives beside its error.

        Raises:
            DeviceError: It fails.
        """
        error, *found = getattr(self._runtime, name)(*arguments)
        if int(error):
            raise DeviceError(
                where=f"CUDA, GPU {self._device}",
                what=f"{name}: {self._explain(error)}",
                mend="See whether another program holds the GPU or its memory, and that the driver "
                "is new enough for this CUDA: nvidia-smi",
            )
        return found[0] if found else None

    def use(self) -> None:
        """Let this thread's calls go to the GPU: CUDA keeps that for each thread."""
        self.call("cudaSetDevice", self._device)

    def to_device(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy from the host's side of a buffer to the GPU's, in the order of the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", buffer.device, buffer.host, size_bytes, kind, self._live)

    def to_host(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy from the GPU's side of a buffer to the host's, in the order of the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", buffer.host, buffer.device, size_bytes, kind, self._live)

    def wait(self) -> None:
        """Wait until all that was asked of the stream is done."""
        self.call("cudaStreamSynchronize", self._live)

    def record(self, work: Callable[[], None]) -> Any:
        """Record what ``work`` asks of the stream, without doing it.

        Returns:
            What ``replay`` does and ``forget`` frees.

        Raises:
            DeviceError: Something in it cannot be recorded; the stream is as before.
        """
        # A failed call of another thread must not end the recording, nor this one theirs.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self._live, mode)
        try:
            work()
        except BaseException:
            with suppress(DeviceError):
                self.call("cudaGraphDestroy", self.call("cudaStreamEndCapture", self._live))
            raise
        graph = self.call("cudaStreamEndCapture", self._live)
        try:
            return self.call("cudaGraphInstantiate", graph, 0)
        finally:
            self.call("cudaGraphDestroy", graph)

    def replay(self, recorded: Any) -> None:
        """Do what was recorded."""
        self.call("cudaGraphLaunch", recorded, self._live)

    def forget(self, recorded: Any) -> None:
        """Free what was recorded."""
        self.call("cudaGraphExecDestroy", recorded)

    def close(self) -> None:
        """Give the stream back."""
        if self._live is not None:
            live, self._live = self._live, None
            with suppress(DeviceError):
                self.call("cudaStreamDestroy", live)

    def _explain(self, error: Any) -> str:
        _, text = self._runtime.cudaGetErrorString(error)
        return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


class Buffer:
    """Memory on both sides: pinned on the host, because only that is copied while others run.

    Attributes:
        host: Address on the host.
        device: Address on the GPU.
        size_bytes: Of each.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.host, self.device, self.size_bytes = 0, 0, 0

    def grow(self, size_bytes: int) -> None:
        """Hold at least so much; the addresses may be others afterwards.

        Raises:
            DeviceError: There is not as much.
        """
        if size_bytes <= self.size_bytes:
            return
        self.close()
        self.host = int(self._stream.call("cudaMallocHost", size_bytes))
        self.device = int(self._stream.call("cudaMalloc", size_bytes))
        self.size_bytes = size_bytes

    def view(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the host's side as an array; it is overwritten by the next run."""
        count = int(np.prod(shape)) * dtype.itemsize
        raw = np.ctypeslib.as_array((ctypes.c_ubyte * count).from_address(self.host))
        return raw.view(dtype).reshape(shape)

    def close(self) -> None:
        """Give both back."""
        for name, address in (("cudaFree", self.device), ("cudaFreeHost", self.host)):
            if address:
                with suppress(DeviceError):  # a GPU that failed has lost them already
                    self._stream.call(name, address)
        self.host, self.device, self.size_bytes = 0, 0, 0
