"""What a target is: a place where a bundle is served, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from automm_serve.engines import BuilderName
from automm_serve.manifest import GraphFiles
from automm_serve.precisions import FP32, PRECISIONS

Device: TypeAlias = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Accelerator:
    """What Triton's ONNX Runtime backend lets run a graph, before its own kernels of the device.

    Attributes:
        name: ``tensorrt`` or ``cuda``.
        parameters: By the backend's names.
        profile: It is told the least, the best and the largest shapes of every input.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    profile: bool = False


@dataclass(frozen=True)
class Target:
    """An entry of ``TARGETS``.

    Attributes:
        name: As Triton's ``--model-config-name`` and ``automm serve --target`` take it.
        device: Where the graphs run.
        files: Precision that it can run -> key, in ``GraphFiles.files``, of the ONNX file that it
            runs or that its engine is built from.
        builder: Whose engines it takes; None where it takes the ONNX files.
        max_batch: Most rows of one request.
        instances: Processes of NAME that answer at the same time.
        in_process: NAME runs the graphs itself, so that it can be warmed up with rows while the
            server starts; a model that calls others cannot.
        graph_platform: Triton's platform of the graphs; empty where they are files only.
        graph_parameters: Of the graphs' configuration.
        accelerators: Of the graphs, in the order of preference.
        cuda_graphs: Record the shapes in use as CUDA graphs.
    """

    name: str
    files: Mapping[str, str]
    device: Device = "cpu"
    builder: BuilderName | None = None
    max_batch: int = 32
    instances: int = 1
    in_process: bool = False
    graph_platform: str = ""
    graph_parameters: tuple[tuple[str, str], ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    cuda_graphs: bool = False

    @property
    def graph_backend(self) -> str:
        """Triton's backend of the platform: ``onnxruntime_onnx`` is run by ``onnxruntime``."""
        return self.graph_platform.partition("_")[0]

    def precisions(self, graphs: Mapping[str, GraphFiles]) -> tuple[str, ...]:
        """Return the precisions that this target can run and that every graph exists in."""
        return tuple(
            name
            for name in PRECISIONS
            if name in self.files and all(self.files[name] in g.files for g in graphs.values())
        )

    def default_of(self, graphs: Mapping[str, GraphFiles], wanted: str) -> str:
        """Return the wanted precision, or fp32 where this target cannot run it."""
        return wanted if wanted in self.precisions(graphs) else FP32
