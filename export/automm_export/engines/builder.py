"""One builder for two libraries: ``tensorrt`` and ``tensorrt_rtx`` are modules of one interface.

The types of numbers come from the graph (a strongly typed network), so that fp16 and int8 are what
was measured, and not what a builder may choose. What one of the two lacks is asked for with
``hasattr``; nothing here asks for a version.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from automm_export.engines.job import Done, Event, Failed, Job, Node
from automm_export.engines.messages import operator_of, read_failure
from automm_export.engines.profiles import shapes_of, varies
from automm_export.engines.progress import Progress
from automm_serve.precisions import FP32


class BuildError(Exception):
    """A build failed.

    Attributes:
        failed: Of what.
    """

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.what)
        self.failed = failed


def build_engine(
    trt: ModuleType,
    job: Job,
    tell: Callable[[Event], None] = lambda event: None,
    stop: threading.Event | None = None,
) -> Done:
    """Build one engine and write its file.

    Args:
        trt: ``tensorrt`` or ``tensorrt_rtx``.
        job: What to build.
        tell: Is told how far it is.
        stop: When it is set, the build ends at its next step.

    Raises:
        BuildError: There is no engine, and no file.
    """
    messages = _Messages(trt)
    # Every object of the builder is let go before this returns: the library keeps the first
    # logger that it was given for as long as any of them is there, and ignores the next.
    builder = trt.Builder(messages.logger)
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    if hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):  # before TensorRT 10
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse_from_file(job.graph):
        raise BuildError(_read_parser(parser, messages.errors))
    decompose_attention(trt, network)
    layers = [network.get_layer(number).name for number in range(network.num_layers)]
    config = builder.create_builder_config()
    _configure(trt, config, job)
    for profile in job.profiles:
        shapes = builder.create_optimization_profile()
        for spec in filter(varies, job.inputs):
            shapes.set_shape(spec.name, *shapes_of(profile, spec))
        config.add_optimization_profile(shapes)
    if hasattr(config, "progress_monitor"):  # from TensorRT 8.6 on
        config.progress_monitor = _monitor(trt, Progress(tell, stop or threading.Event()))
    cache = _Timings(config, job.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(read_failure(messages.errors, layers))
    cache.keep()
    size = _write(Path(job.engine), plan)
    return Done(str(trt.__version__), size)


def decompose_attention(trt: ModuleType, network: Any) -> int:
    """Let each ``Attention`` be taken apart, as the kernels for it are fp16 alone; return how many.

    A layer that comes from the network is of the class ``ILayer``, and has the attention only
    once it is given its own class.
    """
    kind = getattr(trt.LayerType, "ATTENTION_INPUT", None)
    count = 0
    for number in range(network.num_layers if kind is not None else 0):
        layer = network.get_layer(number)
        if layer.type == kind:
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True
            count += 1
    return count


def _configure(trt: ModuleType, config: Any, job: Job) -> None:
    if hasattr(config, "num_compute_capabilities") and job.capabilities:
        config.num_compute_capabilities = len(job.capabilities)
        for number, name in enumerate(job.capabilities):
            config.set_compute_capability(_capability(trt, name), number)
    if job.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_mb << 20)
    typed = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    if job.precision == "fp16" and not typed and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)  # old: without it, fp16 graphs are widened
    if job.precision == FP32 and hasattr(trt.BuilderFlag, "TF32"):
        # On by default; it keeps ten bits of a product, and fp32 answers shall be those of torch.
        config.clear_flag(trt.BuilderFlag.TF32)


def _capability(trt: ModuleType, name: str) -> Any:
    enum = trt.ComputeCapability
    member = "SM" + name.replace(".", "")
    if not hasattr(enum, member):
        known = ", ".join(key for key in enum.__members__ if key.startswith("SM"))
        raise BuildError(
            Failed(
                "other",
                f"version {trt.__version__} does not know compute capability {name}, only {known}",
            )
        )
    return getattr(enum, member)


def _read_parser(parser: Any, messages: list[str]) -> Failed:
    """What the parser found; it goes on behind an unsupported operator, and so names them all."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    nodes, words = [], []
    for error in errors:
        name = error.node_name() if hasattr(error, "node_name") else ""
        operator = error.node_operator() if hasattr(error, "node_operator") else ""
        if operator and not parser.supports_operator(operator):
            nodes.append(Node(name, operator))
        words.append(error.desc())
    if nodes:
        return Failed("operator", "unsupported operators", tuple(dict.fromkeys(nodes)))
    names = [e.node_name() for e in errors if hasattr(e, "node_name") and e.node_name()]
    failed = read_failure(words or messages, names)
    about = failed.nodes or tuple(Node(name, operator_of(name)) for name in names)
    cause = "node" if about and failed.cause == "other" else failed.cause
    return Failed(cause, failed.what, about)


class _Messages:
    """What the builder says; its logger must be a class of its own module."""

    def __init__(self, trt: ModuleType) -> None:
        self.errors: list[str] = []
        severity = trt.ILogger.Severity
        grave, errors = (severity.INTERNAL_ERROR, severity.ERROR), self.errors

        class Logger(trt.ILogger):  # type: ignore[misc,name-defined]  # a class of the module given
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, level: Any, text: str) -> None:
                if level in grave:
                    errors.append(text)

        self.logger = Logger()


def _monitor(trt: ModuleType, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]  # as above
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            progress.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            return progress.step(name, step)

        def phase_finish(self, name: str) -> None:
            progress.finish(name)

    return Monitor()


class _Timings:
    """The timing cache of TensorRT: what kernels took on this GPU, so that a next build is quick.

    Never of TensorRT for RTX, which times nothing ahead: its cache is empty, and crashes when it
    is written.
    """

    def __init__(self, config: Any, path: str) -> None:
        self._config, self._path = config, Path(path) if path else None
        if self._path is None:
            return
        try:
            kept = self._path.read_bytes()
        except OSError:
            kept = b""
        # One of another GPU or version is refused; the build then only takes longer.
        self._cache = config.create_timing_cache(kept)
        if not config.set_timing_cache(self._cache, ignore_mismatch=False):
            self._cache = config.create_timing_cache(b"")
            config.set_timing_cache(self._cache, ignore_mismatch=False)

    def keep(self) -> None:
        """Write it, whole or not at all; a build is no worse without."""
        if self._path is None:
            return
        content = memoryview(self._config.get_timing_cache().serialize())
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_bytes(content)
            scratch.replace(self._path)
        except OSError:
            scratch.unlink(missing_ok=True)


def _write(path: Path, plan: Any) -> int:
    path.unlink(missing_ok=True)  # it may be a link to the engine of the bundle that is compiled
    try:
        return path.write_bytes(memoryview(plan))
    except OSError as error:
        path.unlink(missing_ok=True)
        words = error.strerror or str(error)
        if error.errno == errno.ENOSPC:
            words += f" ({path.parent})"
        raise BuildError(Failed("disk", words)) from error
