"""``export``: the stages from a trained predictor to a bundle, in order, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import msgspec

from automm_export.cases import Cases
from automm_export.certificate import certify
from automm_export.engines.build import Built, Watch, build_engines
from automm_export.exportable import Exportable, ExportOptions, Report, prepare, targets_of
from automm_export.lengths import gpu_lengths
from automm_export.parity import Pair, compare_graphs, control_inputs
from automm_export.precision.make import make_precisions
from automm_export.rewrite import to_onnx
from automm_export.session import TorchSession
from automm_export.standalone import write_lib
from automm_export.targets import find_target
from automm_export.warmup import warmup_rows
from automm_export.writer import (
    content_digest,
    describe_maker,
    list_files,
    public_facts,
    seal_graph,
    write_graph,
    write_manifest,
    write_pipeline,
    write_targets,
)
from automm_serve.atomic import write_folder
from automm_serve.bundle import Bundle
from automm_serve.golden import ANSWERS, ROWS, answer_rows, read_rows, write_answers, write_rows
from automm_serve.manifest import (
    FORMAT,
    MANIFEST,
    GoldenFiles,
    GraphFiles,
    Manifest,
    Parity,
)
from automm_serve.precisions import FP32, PrecisionFigures
from automm_serve.predictor import LocalPredictor
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from automm_serve.tensors import concat_tables, count_rows

__all__ = ["ExportOptions", "Exportable", "Report", "export"]


def export(
    model: Exportable,
    out: str | Path,
    options: ExportOptions | None = None,
    *,
    watch: Callable[[str], None] | None = None,
    progress: Watch | None = None,
) -> Report:
    """Write a bundle: all of it, or nothing.

    Args:
        model: What was trained.
        out: Folder of the bundle; it must be new or empty, unless ``options.replace``.
        options: How.
        watch: Is told the name of each stage as it begins.
        progress: Is told how far each engine is.

    Returns:
        What was done, with the figures of every comparison.

    Raises:
        ExportError: A graph cannot be exported, or the bundle answers otherwise than torch.
        ConfigError: An option is wrong, or something else lies at ``out``.
    """
    options = options or ExportOptions()
    model = prepare(model, options)
    stages = _Stages(watch)
    with write_folder(out, replace=options.replace, known_by=MANIFEST) as folder:
        cases = Cases(model.pipeline, concat_tables([model.golden, model.calibration]))
        with stages("onnx"):
            graphs = _write_graphs(folder, model, cases, options)
        with stages("parity"):
            parity = _compare(folder, model, graphs, cases, options.allow_unused_inputs)
        precisions: dict[str, PrecisionFigures] = {}
        if options.precisions:
            with stages("precisions"):
                graphs, precisions = make_precisions(folder, model, graphs, options)
        built = Built(graphs, [])
        if options.trt:
            with stages("engines"):
                built = graphs, *_ = build_engines(
                    folder,
                    graphs,
                    options.engines,
                    pipeline=model.pipeline,
                    rows=concat_tables([model.golden, model.calibration]),
                    lengths=gpu_lengths(model.pipeline, model.calibration),
                    watch=progress,
                )
        with stages("golden rows"):
            golden = _write_golden(folder, model)
        graphs = {name: seal_graph(folder, graph) for name, graph in graphs.items()}
        if options.standalone:
            with stages("standalone"):
                write_lib(folder, options.standalone)
        with stages("repository"):
            manifest = _write_repository(folder, model, graphs, golden, options, precisions)
        with stages("answers"):
            parity = _certify(folder, model, parity, options)
            parity = msgspec.structs.replace(parity, not_run=(*parity.not_run, *built.not_run))
        with stages("digests"):
            manifest = msgspec.structs.replace(
                manifest,
                parity=parity,
                files=list_files(folder),
                libraries=tuple(dict.fromkeys(options.standalone)),
            )
            write_manifest(folder, manifest)
    sizes = {name: facts.size_bytes for name, facts in manifest.files.items()}
    return Report(
        str(out),
        manifest.name,
        stages.seconds,
        sizes,
        parity,
        manifest.targets,
        precisions,
        tuple(engine for graph in graphs.values() for engine in graph.engines),
        tuple(built.missing),
        built.builds,
    )


def _write_graphs(
    folder: Path, model: Exportable, cases: Cases, options: ExportOptions
) -> dict[str, GraphFiles]:
    traced = cases.traced()
    return {
        name: write_graph(
            folder,
            f"{model.pipeline.name}__{name}",
            graph.inputs,
            graph.outputs,
            partial(to_onnx, name, graph, traced, largest_file=options.largest_file),
        )
        for name, graph in model.graphs.items()
    }


def _compare(
    folder: Path,
    model: Exportable,
    graphs: Mapping[str, GraphFiles],
    cases: Cases,
    allow_unused: bool,
) -> Parity:
    """Graph by graph: torch and ONNX Runtime on the same tensors."""
    pairs = {
        name: Pair(
            TorchSession(graph),
            OnnxRuntimeSession(folder / graphs[name].files[FP32], graph.inputs, graph.outputs),
        )
        for name, graph in model.graphs.items()
    }
    outputs = compare_graphs(model.pipeline, pairs, cases)
    controls = control_inputs(model.pipeline, pairs, cases.control(), allow_unused=allow_unused)
    return Parity(outputs=outputs, controls=controls)


def _write_golden(folder: Path, model: Exportable) -> GoldenFiles | None:
    """The rows as anybody will read them, and the answers of torch to these."""
    count = count_rows(model.golden)
    if not count:
        return None
    schema = model.pipeline.schema
    write_rows(folder / ROWS, schema, model.golden)
    rows = read_rows(folder / ROWS, schema)
    answers = answer_rows(_torch(model), rows, list(model.pipeline.programs))
    write_answers(folder / ANSWERS, answers)
    return GoldenFiles(ROWS, ANSWERS, count)


def _write_repository(
    folder: Path,
    model: Exportable,
    graphs: dict[str, GraphFiles],
    golden: GoldenFiles | None,
    options: ExportOptions,
    precisions: dict[str, PrecisionFigures],
) -> Manifest:
    """Pipeline, code and configurations, and a manifest that lacks the certificate alone."""
    pipeline = model.pipeline
    targets = [find_target(name) for name in targets_of(options)]
    path = write_pipeline(folder, pipeline)
    content = content_digest(folder, path, graphs)
    max_batch = min(target.max_batch for target in targets)
    facts = public_facts(pipeline, content, max_batch)
    lengths = gpu_lengths(pipeline, model.calibration)
    rows = warmup_rows(pipeline, model.golden)
    precision = options.default_precision
    write_targets(folder, facts, graphs, targets, rows, precision, lengths)
    manifest = Manifest(
        format=FORMAT,
        sha256="",
        name=pipeline.name,
        content_sha256=content,
        pipeline=path,
        graphs=graphs,
        targets=tuple(target.name for target in targets),
        max_batch=max_batch,
        golden=golden,
        metrics=dict(model.metrics),
        parity=Parity(),
        made=describe_maker(model.data_sha256),
        files=list_files(folder),
        default_precision=precision,
        precisions=precisions,
        lengths=lengths,
    )
    write_manifest(folder, manifest)
    return manifest


def _certify(folder: Path, model: Exportable, parity: Parity, options: ExportOptions) -> Parity:
    """Raw row to answer, on the bundle as it lies there."""
    torch = _torch(model)
    tables = [model.golden, *([options.check] if options.check is not None else [])]
    if not any(map(count_rows, tables)):
        tables = [model.calibration]
    bundle = Bundle.open(folder).predictor("cpu", precision=FP32)
    columns = certify("onnxruntime", torch, bundle, tables)
    bundle.close()
    not_run = []
    if options.check is None:
        not_run.append("test rows: none were given (--check)")
    if options.check_triton:
        from automm_export.triton_check import serve_bundle  # it stands on the client's packages

        with serve_bundle(folder) as client:
            columns += certify("triton", torch, client, tables)
    else:
        not_run.append("triton: not run (--check-triton)")
    return msgspec.structs.replace(parity, columns=columns, not_run=tuple(not_run))


def _torch(model: Exportable) -> LocalPredictor:
    """The predictor as it was trained: the same pipeline, over the very modules."""
    sessions = {name: TorchSession(graph) for name, graph in model.graphs.items()}
    return LocalPredictor(model.pipeline, sessions)


class _Stages:
    """Times the stages, and tells of each as it begins."""

    def __init__(self, watch: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._watch = watch

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        if self._watch is not None:
            self._watch(name)
        start = perf_counter()
        yield
        self.seconds[name] = round(perf_counter() - start, 3)
