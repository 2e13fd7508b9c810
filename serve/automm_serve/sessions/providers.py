"""What ONNX Runtime's providers of a GPU are told, and the sizes that rows are padded to there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from automm_serve.engines import write_shapes
from automm_serve.tensors import BATCH, Axis, TensorSpec

BATCH_SIZE = 32
"""Most rows of one run, where no engine says less."""

TUNED_BATCH = 8
"""Rows that the TensorRT provider tunes its engines for."""

CUDA_OPTIONS: Mapping[str, str] = {
    "device_id": "0",
    # TF32 keeps ten bits of a product: answers would leave the tolerance of fp32.
    "use_tf32": "0",
    # Else every new shape is timed anew, in the middle of answering.
    "cudnn_conv_algo_search": "HEURISTIC",
}


def narrow(
    specs: tuple[TensorSpec, ...], lengths: Mapping[str, tuple[int, ...]]
) -> tuple[TensorSpec, ...]:
    """Return tensors whose axes have the sizes of ``lengths``, where they stand there."""
    return tuple(
        msgspec.structs.replace(
            spec,
            shape=tuple(
                Axis(axis.name, lengths.get(axis.name, axis.sizes))
                if isinstance(axis, Axis)
                else axis
                for axis in spec.shape
            ),
        )
        for spec in specs
    )


def tensorrt_options(inputs: tuple[TensorSpec, ...], folder: Path) -> dict[str, str]:
    """One profile over every size in use, so that no shape makes it build anew."""
    axes = {a.name: a.sizes for spec in inputs for a in spec.shape if isinstance(a, Axis)}
    axes[BATCH.name] = (1, TUNED_BATCH, BATCH_SIZE)
    best = {name: sizes[0] for name, sizes in axes.items()} | {BATCH.name: TUNED_BATCH}
    return {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_profile_min_shapes": write_shapes(inputs, {n: s[0] for n, s in axes.items()}),
        "trt_profile_opt_shapes": write_shapes(inputs, best),
        "trt_profile_max_shapes": write_shapes(inputs, {n: s[-1] for n, s in axes.items()}),
    }
