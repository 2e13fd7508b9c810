"""Where a bundle runs in this process: the CPU, a provider of ONNX Runtime, or an engine itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from automm_serve.cache import cache_folder
from automm_serve.engines import BuilderName, Engine, precision_of
from automm_serve.errors import (
    BundleError,
    ConfigError,
    DeviceError,
    MissingDependencyError,
    unknown_name,
)
from automm_serve.gpu import Gpu, find_gpus
from automm_serve.manifest import GraphFiles, Manifest
from automm_serve.optional import require
from automm_serve.precisions import CPU_FILES, FP32, GPU_FILES, PRECISIONS, find_precision
from automm_serve.sessions import SESSIONS, Session, open_session
from automm_serve.sessions.providers import (
    BATCH_SIZE,
    CUDA_OPTIONS,
    narrow,
    tensorrt_options,
)


class DeviceWarning(UserWarning):
    """A GPU is here, and something else runs."""


class Wanted(NamedTuple):
    """What is to be opened.

    Attributes:
        path: Of the bundle.
        manifest: Of it.
        precision: Asked for; the bundle's default, as far as a device can run it, where None.
        threads: That one run on the CPU may use.
        gpus: Of this machine.
    """

    path: Path
    manifest: Manifest
    precision: str | None
    threads: int | None
    gpus: tuple[Gpu, ...]


class Opened(NamedTuple):
    """Sessions of a bundle, and where they run.

    Attributes:
        sessions: Graph -> its session.
        device: One of ``DEVICES``.
        precision: In which the graphs are.
        batch_size: Most rows of one run.
    """

    sessions: dict[str, Session]
    device: str
    precision: str
    batch_size: int = BATCH_SIZE


def open_sessions(
    path: Path,
    manifest: Manifest,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    gpus: tuple[Gpu, ...] | None = None,
) -> Opened:
    """Open every graph of a bundle on a device.

    Args:
        path: Of the bundle.
        manifest: Of it.
        device: One of ``DEVICES``, or ``"auto"``: an engine that was built for this GPU, else
            ONNX Runtime on the GPU, else the CPU; a ``DeviceWarning`` says why a GPU that is here
            is not used, or an engine that lies there.
        precision: The bundle's default, as far as the device can run it, where None.
        threads: That one run on the CPU may use; the budget of the process where None.
        gpus: Of this machine; looked for where None.

    Raises:
        ConfigError: There is no such device or precision, or the two do not go together.
        DeviceError: The device is not here, or does not work.
        BundleError: A graph cannot be loaded, or an engine was built for something else.
        MissingDependencyError: What runs it is not installed.
    """
    if device not in ("auto", *DEVICES):
        raise unknown_name("device", device, ("auto", *DEVICES))
    if precision is not None:
        check_precision(path, manifest, precision)
    wanted = Wanted(path, manifest, precision, threads, find_gpus() if gpus is None else gpus)
    return _open_best(wanted) if device == "auto" else DEVICES[device](wanted)


def check_precision(path: Path, manifest: Manifest, precision: str) -> None:
    """Refuse a precision that a bundle has not.

    Raises:
        ConfigError: There is no such precision, or not in this bundle.
    """
    find_precision(precision)
    known = precisions_of(manifest)
    if precision not in known:
        raise ConfigError(
            where=f"precision {precision!r}",
            what=f"the bundle {path} has {', '.join(known)} alone",
            mend="Choose among these, or export it anew",
            command=f"automm export PREDICTOR --out {path} --replace --precision {precision}",
        )


def check_engine(path: Path, manifest: Manifest, graph: GraphFiles, engine: Engine) -> None:
    """Refuse an engine that was built from another graph than lies beside it.

    Raises:
        BundleError: It was.
    """
    now = {manifest.files[name].sha256 for name in graph.files.values()}
    if engine.graph_sha256 not in now:
        raise BundleError(
            where=str(path / engine.path),
            what="it was built from another graph than the one that lies beside it",
            mend="Build it anew on this machine",
            command=f"automm compile {path}",
        )


def _open_best(wanted: Wanted) -> Opened:
    """The fastest that works; where a GPU is here, it is said what does not and why."""
    candidates: list[tuple[str, Callable[[Wanted, str], Opened]]] = []
    if wanted.gpus:
        candidates += [(name, _by_engine) for name in ENGINES if _has_engines(wanted, name)]
        candidates += [(name, _by_provider) for name in PROVIDERS]
    refused = []
    for name, attempt in candidates:
        try:
            opened = attempt(wanted, name)
        except (BundleError, ConfigError, DeviceError, MissingDependencyError) as error:
            refused.append(f"{name}: {error.where}: {error.what}")
            continue
        break
    else:
        opened = _on_cpu(wanted)
    if refused:
        what = f"{wanted.gpus[0].name} is here, and the bundle runs on {opened.device!r}"
        warnings.warn("; ".join([what, *refused]), DeviceWarning, stacklevel=2)
    return opened


def _on_cpu(wanted: Wanted) -> Opened:
    precision = _precision_for(wanted, "cpu", CPU_FILES)

    def open_one(graph: GraphFiles) -> Session:
        path = wanted.path / graph.files[CPU_FILES[precision]]
        return open_session(path, graph.inputs, graph.outputs, threads=wanted.threads)

    return Opened(_open_all(wanted, open_one), "cpu", precision)


def _on_gpu(wanted: Wanted, device: str) -> Opened:
    """An engine of the bundle, or where it has none for this device, ONNX Runtime's provider."""
    if not wanted.gpus:
        raise DeviceError(
            where=f"device {device!r}",
            what="no NVIDIA GPU is seen here",
            mend="Pass device='cpu', or 'auto'. Where there is one, see whether its driver runs: "
            "nvidia-smi",
        )
    if device not in PROVIDERS or _has_engines(wanted, device):
        return _by_engine(wanted, device)
    return _by_provider(wanted, device)


