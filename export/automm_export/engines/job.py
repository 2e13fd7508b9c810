"""What a builder is asked, and what it answers: plain data, since it works in another process."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from automm_serve.engines import BuilderName, Profile
from automm_serve.tensors import TensorSpec

Cause: TypeAlias = Literal["operator", "node", "memory", "workspace", "disk", "cancelled", "other"]

NAMES: dict[BuilderName, str] = {
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT for RTX",
}
"""Module of Python -> the product's name. Both modules have nearly the same interface."""


class Job(Struct, frozen=True, kw_only=True):
    """One engine.

    Attributes:
        builder: Module that builds it.
        graph: Path of the ONNX file; weights that lie beside it are found.
        engine: Path to write.
        inputs: Of the graph.
        profiles: Shapes that the engine shall take.
        precision: Of the graph.
        capabilities: To build for ahead of time; empty for TensorRT, which builds for the GPU here.
        workspace_mb: Scratch memory of the builder; its own limit where None.
        timing_cache: File of TensorRT; empty for none.
    """

    builder: BuilderName
    graph: str
    engine: str
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    precision: str
    capabilities: tuple[str, ...] = ()
    workspace_mb: int | None = None
    timing_cache: str = ""


class Node(Struct, frozen=True):
    """An operator of a graph.

    Attributes:
        name: ``<module path>/<operator>_<number>``, as the exporter gives it.
        operator: ``MatMul``.
    """

    name: str
    operator: str

    @property
    def module(self) -> str:
        """The module of torch that it came from; empty where the name does not say."""
        return self.name.rpartition("/")[0]


class Step(Struct, frozen=True, tag=True):
    """How far a build is: a share of 0 to 1, and what it does."""

    share: float
    phase: str


class Done(Struct, frozen=True, tag=True):
    """An engine was written.

    Attributes:
        version: Of the builder.
        size_bytes: Of the file.
    """

    version: str
    size_bytes: int


class Failed(Struct, frozen=True, tag=True):
    """There is no engine.

    Attributes:
        cause: What kind of failure.
        what: The builder's own words.
        nodes: That it is about.
    """

    cause: Cause
    what: str
    nodes: tuple[Node, ...] = ()


Event: TypeAlias = Step | Done | Failed
