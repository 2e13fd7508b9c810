"""What the bundle costs above its parts: one row and 32 rows, all contestants in one run.

    python benchmarks/latency.py [--json F] [--rounds 200]

Runs on what ``make quickstart`` left behind (``build/quickstart.json`` says where). The contestants
take turns, in another order each round, so that a noisy neighbour hits all alike:

- ``torch``: the trained predictor;
- ``bundle``: the exported bundle in process;
- ``raw``: ONNX Runtime alone, on tensors that were prepared before;
- ``decode + tokenise``: Pillow and tokenizers alone, on the same cells;
- ``triton``: the same rows through the client, over gRPC, where a server can be had.

``one_row.bundle_over_raw_session`` is the bundle's median over the medians of ``raw`` and
``decode + tokenise`` together: what schema, tensors, grouping and answer cost.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import statistics
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table as Sheet
from tokenizers import Tokenizer

from automm_serve.bundle import Bundle
from automm_serve.errors import AutoMMError
from automm_serve.pictures import encoded, pictures_of
from automm_serve.predictor import LocalPredictor
from automm_serve.processors import ImageProcessor, TextProcessor
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from automm_serve.table import read_table
from automm_serve.tensors import Table, count_rows, take_rows
from automm_serve.threads import thread_budget

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "onnxruntime", "Pillow", "tokenizers", "torch", "tritonclient")
Contestant = Callable[[], object]


def main() -> None:
    """Measure, print, and write the figures where asked."""
    options = _options()
    warnings.filterwarnings("ignore", module="PIL")  # our own path converts palettes as it asks
    made = json.loads((ROOT / "build" / "quickstart.json").read_text())
    rows = read_table(ROOT / made["rows_file"])
    with ExitStack() as stack:
        predictors = _predictors(stack, ROOT / made["predictor"], ROOT / made["bundle"])
        bundle = predictors["bundle"]
        assert isinstance(bundle, LocalPredictor)
        figures: dict[str, Any] = {"machine": _machine(), "rounds": options.rounds}
        for name, count, rounds in (
            ("one_row", 1, options.rounds),
            ("rows_32", 32, max(5, options.rounds // 8)),
        ):
            table = _batch(rows, bundle, count)
            figures[name] = _measure(_contestants(predictors, bundle, table), rounds)
    one = figures["one_row"]
    parts = one["raw"]["p50_ms"] + one["decode + tokenise"]["p50_ms"]
    one["bundle_over_raw_session"] = one["bundle"]["p50_ms"] / parts
    _print(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--rounds", type=int, default=200, help="turns of each contestant")
    options = parser.parse_args()
    if not (ROOT / "build" / "quickstart.json").is_file():
        sys.exit("build/quickstart.json is not there. Make it with:\n    make quickstart")
    return options


def _predictors(stack: ExitStack, trained: Path, bundle: Path) -> dict[str, Any]:
    from automm.predictor import MultiModalPredictor
    from automm_serve.triton.client import Client
    from automm_serve.triton.launch import TritonServer

    found: dict[str, Any] = {
        "torch": MultiModalPredictor.load(str(trained)),
        "bundle": Bundle.open(bundle).predictor(),
    }
    try:
        server = stack.enter_context(TritonServer(bundle))
        found["triton"] = stack.enter_context(Client(server.url()))
    except AutoMMError as error:
        Console(stderr=True).print(f"Triton was not measured: {error}")
    return found


def _batch(rows: Table, bundle: LocalPredictor, count: int) -> Table:
    """The first rows, pictures read into memory: the disk is nobody's subject here."""
    table, _ = bundle.pipeline.schema.conform(rows)
    table = take_rows(table, range(min(count, count_rows(table))))
    for column in bundle.pipeline.schema.columns:
        if column.kind == "image":
            table[column.name] = [
                [encoded(picture) for picture in pictures_of(cell)] for cell in table[column.name]
            ]
    return table


def _contestants(
    predictors: dict[str, Any], bundle: LocalPredictor, table: Table
) -> dict[str, Contestant]:
    def ask(predictor: Any) -> Contestant:
        return lambda: predictor.run(table)

    found = {name: ask(predictor) for name, predictor in predictors.items()}
    return found | {"raw": _raw(bundle, table), "decode + tokenise": _bare(bundle, table)}


def _raw(bundle: LocalPredictor, table: Table) -> Contestant:
    """The graph's runs alone: the feeds that the bundle gives it are recorded, then replayed."""
    session = bundle.sessions["predict"]
    assert isinstance(session, OnnxRuntimeSession)
    recorder = _Recorder(session)
    LocalPredictor(bundle.pipeline, {"predict": recorder}, bundle.batch_size).run(table)
    live = session.live
    names = [spec.name for spec in session.outputs]
    return lambda: [live.run(names, feed) for feed in recorder.feeds]


class _Recorder:
    """A session that remembers what it was fed."""

    def __init__(self, session: OnnxRuntimeSession) -> None:
        self.session, self.inputs, self.outputs = session, session.inputs, session.outputs
        self.feeds: list[dict[str, Any]] = []

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        self.feeds.append(feed)
        return self.session.run(feed)

    def close(self) -> None:
        """Leave the session open: it is the bundle's."""


def _bare(bundle: LocalPredictor, table: Table) -> Contestant:
    """Decode, resize and tokenise as a script without our processors would."""
    jobs: list[Contestant] = []
    for processor in bundle.pipeline.processors:
        cells = [cell for column in processor.columns for cell in table[column]]
        if isinstance(processor, ImageProcessor):
            pictures = [picture for cell in cells for picture in pictures_of(cell)]
            jobs.append(partial(_decode_all, pictures, (processor.width, processor.height)))
        elif isinstance(processor, TextProcessor):
            tokenizer = Tokenizer.from_str(bytes(processor.tokenizer).decode())
            jobs.append(partial(tokenizer.encode_batch, [str(cell or "") for cell in cells]))
    return lambda: [job() for job in jobs]


def _decode_all(pictures: list[Any], size: tuple[int, int]) -> list[np.ndarray[Any, Any]]:
    opened = (Image.open(io.BytesIO(content)).convert("RGB") for content in pictures)
    return [np.asarray(ImageOps.fit(image, size, Image.Resampling.BICUBIC)) for image in opened]


def _measure(contestants: dict[str, Contestant], rounds: int) -> dict[str, Any]:
    order = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in order}
    shuffle = random.Random(0).shuffle
    for _ in range(3):  # warm-up: arenas, caches, connections
        for run in contestants.values():
            run()
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            start = perf_counter()
            contestants[name]()
            times[name].append(1000 * (perf_counter() - start))
    return {
        name: {
            "p50_ms": statistics.median(found),
            "p95_ms": float(np.percentile(found, 95)),
            "min_ms": min(found),
        }
        for name, found in times.items()
    }


def _machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": thread_budget(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _print(figures: dict[str, Any]) -> None:
    console = Console()
    console.print(", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    sheet = Sheet("", "1 row: p50 ms", "p95", "min", "32 rows: p50 ms", "p95", "min")
    for name in figures["one_row"]:
        if isinstance(figures["one_row"][name], dict):
            cells = [
                f"{figures[size][name][key]:.2f}"
                for size in ("one_row", "rows_32")
                for key in ("p50_ms", "p95_ms", "min_ms")
            ]
            sheet.add_row(name, *cells)
    console.print(sheet)
    ratio = figures["one_row"]["bundle_over_raw_session"]
    console.print(f"bundle / (raw session + decode + tokenise), one row: [bold]{ratio:.2f}")


if __name__ == "__main__":
    main()
