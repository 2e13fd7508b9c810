"""What is known of a compiled engine: the device, the versions and the shapes it was built for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from automm_serve.precisions import INT8_ENGINE
from automm_serve.tensors import Axis, TensorSpec

BuilderName: TypeAlias = Literal["tensorrt", "tensorrt_rtx"]

SUFFIXES: dict[BuilderName, str] = {"tensorrt": ".plan", "tensorrt_rtx": ".rtx"}
"""The two kinds of file look alike and are not: Triton's ``tensorrt`` backend takes plans alone."""

CAPABILITY = re.compile(r"[1-9][0-9]?\.[0-9]")
"""How a compute capability is written: ``8.6``."""


class Range(NamedTuple):
    """Sizes of an axis that an engine takes."""

    min: int
    opt: int
    max: int


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """An optimisation profile: axis name -> its sizes. Inputs that share an axis share its range.

    Attributes:
        axes: Every axis that varies, ``batch`` among them.
    """

    axes: dict[str, Range]

    def __post_init__(self) -> None:
        """Refuse ranges that no builder could mean."""
        for name, (least, best, most) in self.axes.items():
            if not 1 <= least <= best <= most:
                raise ValueError(f"axis {name!r} goes from {least} over {best} to {most}")

    def takes(self, sizes: dict[str, int]) -> bool:
        """Tell whether an execution of these sizes lies within the profile."""
        return all(
            name in sizes and least <= sizes[name] <= most
            for name, (least, _, most) in self.axes.items()
        )


class Engine(Struct, frozen=True, forbid_unknown_fields=True):
    """An engine of a graph.

    Attributes:
        path: In the bundle; ``*.plan`` of TensorRT, ``*.rtx`` of TensorRT for RTX.
        builder: Which of the two.
        version: Of the builder; a plan is read by this one alone.
        precision: The graph it was built from.
        capabilities: Compute capabilities of the GPUs that it runs on, such as ``8.6``.
        device: Name of the GPU where it was built; empty where it was built ahead of time.
        profiles: Shapes that it takes.
        graph_sha256: Of the ONNX file it was built from.
        difference: Largest difference of its answers from ONNX Runtime's on this graph; None
            where there was no device to run it.
    """

    path: str
    builder: BuilderName
    version: str
    precision: str
    capabilities: tuple[str, ...]
    device: str
    profiles: tuple[Profile, ...]
    graph_sha256: str
    difference: float | None = None

    def __post_init__(self) -> None:
        """Refuse a file whose name says another builder, and capabilities that are none."""
        if not self.path.endswith(SUFFIXES[self.builder]):
            raise ValueError(f"{self.path!r} is no file of {self.builder}")
        wrong = [name for name in self.capabilities if not CAPABILITY.fullmatch(name)]
        if wrong or not self.capabilities:
            raise ValueError(f"{wrong or self.capabilities!r} are no compute capabilities")


def precision_of(key: str) -> str:
    """Return the precision that a key of a graph's files stands for; int8 has two forms."""
    return "int8" if key == INT8_ENGINE else key


def write_shapes(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> str:
    """Return shapes as TensorRT's own programs and ONNX Runtime read them: ``ids:8x16,mask:8x16``.

    Args:
        specs: Every input, because the batch of each one varies.
        sizes: Of every axis, ``batch`` among them.
    """
    shapes = (
        (spec.name, [sizes[a.name] if isinstance(a, Axis) else a for a in spec.shape])
        for spec in specs
    )
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes)
