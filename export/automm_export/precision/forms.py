"""The forms in which a graph can be written beside fp32: which towers, how, and how it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import onnx

from automm_export.cases import Cases
from automm_export.exportable import Exportable
from automm_export.precision import int8
from automm_export.precision.files import read_graph, save_graph
from automm_export.precision.judge import Sessions, record_feeds
from automm_export.precision.overflow import LARGEST, find_extremes
from automm_export.precision.retype import Half, retype, takes_half
from automm_export.precision.torch_half import HalfProgram
from automm_export.precision.towers import CONVOLUTIONS, PRODUCTS, Tower, find_towers
from automm_serve.manifest import GraphFiles
from automm_serve.precisions import FP32, INT8_ENGINE
from automm_serve.sessions import Session
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from automm_serve.tensors import Tensors, concat_tables

ROWS_AT_A_TIME = 8
"""Calibration rows of one run: every intermediate of theirs is looked at."""


class Source:
    """The graphs in fp32, and what was found out about them once for all forms.

    Args:
        folder: Of the bundle that is being written.
        model: What is exported.
        graphs: Their files; fp32 is there.
    """

    def __init__(self, folder: Path, model: Exportable, graphs: Mapping[str, GraphFiles]) -> None:
        self.folder = folder
        self.model = model
        self.graphs = graphs

    def path(self, graph: str) -> Path:
        """Return the path of a graph's file in fp32."""
        return self.folder / self.graphs[graph].files[FP32]

    @cached_property
    def models(self) -> dict[str, onnx.ModelProto]:
        """The graphs as messages."""
        return {name: read_graph(self.path(name)) for name in self.graphs}

    @cached_property
    def towers(self) -> list[Tower]:
        """Of all graphs."""
        return find_towers(self.models, self.model.graphs)

    @cached_property
    def feeds(self) -> dict[str, list[Tensors]]:
        """What the calibration rows become."""
        pipeline, rows = self.model.pipeline, self.model.calibration
        return record_feeds(pipeline, rows, lambda: self.sessions(FP32), ROWS_AT_A_TIME)

    def of(self, graph: str, towers: Sequence[Tower]) -> list[Tower]:
        """Return those of the towers that are of a graph."""
        return [tower for tower in towers if tower.graph == graph]

    @cached_property
    def programs(self) -> dict[str, HalfProgram]:
        """Torch's program of each graph."""
        model = self.model
        rows = concat_tables([model.golden, model.calibration])
        example = Cases(model.pipeline, rows).traced()
        return {name: HalfProgram(graph, example) for name, graph in model.graphs.items()}

    def half_sessions(self, towers: Sequence[Tower], half: Half) -> Mapping[str, Session]:
        """Open the graphs on torch, every operator of these towers in 16 bits."""
        names = {
            graph: [t.name.removeprefix(f"{graph}.") for t in self.of(graph, towers)]
            for graph in self.graphs
        }
        return {name: one.session(names[name], half) for name, one in self.programs.items()}

    def sessions(self, key: str, folder: Path | None = None) -> Mapping[str, Session]:
        """Open the graphs on ONNX Runtime; those in fp32 from the bundle."""
        return {
            name: OnnxRuntimeSession(
                self.path(name) if folder is None else folder / f"{name}.{key}.onnx",
                files.inputs,
                files.outputs,
            )
            for name, files in self.graphs.items()
        }


class Form(Protocol):
    """A form of the graphs beside fp32.

    Attributes:
        key: Among the files of a graph.
        judged_on: Where it is run to be judged.
    """

    key: str
    judged_on: str

    def refused(self) -> dict[str, str]:
        """Return tower -> why it must stay in fp32, before anything is measured."""
        ...

    def write(self, graph: str, towers: Sequence[Tower], path: Path) -> None:
        """Write a graph with these towers in this form."""
        ...

    @contextmanager
    def opened(self, towers: Sequence[Tower]) -> Iterator[Sessions]:
        """Yield what opens the graphs with these towers in this form."""
        ...

    def exact(self, towers: Sequence[Tower]) -> Sessions | None:
        """Return what computes as a GPU would, for a few rows, where ``opened`` does not."""
        ...

    def notes(self, towers: Sequence[Tower]) -> tuple[str, ...]:
        """Return what a user must know of it."""
        ...


