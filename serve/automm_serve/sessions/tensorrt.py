"""A graph as an engine of TensorRT or TensorRT for RTX, with numpy and CUDA's bindings alone."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from automm_serve.engines import Engine
from automm_serve.errors import DataError, DeviceError, MissingDependencyError
from automm_serve.optional import EXTRAS, require
from automm_serve.sessions.cuda import Buffer, Stream
from automm_serve.sessions.engine_checks import (
    COMPILE,
    check_loaded,
    check_version,
    outside,
    shape_of,
    unlike,
)
from automm_serve.tensors import BATCH, Axis, Tensors, TensorSpec

MOST_GRAPHS = 16
"""Shapes whose runs are recorded at a time; the one that was not used for longest gives way."""

MOST_SHAPES = 256
"""Shapes of which is remembered that they occurred."""


class TensorRTSession:
    """Runs an engine on one GPU. Threads may share it: their runs follow one another.

    A shape that occurs again is recorded as a CUDA graph, copies and all. A shape outside of what
    the engine was built for is refused.

    Args:
        path: Of the engine.
        engine: What is known of it.
        inputs: What it is fed.
        outputs: What it gives.
        trt: ``tensorrt`` or ``tensorrt_rtx``, whichever built it.
        runtime: ``cuda.bindings.runtime``; imported where None.
        device: Number of the GPU.

    Attributes:
        max_batch: Most rows of one run.

    Raises:
        BundleError: The engine was built by another version, does not load, or is not as said.
        DeviceError: The GPU is not there, or lacks the memory.
        MissingDependencyError: The bindings of CUDA are not installed.
    """

    def __init__(
        self,
        path: Path,
        engine: Engine,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        trt: Any,
        *,
        runtime: Any = None,
        device: int = 0,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.max_batch = min(profile.axes[BATCH.name].max for profile in engine.profiles)
        self._path, self._record = path, engine
        self._lock = Lock()
        self._contexts: dict[int, Any] = {}
        self._graphs: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._seen: set[tuple[int, ...]] = set()
        self._unrecordable: set[tuple[int, ...]] = set()
        self._buffers: dict[str, Buffer] = {}
        self._live: Any = None
        check_version(path, engine, trt)
        runtime = runtime or _bindings(path, engine)
        self._stream: Stream | None = Stream(runtime, device)
        self._log = _logger(trt)
        try:
            self._runtime = trt.Runtime(self._log)
            self._live = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if self._live is None:
                raise unlike(path, f"{engine.builder} does not load it: {self._log.last}")
            check_loaded(path, engine, inputs, outputs, self._live, trt)
            self._buffers = {s.name: Buffer(self._stream) for s in (*inputs, *outputs)}
        except BaseException:
            self.close()
            raise

    def run(self, feed: Tensors) -> Tensors:
        """Run the graph; ``feed`` may hold more than it reads.

        Raises:
            DataError: The shapes lie outside of what the engine was built for.
            DeviceError: The GPU fails.
        """
        with self._lock:
            if self._live is None or self._stream is None:
                raise RuntimeError("the session is closed")
            self._stream.use()
            arrays = {
                spec.name: np.ascontiguousarray(feed[spec.name], spec.dtype) for spec in self.inputs
            }
            sizes = _sizes_of(self.inputs, arrays)
            profile = self._choose(sizes)
            shapes = {spec.name: shape_of(spec, sizes) for spec in self.outputs}
            self._make_room(arrays, shapes)
            for name, array in arrays.items():
                self._buffers[name].view(array.dtype, array.shape)[...] = array
            try:
                self._execute(profile, sizes, arrays, shapes)
            finally:  # whatever fails: the buffers are written to next
                self._stream.wait()
            return {
                spec.name: self._buffers[spec.name]
                .view(np.dtype(spec.dtype), shapes[spec.name])
                .copy()
                for spec in self.outputs
            }

    def close(self) -> None:
        """Give back the GPU's memory; what is under way ends first."""
        with self._lock:
            if self._stream is not None:
                with suppress(DeviceError):  # it may be another thread that closes
                    self._stream.use()
            self._forget_graphs()
            for buffer in self._buffers.values():
                buffer.close()
            self._buffers = {}
            self._contexts.clear()
            self._live = self._runtime = None
            if self._stream is not None:
                self._stream.close()
                self._stream = None

    def _choose(self, sizes: dict[str, int]) -> int:
        """The number of the tightest profile that takes these sizes."""
        fitting = [
            (sum(spread.max for spread in profile.axes.values()), number)
            for number, profile in enumerate(self._record.profiles)
            if profile.takes(sizes)
        ]
        if not fitting:
            raise outside(self._path, self._record.profiles, sizes)
        return min(fitting)[1]

    def _make_room(self, arrays: Tensors, shapes: dict[str, tuple[int, ...]]) -> None:
        wanted = {name: array.nbytes for name, array in arrays.items()}
        for spec in self.outputs:
            wanted[spec.name] = int(np.prod(shapes[spec.name])) * np.dtype(spec.dtype).itemsize
        if any(size > self._buffers[name].size_bytes for name, size in wanted.items()):
            self._forget_graphs()  # what was recorded holds the addresses of before
        for name, size in wanted.items():
            self._buffers[name].grow(max(1, size))

    def _execute(
        self,
        profile: int,
        sizes: dict[str, int],
        arrays: Tensors,
        shapes: dict[str, tuple[int, ...]],
    ) -> None:
        """Do the run, by a recorded graph where this shape occurred before."""
        assert self._stream is not None
        stream = self._stream
        key = (profile, *(size for _, size in sorted(sizes.items())))
        if key in self._graphs:
            self._graphs.move_to_end(key)
            stream.replay(self._graphs[key])
            return
        context = self._context(profile)
        for name, array in arrays.items():
            if not context.set_input_shape(name, array.shape):
                raise self._failure(f"it refuses {name} of shape {array.shape}")
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, buffer.device)

        def work() -> None:
            for name, array in arrays.items():
                stream.to_device(self._buffers[name], array.nbytes)
            if not context.execute_async_v3(stream.handle):
                raise self._failure("the run fails")
            for spec in self.outputs:
                size = int(np.prod(shapes[spec.name])) * np.dtype(spec.dtype).itemsize
                stream.to_host(self._buffers[spec.name], size)

        # The first run of a shape prepares what a recording may not do.
        if key in self._seen and key not in self._unrecordable and self._capturable(context):
            try:
                self._graphs[key] = stream.record(work)
            except DeviceError:
                self._unrecordable.add(key)
            else:
                if len(self._graphs) > MOST_GRAPHS:
                    stream.forget(self._graphs.popitem(last=False)[1])
                stream.replay(self._graphs[key])
                return
        if len(self._seen) < MOST_SHAPES:
            self._seen.add(key)
        work()

    def _context(self, profile: int) -> Any:
        """One context for each profile: a switch would invalidate what was recorded."""
        assert self._stream is not None
        if profile not in self._contexts:
            context = self._live.create_execution_context()
            if context is None:
                raise self._failure("there is not memory enough to run it")
            if not context.set_optimization_profile_async(profile, self._stream.handle):
                raise self._failure(f"it has no profile {profile}")
            self._stream.wait()
            self._contexts[profile] = context
        return self._contexts[profile]

    def _capturable(self, context: Any) -> bool:
        """TensorRT for RTX compiles kernels as shapes occur, and says whether it is done."""
        assert self._stream is not None
        asks = getattr(context, "is_stream_capturable", None)
        return asks is None or bool(asks(self._stream.handle))

    def _forget_graphs(self) -> None:
        while self._graphs and self._stream is not None:
            self._stream.forget(self._graphs.popitem()[1])
        self._seen.clear()

    def _failure(self, what: str) -> DeviceError:
        return DeviceError(
            where=str(self._path),
            what=f"{what}: {self._log.last or 'no reason is given'}",
            mend="Free memory of the GPU, or build the engine anew on this machine",
            command=COMPILE,
        )


def _bindings(path: Path, engine: Engine) -> Any:
    """CUDA's bindings; each builder has an extra of its own, and both bring them."""
    try:
        return require("cuda.bindings.runtime", purpose=str(path))
    except MissingDependencyError as error:
        raise MissingDependencyError(
            where=error.where,
            what=error.what,
            mend=error.mend,
            command=f"pip install 'automm-edge[{EXTRAS[engine.builder]}]'",
        ) from error


def _sizes_of(specs: tuple[TensorSpec, ...], arrays: Tensors) -> dict[str, int]:
    """The size of each axis that varies."""
    sizes: dict[str, int] = {}
    for spec in specs:
        shape = arrays[spec.name].shape
        for axis, size in zip(spec.shape, shape, strict=True):
            expected = sizes.setdefault(axis.name, size) if isinstance(axis, Axis) else axis
            if size != expected:
                raise DataError(
                    where=f"tensor {spec.name!r}",
                    what=f"its shape is {shape}, where {expected} was expected",
                    mend="Feed tensors whose equal axes have equal sizes",
                )
    return sizes


def _logger(trt: Any) -> Any:
    """A logger that keeps the last error; TensorRT tells reasons nowhere else."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the module is known at run time alone
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last = message

    return Log()
