"""Triton's TensorRT backend: plans that ``automm compile`` built on this kind of GPU."""

from __future__ import annotations

from automm_export.targets.target import Target
from automm_serve.precisions import GPU_FILES

TARGET = Target(
    name="gpu_trt",
    device="gpu",
    files=GPU_FILES,
    builder="tensorrt",
    graph_platform="tensorrt_plan",
    cuda_graphs=True,
)
