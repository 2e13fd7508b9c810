"""A target at one precision, for the graphs of one bundle: what its configurations say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import PurePosixPath

from automm_export.targets.target import Target
from automm_serve.engines import SUFFIXES, Engine, precision_of
from automm_serve.errors import ExportError
from automm_serve.manifest import GraphFiles
from automm_serve.sessions.providers import narrow
from automm_serve.tensors import BATCH, Axis, TensorSpec
from automm_serve.triton import config_name
from automm_serve.wire import GraphFacts

ABSENT_ENGINE = "run-automm-compile-on-this-gpu"
"""Name, before its ending, of the engine that a GPU is given which none was built for: the server's
own message then says what to do. Another GPU's engine would be a wrong one."""


@dataclass(frozen=True)
class Setting:
    """A target at one precision.

    Attributes:
        target: Where the graphs run.
        precision: In which form.
        is_default: It is what the target serves without being told a precision.
        lengths: Axis -> sizes that a GPU pads to.
    """

    target: Target
    precision: str
    is_default: bool
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def config_name(self) -> str:
        """As ``--model-config-name`` takes it."""
        return config_name(self.target.name, "" if self.is_default else self.precision)

    def file(self, graph: GraphFiles) -> str:
        """Return the name of the graph's file that runs where no engine of a GPU is chosen."""
        if self.target.builder is None:
            return PurePosixPath(graph.files[self.target.files[self.precision]]).name
        engines = self.engines(graph)
        if engines and self.target.in_process:  # one file, for all of its capabilities
            return PurePosixPath(engines[0].path).name
        return ABSENT_ENGINE + SUFFIXES[self.target.builder]

    def engines(self, graph: GraphFiles) -> tuple[Engine, ...]:
        """Return the engines that this target takes."""
        return tuple(
            engine
            for engine in graph.engines
            if engine.builder == self.target.builder
            and precision_of(engine.precision) == self.precision
        )

    def max_batch(self, graphs: Mapping[str, GraphFiles]) -> int:
        """Return the most rows of one run: engines take no more than they were built for."""
        built = [
            profile.axes[BATCH.name].max
            for graph in graphs.values()
            for engine in self.engines(graph)
            for profile in engine.profiles
            if BATCH.name in profile.axes
        ]
        return min([self.target.max_batch, *built])

    def specs(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """Return tensors whose axes have the sizes that this device pads to."""
        return specs if self.target.device == "cpu" else narrow(specs, self.lengths)

    def facts(self, graph: GraphFiles) -> GraphFacts:
        """Return what NAME is told of a graph."""
        engines = self.engines(graph) if self.target.in_process else ()
        return GraphFacts(
            graph.model,
            self.specs(graph.inputs),
            graph.outputs,
            self.file(graph),
            engines[0] if engines else None,
        )

    def sizes(self, graph: GraphFiles) -> list[dict[str, int]]:
        """Return the sizes of the varying axes that rows of this graph are padded to.

        Raises:
            ExportError: An engine does not take them.
        """
        specs = self.specs(graph.inputs)
        axes = {a.name: a.sizes for s in specs for a in s.shape if isinstance(a, Axis) and a.sizes}
        found = [dict(zip(axes, sizes, strict=True)) for sizes in product(*axes.values())]
        for engine in self.engines(graph):
            for sizes in found:
                if not any(p.takes({**sizes, BATCH.name: p.axes[BATCH.name].max})
                           for p in engine.profiles):  # fmt: skip
                    words = ", ".join(f"{name} {size}" for name, size in sizes.items())
                    raise ExportError(
                        where=engine.path,
                        what=f"the engine has no profile for {words}, which rows are padded to",
                        mend="Build it for these sizes",
                        command="automm compile BUNDLE",
                    )
        return found


def settings_of(
    target: Target,
    graphs: Mapping[str, GraphFiles],
    default_precision: str,
    lengths: Mapping[str, tuple[int, ...]],
) -> list[Setting]:
    """Return a target at each precision that it can run and the bundle has, the default first."""
    default = target.default_of(graphs, default_precision)
    names = [default, *(name for name in target.precisions(graphs) if name != default)]
    return [Setting(target, name, name == default, lengths) for name in names]
