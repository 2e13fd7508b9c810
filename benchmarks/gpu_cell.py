"""One measurement of ``benchmarks/gpu.py``, in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from automm.tasks.base import GRAPH
from automm_export.cases import Cases
from automm_export.graph import Graph
from automm_export.precision.files import read_graph, save_graph
from automm_export.precision.retype import retype
from automm_export.precision.towers import find_towers
from automm_export.rewrite import to_onnx
from automm_export.session import TorchSession
from automm_serve.pipeline import Pipeline
from automm_serve.tensors import Tensors
from benchmarks.gpu_contestants import BATCH_ROWS, COLUMNS, FP16, FP32, Run
from benchmarks.gpu_models import LENGTH, all_models, build, feed

EXPORT = "export"
ANSWERS = "answers.npz"
CHECKED = 4
"""Rows whose answers are compared."""

MOST_APART = 0.05
"""Largest difference of a probability from fp32's; beyond it something else is computed."""

WARM_UP, LEAST_S = 10, 2.0


def run_cell(name: str, column: str, folder: Path, *, tiny: bool) -> None:
    """Export a model, or measure one way of running it; print what came of it as JSON.

    Args:
        name: Of the model.
        column: ``EXPORT``, or one of ``COLUMNS``.
        folder: Where the files of the model lie.
        tiny: A dry run on the CPU.
    """
    model = next(model for model in all_models() if model.name == name)
    pipeline, graph = build(model, folder / "configurations" / column, tiny=tiny)
    length = 32 if tiny else LENGTH
    if column == EXPORT:
        _export(pipeline, graph, folder, length)
        print(json.dumps({}))
        return
    device = "cpu" if tiny else "cuda"
    with _peak(device) as peak:
        run = COLUMNS[column](graph, folder, device)
        _compare(run, graph, folder, length)
        figures = _measure(run, graph, length, seconds=0.1 if tiny else LEAST_S)
    print(json.dumps({**figures, "peak_mb": peak[0] >> 20}), flush=True)
    os._exit(0)  # libraries of CUDA that end in another order than they began may crash here


def _export(pipeline: Pipeline, graph: Graph, folder: Path, length: int) -> None:
    """Write the graph in both precisions, and the answers that every column must give."""
    to_onnx(GRAPH, graph, Cases(pipeline, {}).traced(), folder / FP32)
    half = read_graph(folder / FP32)
    towers = find_towers({GRAPH: half}, {GRAPH: graph})
    names = {name for tower in towers for name in tower.nodes}
    save_graph(retype(half, names, "fp16"), folder / FP16)
    answers = TorchSession(graph).run(feed(graph, CHECKED, length=length))
    if np.ptp(answers["probabilities"], axis=0).max() == 0:
        raise RuntimeError("all rows are answered alike, so that nothing can be compared")
    np.savez(folder / ANSWERS, probabilities=answers["probabilities"])


def _compare(run: Run, graph: Graph, folder: Path, length: int) -> None:
    expected = np.load(folder / ANSWERS)["probabilities"]
    found = run(feed(graph, CHECKED, length=length))["probabilities"]
    apart = float(np.abs(expected - found).max())
    if not apart <= MOST_APART:  # NaN too
        raise RuntimeError(f"its answers differ by {apart:.3g} from those of fp32 on the CPU")


def _measure(run: Run, graph: Graph, length: int, *, seconds: float) -> dict[str, Any]:
    one, many = feed(graph, 1, length=length), feed(graph, BATCH_ROWS, length=length)
    single, batched = _times(run, one, seconds), _times(run, many, seconds)
    return {
        "p50_ms": 1e3 * statistics.median(single),
        "p95_ms": 1e3 * float(np.quantile(single, 0.95)),
        "rows_per_second": BATCH_ROWS * len(batched) / sum(batched),
        "runs": len(single) + len(batched),
    }


def _times(run: Run, rows: Tensors, seconds: float) -> list[float]:
    """Seconds of each run, after some that are not counted."""
    for _ in range(WARM_UP):
        run(rows)
    found: list[float] = []
    while sum(found) < seconds or len(found) < WARM_UP:
        start = perf_counter()
        run(rows)  # its answers are on the host when it returns, so that nothing is under way
        found.append(perf_counter() - start)
    return found


@contextmanager
def _peak(device: str) -> Iterator[list[int]]:
    """Watch how much of the device is taken, beyond what was when this began; in bytes."""
    peak, stop = [0], threading.Event()
    if device != "cuda":  # a dry run: there is no device to ask
        yield peak
        return

    def used() -> int:
        free, total = torch.cuda.mem_get_info()
        return total - free

    before = used()  # this makes the context of CUDA, which is not counted

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], used() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak[0] = max(peak[0], used() - before)
