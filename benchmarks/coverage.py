"""Which families export, match, and build for TensorRT: one row each, none of them downloaded.

    make coverage
    python -m benchmarks.coverage [--only NAME ...]

Each row is a small model of the real architecture, made from its configuration and built as
training builds it. It is exported; compared with torch under ONNX Runtime at batches and lengths
that were not traced; each input is changed to see the answer change; it is written in fp16; and
TensorRT for RTX parses and builds both graphs, which it does without a GPU. **No engine is run:**
that an engine builds says nothing about its answers or its speed.

Writes ``docs/coverage.md`` and ``build/coverage.json``, and ends with 1 where a row fails or an
entry of the product's registries has no row. With ``--only`` neither file is written.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct
from rich.console import Console
from torch import nn

from automm.config.overrides import override
from automm.config.schema import Config
from automm.data.processing import fit_processors
from automm.models.encoders.torchvision_stub import declare_missing_operators
from automm.models.fused import FusedModel
from automm.models.fusion import FUSIONS
from automm.tasks import find_task
from automm.tasks.base import GRAPH
from automm_export.cases import Cases
from automm_export.engines.apart import build_apart
from automm_export.engines.job import Job
from automm_export.engines.options import CAPABILITIES, EngineOptions
from automm_export.engines.profiles import make_profiles
from automm_export.graph import Graph
from automm_export.parity import Pair, compare_graphs, control_inputs
from automm_export.precision.files import read_graph, save_graph
from automm_export.precision.retype import retype
from automm_export.precision.towers import find_towers
from automm_export.rewrite import to_onnx
from automm_export.session import TorchSession
from automm_serve.errors import AutoMMError
from automm_serve.pipeline import Pipeline
from automm_serve.processors import AnyProcessor
from automm_serve.schema import Schema
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from automm_serve.tensors import Table, Tensors
from benchmarks.coverage_page import Outcome, cells, sheet, write
from benchmarks.coverage_rows import LABELS, SMALL, Row, all_rows, table, uncovered

LEAST = 1e-3
"""Largest spread of an output over the rows below which nothing is shown by comparing it."""
ENGINES = EngineOptions(min_batch=1, opt_batch=2, max_batch=8)


class Built(Struct, frozen=True):
    """A row's model as training makes it, without training: a pipeline and its graph."""

    pipeline: Pipeline
    graph: Graph


def main() -> None:
    """Run the rows, print, write."""
    options = _options()
    rows = [row for row in all_rows() if not options.only or row.family in options.only]
    console, tell = Console(), Console(stderr=True)
    torch.set_num_threads(1)
    declare_missing_operators()
    from transformers.utils import logging

    bars: Any = logging  # untyped in transformers
    bars.disable_progress_bar()  # of the checkpoints that are written here
    start, found = perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="automm_coverage_") as folder:
        for number, row in enumerate(rows, start=1):
            outcome = run(row, Path(folder) / str(number))
            found.append(outcome)
            tell.print(f"{number:2}/{len(rows)}", *cells(outcome), highlight=False)
    console.print(sheet(found))
    for outcome in found:
        if outcome.reason:
            console.print(f"{outcome.family}: {outcome.reason}", highlight=False)
    missing = [] if options.only else uncovered(rows)
    if not options.only:
        write(found, perf_counter() - start)
    for entry in missing:
        console.print(f"no row for {entry!r} of the product's registries: add one to")
        console.print("    benchmarks/coverage_rows.py")
    sys.exit(1 if missing or any(outcome.reason for outcome in found) else 0)


def run(row: Row, folder: Path, *, engines: bool = True) -> Outcome:
    """Take a row as far as it goes.

    Args:
        row: What to build.
        folder: To write into; it is made.
        engines: Build them too.
    """
    start = perf_counter()
    folder.mkdir(parents=True)
    known: dict[str, object] = {}
    reasons: list[str] = []

    def attempt(stage: str, what: Callable[[], dict[str, object]]) -> bool:
        try:
            known.update(what())
        except (AutoMMError, ValueError) as error:
            reasons.append(f"{stage}: {' '.join(str(error).split())}")
            return False
        return True

    model = build(row, folder)
    cases = Cases(model.pipeline, table())
    fp32, fp16 = folder / "model.onnx", folder / "model.fp16.onnx"
    if attempt("export", lambda: _export(model, cases, fp32)):
        half = attempt("fp16", lambda: _to_half(model, cases, fp32, fp16))
        if engines:
            attempt("TensorRT, fp32", lambda: _build_engine(model, fp32, "fp32"))
            if half:
                attempt("TensorRT, fp16", lambda: _build_engine(model, fp16, "fp16"))
    outcome = Outcome(
        family=row.family,
        problem_type=row.problem_type,
        entries=tuple(sorted(row.entries)),
        seconds=round(perf_counter() - start, 1),
        reason="; ".join(reasons) or None,
    )
    return msgspec.structs.replace(outcome, **known)


