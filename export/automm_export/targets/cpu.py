"""ONNX Runtime in NAME's own process: the pip server, and boxes without Triton's other backends."""

from __future__ import annotations

from automm_export.targets.target import Target
from automm_serve.precisions import CPU_FILES

TARGET = Target(name="cpu", files=CPU_FILES, in_process=True)
