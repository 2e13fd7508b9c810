"""The command of NVIDIA's own tool that builds the same engine, for whoever wants to repeat it."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from automm_export.engines.job import Job
from automm_export.engines.profiles import shapes_of, varies
from automm_serve.engines import BuilderName
from automm_serve.precisions import FP32

TOOLS: dict[BuilderName, str] = {"tensorrt": "trtexec", "tensorrt_rtx": "tensorrt_rtx"}
"""Builder -> the program that comes with it: not with the package of Python, but with the SDK."""


def trtexec_command(job: Job) -> str:
    """Return the command, to be run in the folder of the graph's file."""
    words = [
        TOOLS[job.builder],
        f"--onnx={PurePath(job.graph).name}",
        f"--saveEngine={PurePath(job.engine).name}",
    ]
    if job.builder == "tensorrt":
        words.append("--stronglyTyped")  # the only kind of network that TensorRT for RTX knows
    if job.precision == FP32:
        words.append("--noTF32")
    if job.capabilities:
        numbers = ",".join(name.replace(".", "") for name in job.capabilities)
        words.append(f"--computeCapabilities={numbers}")
    if job.workspace_mb is not None:
        words.append(f"--memPoolSize=workspace:{job.workspace_mb}")
    for number, profile in enumerate(job.profiles):
        if len(job.profiles) > 1:
            words.append(f"--profile={number}")
        for at, option in enumerate(("--minShapes", "--optShapes", "--maxShapes")):
            shapes = (
                f"{spec.name}:{'x'.join(map(str, shapes_of(profile, spec)[at]))}"
                for spec in filter(varies, job.inputs)
            )
            words.append(f"{option}={','.join(shapes)}")
    if job.timing_cache:
        words.append(f"--timingCacheFile={job.timing_cache}")
    words.append("--skipInference")
    return shlex.join(words)
