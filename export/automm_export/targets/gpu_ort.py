"""Triton's ONNX Runtime backend on a GPU: the TensorRT provider, and CUDA where that fails.

The provider builds its engines on the machine that serves, for the shapes of the configuration, and
keeps them in its cache: nothing need be compiled beforehand, but a first start takes minutes.
"""

from __future__ import annotations

from automm_export.targets.target import Accelerator, Target
from automm_serve.precisions import GPU_FILES
from automm_serve.triton import ENGINE_CACHE

TARGET = Target(
    name="gpu_ort",
    device="gpu",
    files=GPU_FILES,
    graph_platform="onnxruntime_onnx",
    accelerators=(
        Accelerator(
            "tensorrt",
            {
                # No precision_mode: it sets a flag that TensorRT 11 has no more and then writes an
                # engine of fp32, without a word. The graph says where it is fp16.
                "max_workspace_size_bytes": str(2**31),
                "trt_engine_cache_enable": "true",
                "trt_engine_cache_path": ENGINE_CACHE,
                "trt_timing_cache_enable": "true",
                "trt_timing_cache_path": ENGINE_CACHE,
            },
            profile=True,
        ),
        # TF32 keeps ten bits of a product: answers would leave the tolerance of fp32. And without a
        # heuristic every new shape is timed anew, in the middle of serving.
        Accelerator("cuda", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    ),
)
