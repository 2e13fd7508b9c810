"""ONNX Runtime in NAME's own process: the pip server, and boxes without Triton's other backends."""

from __future__ import annotations

from automm_export.targets.target import Target

TARGET = Target(name="cpu", in_process=True)