def _by_engine(wanted: Wanted, device: str) -> Opened:
    precision = _precision_for(wanted, device, GPU_FILES)
    capability = wanted.gpus[0].capability

    def open_one(graph: GraphFiles) -> Session:
        engine = _fitting(wanted, graph, device, precision, capability)
        check_engine(wanted.path, wanted.manifest, graph, engine)
        inputs = narrow(graph.inputs, wanted.manifest.lengths)
        return open_session(wanted.path / engine.path, inputs, graph.outputs, engine=engine)

    sessions = _open_all(wanted, open_one)
    most = min(getattr(session, "max_batch", BATCH_SIZE) for session in sessions.values())
    return Opened(sessions, device, precision, min(BATCH_SIZE, most))


def _by_provider(wanted: Wanted, device: str) -> Opened:
    precision = _precision_for(wanted, device, GPU_FILES)

    def open_one(graph: GraphFiles) -> Session:
        module = require(SESSIONS["onnxruntime"], purpose=f"device {device!r}")
        inputs = narrow(graph.inputs, wanted.manifest.lengths)
        providers = [("CUDAExecutionProvider", CUDA_OPTIONS)]
        if device == "tensorrt":
            folder = cache_folder(wanted.manifest.content_sha256) / "tensorrt"
            folder.mkdir(parents=True, exist_ok=True)
            providers.insert(0, ("TensorrtExecutionProvider", tensorrt_options(inputs, folder)))
        path = wanted.path / graph.files[GPU_FILES[precision]]
        session: Session = module.OnnxRuntimeSession(
            path, inputs, graph.outputs, wanted.threads, providers
        )
        return session

    return Opened(_open_all(wanted, open_one), device, precision)


PROVIDERS = ("tensorrt", "cuda")
"""Devices that ONNX Runtime has a provider for."""

ENGINES: Mapping[str, BuilderName] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx"}
"""Devices that run engines -> of whose making."""

DEVICES: Mapping[str, Callable[[Wanted], Opened]] = {
    "cpu": _on_cpu,
    "cuda": lambda wanted: _on_gpu(wanted, "cuda"),
    "tensorrt": lambda wanted: _on_gpu(wanted, "tensorrt"),
    "tensorrt_rtx": lambda wanted: _on_gpu(wanted, "tensorrt_rtx"),
}
"""Name -> what opens a bundle there."""


def _open_all(wanted: Wanted, open_one: Callable[[GraphFiles], Session]) -> dict[str, Session]:
    """All or none: what was opened before one that fails is closed."""
    sessions: dict[str, Session] = {}
    try:
        for name, graph in wanted.manifest.graphs.items():
            sessions[name] = open_one(graph)
    except BaseException:
        for session in sessions.values():
            session.close()
        raise
    return sessions


def precisions_of(manifest: Manifest) -> list[str]:
    """Return the precisions that every graph of a bundle exists in, in whatever form."""
    every = [{precision_of(key) for key in g.files} for g in manifest.graphs.values()]
    return [name for name in PRECISIONS if all(name in known for known in every)]


def runnable_precisions(manifest: Manifest, files: Mapping[str, str]) -> list[str]:
    """Return those that can run where ``files`` says which file of a graph runs."""
    graphs = manifest.graphs.values()
    return [name for name, key in files.items() if all(key in graph.files for graph in graphs)]


def _precision_for(wanted: Wanted, device: str, files: Mapping[str, str]) -> str:
    """The one asked for, or the bundle's default, or fp32 where the device cannot run that."""
    can = runnable_precisions(wanted.manifest, files)
    if wanted.precision is None:
        default = wanted.manifest.default_precision
        return default if default in can else FP32
    if wanted.precision not in can:
        raise ConfigError(
            where=f"precision {wanted.precision!r}",
            what=f"the device {device!r} cannot run it, but {', '.join(can)} of this bundle",
            mend="Choose one of these, or another device with --device",
        )
    return wanted.precision


def _has_engines(wanted: Wanted, device: str) -> bool:
    return any(
        engine.builder == ENGINES.get(device)
        for graph in wanted.manifest.graphs.values()
        for engine in graph.engines
    )


def _fitting(
    wanted: Wanted, graph: GraphFiles, device: str, precision: str, capability: str
) -> Engine:
    """The engine of a graph for this GPU."""
    made = [
        engine
        for engine in graph.engines
        if engine.builder == ENGINES[device] and precision_of(engine.precision) == precision
    ]
    for engine in made:
        if capability in engine.capabilities:
            return engine
    found = sorted({name for engine in made for name in engine.capabilities})
    gpu = wanted.gpus[0]
    raise BundleError(
        where=f"bundle {wanted.path}",
        what=f"its {device} engines of {precision} are for compute capability "
        f"{', '.join(found)}, and {gpu.name} has {capability}"
        if found
        else f"it has no {device} engine of {precision}",
        mend="Build one on this machine",
        command=f"automm compile {wanted.path}",
    )
