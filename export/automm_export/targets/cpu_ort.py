"""Triton's ONNX Runtime backend on the CPU: what a stock container loads without being told."""

from __future__ import annotations

from automm_export.targets.target import Target
from automm_serve.precisions import CPU_FILES

TARGET = Target(
    name="cpu_ort",
    files=CPU_FILES,
    graph_platform="onnxruntime_onnx",
    # The backend would count the cores of the host, blind to the quota of its container.
    graph_parameters=(("intra_op_thread_count", "1"), ("inter_op_thread_count", "1")),
)
