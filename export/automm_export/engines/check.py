"""Engines against ONNX Runtime, on the same tensors, wherever there is a GPU that runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from automm_export.cases import Cases
from automm_export.engines.capabilities import listed
from automm_serve.engines import Engine
from automm_serve.errors import ExportError
from automm_serve.gpu import Gpu
from automm_serve.manifest import GraphFiles
from automm_serve.pipeline import Pipeline
from automm_serve.precisions import FP32, GPU_FILES
from automm_serve.sessions import Session, open_session
from automm_serve.tensors import Axis, Table, Tensors

MOST_DIFFERENCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2, "int8": 1e-1}
"""Precision -> most that an engine may differ from ONNX Runtime on the same graph, as a share of
the largest output, or of 1 where that is less. Wide: an engine rounds elsewhere, and what a
precision costs in the metric is measured before. It finds what computes something else."""


def compare_engines(
    folder: Path,
    graphs: Mapping[str, GraphFiles],
    pipeline: Pipeline,
    rows: Table,
    gpu: Gpu | None,
    paths: Sequence[str],
) -> tuple[dict[str, GraphFiles], tuple[str, ...]]:
    """Run the engines that this machine's GPU can run.

    Args:
        folder: Of the bundle.
        graphs: With their engines.
        pipeline: Whose processors make the tensors.
        rows: That go in, repeated as needed.
        gpu: Of this machine.
        paths: The engines that are to be compared.

    Returns:
        The graphs, each engine that ran with its difference; and a line for those that did not.

    Raises:
        ExportError: An engine answers something else.
    """
    runs = {
        engine.path
        for graph in graphs.values()
        for engine in graph.engines
        if engine.path in paths and gpu is not None and gpu.capability in engine.capabilities
    }
    if runs:
        cases = Cases(pipeline, rows)
        graphs = {
            name: msgspec.structs.replace(
                graph,
                engines=tuple(
                    _measured(folder, name, graphs, engine, pipeline, cases)
                    if engine.path in runs
                    else engine
                    for engine in graph.engines
                ),
            )
            for name, graph in graphs.items()
        }
    return dict(graphs), tuple(_tell_idle(graphs, gpu))


def _tell_idle(graphs: Mapping[str, GraphFiles], gpu: Gpu | None) -> Iterator[str]:
    idle = [e for graph in graphs.values() for e in graph.engines if e.difference is None]
    if idle:
        cards = sorted({name for engine in idle for name in engine.capabilities}, key=float)
        files = ", ".join(sorted({Path(engine.path).name for engine in idle}))
        here = f"has {gpu.capability}" if gpu else "has none"
        yield (
            f"engines {files}: built, and not executed: that takes a GPU of compute capability "
            f"{listed(cards, 'or')}, and the machine that built them {here}"
        )


def is_engine_line(line: str) -> bool:
    """Tell whether a line of ``Parity.not_run`` is about engines."""
    return line.startswith("engines ")


def largest_difference(
    engine: Session, reference: Session, feeds: Iterable[Tensors]
) -> tuple[float, float]:
    """Return the largest absolute difference of an output, and the largest output, over all feeds.

    Raises:
        ExportError: An output is not finite, or has another shape.
    """
    worst = scale = 0.0
    for feed in feeds:
        expected, found = reference.run(feed), engine.run(feed)
        for name, wanted in expected.items():
            if found[name].shape != wanted.shape or not np.isfinite(found[name]).all():
                raise ExportError(
                    where=f"output {name!r}",
                    what=f"the engine gives {found[name].shape} or what is not finite, and ONNX "
                    f"Runtime {wanted.shape}",
                    mend="Take another precision; nothing was written",
                )
            gap = np.abs(found[name].astype(np.float64) - wanted.astype(np.float64))
            worst = max(worst, float(gap.max(initial=0.0)))
            scale = max(scale, float(np.abs(wanted).max(initial=0.0)))
    return worst, scale


def _measured(
    folder: Path,
    name: str,
    graphs: Mapping[str, GraphFiles],
    engine: Engine,
    pipeline: Pipeline,
    cases: Cases,
) -> Engine:
    graph = graphs[name]
    feeds = [f for f in _feeds(folder, name, graphs, pipeline, cases) if _fits(engine, graph, f)]
    # ONNX Runtime has no kernels for bf16 on a CPU: there the engine is held against fp32.
    key = FP32 if engine.precision == "bf16" else GPU_FILES[engine.precision]
    reference = _open_onnx(folder, graph, key)
    session = open_session(folder / engine.path, graph.inputs, graph.outputs, engine=engine)
    try:
        difference, scale = largest_difference(session, reference, feeds)
    finally:
        session.close()
        reference.close()
    allowed = MOST_DIFFERENCE[engine.precision] * max(1.0, scale)
    if difference > allowed:
        raise ExportError(
            where=engine.path,
            what=f"its answers differ from ONNX Runtime's by {difference:.2g}, where "
            f"{allowed:.2g} is allowed",
            mend="Take another precision, or report this; nothing was written",
        )
    return msgspec.structs.replace(engine, difference=difference)


def _feeds(
    folder: Path,
    name: str,
    graphs: Mapping[str, GraphFiles],
    pipeline: Pipeline,
    cases: Cases,
) -> Iterator[Tensors]:
    """What the graph is fed in each case; graphs before it run under ONNX Runtime."""
    program = next(
        p for p in pipeline.programs.values() if name in [step.graph for step in p.steps]
    )
    sessions = {step.graph: _open_onnx(folder, graphs[step.graph], FP32) for step in program.steps}
    for case in cases:
        known = dict(case.feed)
        for step in program.steps:
            session = sessions[step.graph]
            given = {s.name: known[step.inputs.get(s.name, s.name)] for s in session.inputs}
            if step.graph == name:
                yield given
                break
            known |= {step.outputs.get(k, k): found for k, found in session.run(given).items()}


def _fits(engine: Engine, graph: GraphFiles, feed: Tensors) -> bool:
    sizes = {
        axis.name: feed[spec.name].shape[number]
        for spec in graph.inputs
        for number, axis in enumerate(spec.shape)
        if isinstance(axis, Axis)
    }
    return any(profile.takes(sizes) for profile in engine.profiles)


def _open_onnx(folder: Path, graph: GraphFiles, key: str) -> Session:
    return open_session(folder / graph.files[key], graph.inputs, graph.outputs)