class _Written(ABC):
    """A form that ONNX Runtime's CPU provider can run."""

    key: str

    def __init__(self, source: Source) -> None:
        self.source = source

    @abstractmethod
    def write(self, graph: str, towers: Sequence[Tower], path: Path) -> None: ...

    @contextmanager
    def opened(self, towers: Sequence[Tower]) -> Iterator[Sessions]:
        with TemporaryDirectory(dir=self.source.folder, prefix=".trial_") as name:
            folder = Path(name)
            for graph in self.source.graphs:
                self.write(
                    graph, self.source.of(graph, towers), folder / f"{graph}.{self.key}.onnx"
                )
            yield lambda: self.source.sessions(self.key, folder)

    def exact(self, towers: Sequence[Tower]) -> Sessions | None:
        return None

    def notes(self, towers: Sequence[Tower]) -> tuple[str, ...]:
        return ()


class _Typed(_Written):
    """A typed graph in 16 bits."""

    half: Half

    def write(self, graph: str, towers: Sequence[Tower], path: Path) -> None:
        nodes = {node for tower in towers for node in tower.nodes}
        save_graph(retype(self.source.models[graph], nodes, self.half), path)


class Fp16(_Typed):
    """IEEE half precision."""

    key = "fp16"
    half: Half = "fp16"
    judged_on = (
        "ONNX Runtime on the CPU, which rounds weights and computes in 32 bits; overflow by the "
        "graph in fp32, the difference of answers also by torch in fp16 on a few rows"
    )

    def exact(self, towers: Sequence[Tower]) -> Sessions:
        """Return what opens the graphs with every operator of these towers in fp16."""
        return lambda: self.source.half_sessions(towers, self.half)

    def refused(self) -> dict[str, str]:
        """Return the towers that would overflow, each with its node and value."""
        found = {}
        for graph, files in self.source.graphs.items():
            towers = self.source.of(graph, self.source.towers)
            extremes = find_extremes(
                self.source.path(graph), towers, self.source.feeds[graph], files.inputs
            )
            for tower, extreme in extremes.items():
                if not extreme.value <= LARGEST:
                    found[tower] = f"it would overflow: {extreme.describe()}"
        return found


class Bf16(_Typed):
    """The 16 bits that reach as far as fp32, with eight bits of a number."""

    key = "bf16"
    half: Half = "bf16"
    judged_on = (
        "torch on the CPU, operator by operator in the type that the graph has: "
        "ONNX Runtime's CPU provider has no bfloat16"
    )

    def refused(self) -> dict[str, str]:
        """Return the towers whose weights are in operators that know no bfloat16."""
        found = {}
        for tower in self.source.towers:
            nodes = [n for n in self.source.models[tower.graph].graph.node if n.name in tower.nodes]
            heavy = [n for n in nodes if n.op_type in (*PRODUCTS, *CONVOLUTIONS)]
            lacking = sorted({n.op_type for n in heavy if not takes_half(n, "bf16")})
            if tower.kind == "convolution" and lacking:
                found[tower.name] = f"{', '.join(lacking)} of this opset knows no bfloat16"
        return found

    @contextmanager
    def opened(self, towers: Sequence[Tower]) -> Iterator[Sessions]:
        """Yield what opens torch's programs of the graphs."""
        yield lambda: self.source.half_sessions(towers, self.half)


class _Int8(_Written):
    judged_on = "ONNX Runtime on the CPU"

    def refused(self) -> dict[str, str]:
        towers = self.source.towers
        total = sum(tower.weight_bytes for tower in towers if tower.kind != "other")
        found = {tower.name: int8.why_not(tower, total) for tower in towers}
        return {name: why for name, why in found.items() if why}


class CpuInt8(_Int8):
    """int8 for ONNX Runtime's CPU provider."""

    key = "int8"

    def write(self, graph: str, towers: Sequence[Tower], path: Path) -> None:
        """Write a graph with these towers in int8."""
        int8.write_cpu(self.source.path(graph), path, towers, self.source.feeds[graph])

    def notes(self, towers: Sequence[Tower]) -> tuple[str, ...]:
        """Return which towers answer otherwise in other company."""
        dynamic = [tower.name for tower in towers if tower.kind == "product"]
        if not dynamic:
            return ()
        return (
            f"answers vary with the batch: the scales of {', '.join(dynamic)} are taken from all "
            "rows of a batch together",
        )


class EngineInt8(_Int8):
    """int8 for builders of engines."""

    key = INT8_ENGINE

    def write(self, graph: str, towers: Sequence[Tower], path: Path) -> None:
        """Write a graph with these towers in int8."""
        int8.write_engine(self.source.path(graph), path, towers, self.source.feeds[graph])
