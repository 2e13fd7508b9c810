"""What ``benchmarks/gpu.py`` compares: ways of running one graph, each from host to host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automm_export.engines.apart import build_apart
from automm_export.engines.job import Job
from automm_export.engines.options import EngineOptions
from automm_export.engines.profiles import make_profiles
from automm_export.graph import Graph
from automm_serve.engines import Engine
from automm_serve.optional import require
from automm_serve.sessions.onnxruntime import CPU, CUDA, OnnxRuntimeSession
from automm_serve.sessions.tensorrt import TensorRTSession
from automm_serve.tensors import Tensors
from automm_serve.verify import file_digest

Run = Callable[[Tensors], Tensors]

BATCH_ROWS = 32
FP32, FP16 = "model.onnx", "model.fp16.onnx"


def torch_fp32(graph: Graph, folder: Path, device: str) -> Run:
    """The module as it was trained."""
    live = graph.to(device)
    return lambda feed: _run(live, _to(feed, device))


def torch_fp16(graph: Graph, folder: Path, device: str) -> Run:
    """The module in 16 bits, but for what imputes and scales."""
    live = to_half(graph).to(device)
    return lambda feed: _run(live, _halved(_to(feed, device)))


def torch_compiled(graph: Graph, folder: Path, device: str) -> Run:
    """The same, compiled, its runs recorded as CUDA graphs: one for each shape."""
    live = torch.compile(to_half(graph).to(device), mode="reduce-overhead", dynamic=False)
    return lambda feed: _run(live, _halved(_to(feed, device)))


def onnxruntime_fp16(graph: Graph, folder: Path, device: str) -> Run:
    """The file in fp16 under ONNX Runtime; its CUDA provider must really be there."""
    providers: Any = ((CUDA, {}), (CPU, {})) if device == "cuda" else ((CPU, {}),)
    session = OnnxRuntimeSession(
        folder / FP16, graph.inputs, graph.outputs, threads=1, providers=providers
    )
    return session.run


def tensorrt_fp16(graph: Graph, folder: Path, device: str) -> Run:
    """The file in fp16 as an engine of TensorRT, built on this GPU."""
    if device != "cuda":
        raise RuntimeError("TensorRT builds and runs on a GPU alone")
    trt = require("tensorrt", purpose="the column TensorRT")
    options = EngineOptions(min_batch=1, opt_batch=BATCH_ROWS, max_batch=BATCH_ROWS)
    profiles = make_profiles(graph.inputs, options)
    path = folder / "model.plan"
    job = Job(
        builder="tensorrt",
        graph=str(folder / FP16),
        engine=str(path),
        inputs=graph.inputs,
        profiles=profiles,
        precision="fp16",
    )
    made = build_apart(job)
    major, minor = torch.cuda.get_device_capability()
    engine = Engine(
        path=path.name,
        builder="tensorrt",
        version=made.version,
        precision="fp16",
        capabilities=(f"{major}.{minor}",),
        device=torch.cuda.get_device_name(),
        profiles=profiles,
        graph_sha256=file_digest(folder / FP16),
    )
    return TensorRTSession(path, engine, graph.inputs, graph.outputs, trt).run


COLUMNS: Mapping[str, Callable[[Graph, Path, str], Run]] = {
    "torch fp32": torch_fp32,
    "torch fp16": torch_fp16,
    "torch.compile fp16": torch_compiled,
    "ONNX Runtime fp16": onnxruntime_fp16,
    "TensorRT fp16": tensorrt_fp16,
}
"""Name -> graph, folder of its files, device -> what runs it."""


def to_half(graph: Graph) -> Graph:
    """Bring a graph to 16 bits in place; the modules marked ``keep_fp32`` stay, their outputs not.

    The calling code halves what else comes in as floats: the flags of pictures.
    """
    graph.half()
    for module in graph.modules():
        if getattr(module, "keep_fp32", False):
            module.float()
            module.register_forward_hook(_halve_output)
            module.register_forward_pre_hook(_widen_inputs)
    return graph


def _halve_output(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.half()


def _widen_inputs(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        x.float() if isinstance(x, Tensor) and x.dtype == torch.float16 else x for x in inputs
    )


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.half() if name.endswith("_valid") else tensor
        for name, tensor in tensors.items()
    }


def _to(feed: Tensors, device: str) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.ascontiguousarray(array)).to(device)
        for name, array in feed.items()
    }


def _run(live: Any, tensors: dict[str, Tensor]) -> Tensors:
    with torch.inference_mode():
        found = live(tensors)
    return {name: tensor.float().cpu().numpy() for name, tensor in found.items()}
