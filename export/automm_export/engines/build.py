"""Engines of a bundle's graphs, as far as this machine can build them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import NamedTuple

import msgspec
from msgspec import Struct

from automm_export.engines.apart import build_apart
from automm_export.engines.check import compare_engines
from automm_export.engines.choose import Choice, capabilities_of, choose_builder
from automm_export.engines.job import Event, Job, Step
from automm_export.engines.options import EngineOptions
from automm_export.engines.profiles import make_profiles
from automm_export.engines.trtexec import trtexec_command
from automm_serve.cache import cache_folder
from automm_serve.engines import SUFFIXES, BuilderName, Engine
from automm_serve.errors import ConfigError
from automm_serve.manifest import GraphFiles
from automm_serve.pipeline import Pipeline
from automm_serve.precisions import GPU_FILES, find_precision
from automm_serve.tensors import Table
from automm_serve.verify import file_digest


class Build(Struct, frozen=True):
    """How an engine was built.

    Attributes:
        graph: Name of the graph.
        file: Of the engine, without its folder.
        size_bytes: Of the file.
        seconds: That it took.
        command: Of NVIDIA's tool that builds the same, in the folder of the graph.
    """

    graph: str
    file: str
    size_bytes: int
    seconds: float
    command: str


class Built(NamedTuple):
    """What came of it.

    Attributes:
        graphs: With the engines that were built.
        missing: Lines that say what was not built, why, and which command builds it where.
        builds: One for each engine.
        not_run: Lines that say which engines were not compared with ONNX Runtime, and why.
    """

    graphs: dict[str, GraphFiles]
    missing: list[str]
    builds: tuple[Build, ...] = ()
    not_run: tuple[str, ...] = ()


Watch = Callable[[str, float], None]
"""Is told the name of an engine's file, and the share of its build that is done, 0 to 1."""


def build_engines(
    folder: Path,
    graphs: Mapping[str, GraphFiles],
    options: EngineOptions,
    *,
    pipeline: Pipeline,
    rows: Table,
    lengths: Mapping[str, tuple[int, ...]] | None = None,
    choice: Choice | None = None,
    watch: Watch | None = None,
) -> Built:
    """Build the engines of every graph in a folder that is being written.

    Args:
        folder: Of the bundle.
        graphs: Of the bundle; an engine of the same file gives way.
        options: How.
        pipeline: Whose processors make the tensors of the comparison.
        rows: To compare on.
        lengths: Axis -> the sizes that a GPU pads it to.
        choice: The builder; what this machine has where None.
        watch: Is told how far each one is.

    Raises:
        ConfigError: An option is wrong, or the bundle lacks a precision.
        ExportError: A builder failed; the message names the part of the model.
    """
    wanted, missing = _wanted(graphs, options)
    choice = choice or choose_builder(options)
    missing = [*choice.missing, *missing]
    if choice.builder is None:
        return Built(dict(graphs), missing)
    capabilities = capabilities_of(choice, options, wanted)
    missing += _left_out(options, wanted, capabilities) if choice.builder == "tensorrt_rtx" else []
    done: list[tuple[str, Engine, Build]] = []
    for precision, cards in capabilities.items():
        for name, graph in graphs.items():
            job = make_job(folder, graph, precision, cards, choice.builder, options, lengths)
            done.append((name, *_build(folder, name, job, choice, cards, watch)))
    graphs = {
        name: add_engines(graph, [engine for owner, engine, _ in done if owner == name])
        for name, graph in graphs.items()
    }
    graphs, not_run = compare_engines(
        folder, graphs, pipeline, rows, choice.gpu, [e.path for _, e, _ in done]
    )
    return Built(graphs, missing, tuple(build for *_, build in done), not_run)


def make_job(
    folder: Path,
    graph: GraphFiles,
    precision: str,
    capabilities: tuple[str, ...],
    builder: BuilderName,
    options: EngineOptions,
    lengths: Mapping[str, tuple[int, ...]] | None = None,
) -> Job:
    """Return what a builder is asked for one graph in one precision.

    Raises:
        ConfigError: The options ask for shapes that the graph has not.
    """
    source = folder / graph.files[GPU_FILES[precision]]
    plan = builder == "tensorrt"
    card = f".sm{capabilities[0].replace('.', '')}" if plan else ""
    engine = source.with_name(f"model.{precision}{card}{SUFFIXES[builder]}")
    timings = options.timing_cache or cache_folder("timings") / f"tensorrt{card}.cache"
    return Job(
        builder=builder,
        graph=source.as_posix(),
        engine=engine.as_posix(),
        inputs=graph.inputs,
        profiles=make_profiles(graph.inputs, options, lengths),
        precision=precision,
        capabilities=() if plan else capabilities,
        workspace_mb=options.workspace_mb,
        timing_cache=str(timings) if plan else "",
    )


def add_engines(graph: GraphFiles, engines: Iterable[Engine]) -> GraphFiles:
    """Return the graph with more engines; one of the same file gives way to the new one."""
    by_path = {engine.path: engine for engine in (*graph.engines, *engines)}
    return msgspec.structs.replace(graph, engines=tuple(by_path[path] for path in sorted(by_path)))


def _build(
    folder: Path,
    name: str,
    job: Job,
    choice: Choice,
    cards: tuple[str, ...],
    watch: Watch | None,
) -> tuple[Engine, Build]:
    file = PurePosixPath(job.engine).name

    def tell(event: Event) -> None:
        if watch is not None and isinstance(event, Step):
            watch(file, event.share)

    start = perf_counter()
    found = build_apart(job, tell)
    seconds = round(perf_counter() - start, 3)
    engine = Engine(
        path=Path(job.engine).relative_to(folder).as_posix(),
        builder=job.builder,
        version=found.version,
        precision=job.precision,
        capabilities=cards,
        device=choice.gpu.name if choice.gpu and job.builder == "tensorrt" else "",
        profiles=job.profiles,
        graph_sha256=file_digest(Path(job.graph)),
    )
    return engine, Build(name, file, found.size_bytes, seconds, trtexec_command(job))


def _wanted(
    graphs: Mapping[str, GraphFiles], options: EngineOptions
) -> tuple[tuple[str, ...], list[str]]:
    """The precisions to build, and lines about those that no engine can have."""
    there = [p for p, key in GPU_FILES.items() if all(key in g.files for g in graphs.values())]
    for name in options.precisions:
        find_precision(name)
        if name not in there:
            raise ConfigError(
                where=f"precision {name!r}",
                what=f"the bundle has no graph of it for engines, but {', '.join(there)}",
                mend="Export it with this precision",
                command=f"automm export PREDICTOR --out BUNDLE --trt --precision {name}",
            )
    lines = []
    if "int8" not in there and any("int8" in graph.files for graph in graphs.values()):
        lines.append(
            "engine of int8: the int8 of this model is made for CPUs, and TensorRT has no "
            "operators for it; fp16 is the way: automm export PREDICTOR --out BUNDLE --trt "
            "--precision fp16"
        )
    return tuple(p for p in there if p in options.precisions or not options.precisions), lines


def _left_out(
    options: EngineOptions, wanted: Sequence[str], capabilities: Mapping[str, tuple[str, ...]]
) -> list[str]:
    return [
        f"engine of {precision} for compute capability {name}: TensorRT for RTX has no matrix "
        "product in fp32 there; the engines of other precisions run on it"
        for precision in wanted
        for name in sorted(set(options.capabilities) - set(capabilities.get(precision, ())))
    ]
