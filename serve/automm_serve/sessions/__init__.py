"""Sessions run one graph each, whatever the library behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from automm_serve.engines import SUFFIXES, Engine
from automm_serve.errors import BundleError
from automm_serve.optional import require
from automm_serve.tensors import Tensors, TensorSpec

SESSIONS = {
    "onnxruntime": "automm_serve.sessions.onnxruntime",
    "tensorrt": "automm_serve.sessions.tensorrt",
    "bls": "automm_serve.sessions.bls",
    "torch": "automm_export.session",
}
"""Name -> module; imported when first asked for, because each stands on another library."""


class Session(Protocol):
    """What a ``LocalPredictor`` asks of a graph.

    Attributes:
        inputs: What ``run`` must be fed. Where the sizes of an axis are fewer than its processor
            makes, rows are padded to these.
        outputs: What ``run`` gives.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102

    def run(self, feed: Tensors) -> Tensors:
        """Run the graph once over whole rows."""
        ...

    def close(self) -> None:
        """Give back what the session holds; it cannot run afterwards."""
        ...


def open_session(
    path: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    threads: int | None = None,
    engine: Engine | None = None,
    device: int = 0,
) -> Session:
    """Open a graph's file by its ending: ONNX Runtime on the CPU, or TensorRT on a GPU.

    Args:
        path: Of the file.
        inputs: What it is fed.
        outputs: What it gives.
        threads: That one run may use on the CPU; the budget of the process where None.
        engine: What is known of the file, where it is an engine.
        device: Number of the GPU.

    Raises:
        BundleError: The file is no graph, or not this one.
        DeviceError: The GPU fails.
        MissingDependencyError: What runs it is not installed.
    """
    session: Session
    builder = next((name for name, suffix in SUFFIXES.items() if suffix == path.suffix), None)
    if builder is None:
        module = require(SESSIONS["onnxruntime"], purpose=str(path))
        session = module.OnnxRuntimeSession(path, inputs, outputs, threads)
    elif engine is None:
        raise BundleError(
            where=str(path),
            what="nothing is said of this engine",
            mend="Build it anew",
            command="automm compile BUNDLE",
        )
    else:
        module = require(SESSIONS["tensorrt"], purpose=str(path))
        trt = require(builder, purpose=str(path))
        session = module.TensorRTSession(path, engine, inputs, outputs, trt, device=device)
    return session