def build(row: Row, folder: Path) -> Built:
    """Build a row's model as ``fit`` does, and draw its heads so that answers vary."""
    settings = {**SMALL, "model.names": list(row.names)}
    for name, make in row.checkpoints.items():
        settings[f"model.{name}.checkpoint_name"] = str(make(folder / name))
    config = override(Config(), settings)
    task, schema, rows = find_task(row.problem_type), Schema(row.schema), table()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        answer = task.answer(LABELS[row.problem_type], rows)
        processors = fit_processors(schema, rows, config)
        model = task.model(processors, answer, config)
        _spread_head(model, processors, rows)
    built = [processor.name for processor in processors]
    if sorted(built) != sorted(set(row.names) - set(FUSIONS)):
        raise ValueError(f"{row.family} claims {row.names}, and has {built}")
    graphs, programs = task.serve(model, processors, answer)
    pipeline = Pipeline("coverage", row.problem_type, schema, processors, programs)
    return Built(pipeline, graphs[GRAPH].eval())


def _export(model: Built, cases: Cases, path: Path) -> dict[str, object]:
    to_onnx(GRAPH, model.graph, cases.traced(), path)
    found = OnnxRuntimeSession(path, model.graph.inputs, model.graph.outputs)
    pairs = {GRAPH: Pair(TorchSession(model.graph), found)}
    outputs = compare_graphs(model.pipeline, pairs, cases)
    control_inputs(model.pipeline, pairs, cases.control(), allow_unused=False)
    answers = found.run(cases.control())
    flat = [name for name, values in answers.items() if np.ptp(values, axis=0).max() < LEAST]
    if flat:
        raise ValueError(f"{flat} do not vary over the rows, so that comparing them shows nothing")
    return {
        "exported": True,
        "max_abs_difference": max(o.difference for o in outputs),
        "largest": max(float(np.abs(values).max()) for values in answers.values()),
    }


def _to_half(model: Built, cases: Cases, fp32: Path, fp16: Path) -> dict[str, object]:
    """Every tower in fp16: what a release would choose by measuring is another question."""
    graph = read_graph(fp32)
    towers = find_towers({GRAPH: graph}, {GRAPH: model.graph})
    save_graph(retype(graph, {name for tower in towers for name in tower.nodes}, "fp16"), fp16)
    feed = cases.control()
    expected, found = (_answers(model, path, feed) for path in (fp32, fp16))
    return {
        "fp16_difference": max(
            float(np.abs(expected[name] - found[name]).max()) for name in expected
        )
    }


def _build_engine(model: Built, path: Path, precision: str) -> dict[str, object]:
    inputs = model.graph.inputs
    build_apart(
        Job(
            builder="tensorrt_rtx",
            graph=str(path),
            engine=str(path.with_suffix(".rtx")),
            inputs=inputs,
            profiles=make_profiles(inputs, ENGINES),
            precision=precision,
            capabilities=CAPABILITIES,
        )
    )
    return {f"rtx_{precision}": True}


def _answers(model: Built, path: Path, feed: Tensors) -> Tensors:
    session = OnnxRuntimeSession(path, model.graph.inputs, model.graph.outputs)
    found = session.run(feed)
    session.close()
    return found


def _spread_head(model: FusedModel, processors: Sequence[AnyProcessor], rows: Table) -> None:
    """Heads begin near zero, so that training starts at the trivial answer; here that is blind.

    Their outputs get a deviation of 1 over the rows, as far as a factor of ten does it: a larger
    one would show nothing but the last digits of the features.
    """
    assert isinstance(model.head, nn.Linear)
    tensors: Tensors = {}
    for processor in processors:
        tensors |= processor.transform(rows)[0]
    with torch.no_grad():
        features = model.eval()({n: torch.from_numpy(t) for n, t in tensors.items()})["features"]
        weight = torch.randn_like(model.head.weight) * model.head.in_features**-0.5
        weight /= (features @ weight.T).std(dim=0, keepdim=True).T.clamp(min=0.1)
        model.head.weight.copy_(weight)
        model.head.bias.copy_(-(features @ weight.T).mean(dim=0))  # else one class is certain


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[row.family for row in all_rows()],
        help="rows to run; nothing is written then",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
