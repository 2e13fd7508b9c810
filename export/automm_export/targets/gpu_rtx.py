"""TensorRT for RTX in NAME's own process: engines built ahead of time for several kinds of GPU."""

from __future__ import annotations

from automm_export.targets.target import Target
from automm_serve.precisions import GPU_FILES

TARGET = Target(
    name="gpu_rtx", device="gpu", files=GPU_FILES, builder="tensorrt_rtx", in_process=True
)
