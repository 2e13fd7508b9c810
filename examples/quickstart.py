"""The whole way on real data: train, export, serve with Triton, ask, compare. ``make quickstart``.

``make quickstart TRT=1`` adds a graph in fp16 to the bundle, and engines of TensorRT for RTX, which
are built without a GPU.

Everything is written under ``build/``; the figures of the closing table to
``build/quickstart.json``. What is started is stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from automm import Client, MultiModalPredictor, load
from automm_export.engines.capabilities import describe_cards, where_not
from automm_export.engines.check import is_engine_line
from automm_export.export import ExportOptions, Report
from automm_serve.errors import ServerError
from automm_serve.metrics import score
from automm_serve.predictor import LocalPredictor
from automm_serve.predicts import Predicts
from automm_serve.table import read_table
from automm_serve.tensors import Table, count_rows, take_rows
from automm_serve.triton.launch import TritonServer
from examples.emoji import LABEL, MODALITIES, Score, score_baselines, unpack

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
HOME = BUILD / "quickstart"
SEEDS = ROOT / "docs" / "results" / "emoji.json"
"""Each modality alone, three seeds: ``make emoji-seeds``. Fifteen minutes, so not run here."""

STAGES = {
    "timm_image": "decode",
    "hf_text": "tokenise",
    "ft_transformer": "numbers",
    "predict": "graph",
    "answer": "answer",
}
"""What a predictor calls its stages -> what the table calls them."""
WARM_UP = 3
SINGLE_ROWS = 60
BATCHES = 6
BATCH_ROWS = 32


class Row(NamedTuple):
    """A line of the table: where the same rows were answered, how well and how fast."""

    where: str
    accuracy: float
    log_loss: float
    max_abs_difference: float
    p50_ms: float
    p95_ms: float
    rows_per_s_32: float


def main() -> None:
    """Run the stages in order."""
    console = Console(highlight=False)
    began = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    (BUILD / "quickstart.json").unlink(missing_ok=True)
    say = _speaker(console, began)

    say("unpack: 1,906 emoji; 1,515 rows to train on, 391 to test on")
    files = unpack(HOME / "data")

    say("train: pictures, keywords, numbers and categories; preset 'edge', pretrained encoders")
    predictor = MultiModalPredictor(label=LABEL, presets="edge", path=HOME / "predictor")
    predictor.fit(files.train)

    say("export: one ONNX graph, compared with torch; the bundle is a Triton model repository")
    test = read_table(files.test)
    options = ExportOptions(name="emoji", check=test)
    compiles = bool(os.environ.get("TRT"))
    if compiles:
        say("export: and fp16 beside fp32, and engines for RTX cards, built without one")
        options = msgspec.structs.replace(options, precisions=("fp16",), trt=True)
    exported = predictor.export(HOME / "bundle", options)

    with ExitStack() as stack:
        places: dict[str, Predicts] = {"torch": predictor, "bundle": load(HOME / "bundle")}
        url = ""
        try:
            say("serve: start Triton, and ask it the golden rows")
            server = stack.enter_context(TritonServer(HOME / "bundle"))
            url = server.url()
            places["triton"] = stack.enter_context(Client(url))
        except ServerError as error:
            if "triton" in os.environ.get("AUTOMM_REQUIRE", ""):
                raise
            console.print(f"\n[yellow]There is no row for Triton in the table:[/] {error}\n")
        say(f"ask: 391 test rows everywhere{f', Triton by {url}' if url else ''}")
        rows = _compare(places, test)
        stages = _time_stages(places, test)
    say("compare: the shares of the groups, and a linear model (scikit-learn)")
    baselines = dict(score_baselines(files))
    alone = _read_modalities()

    report = {
        "rows": [row._asdict() for row in rows],
        "stages_ms": stages,
        "baselines": {name: one._asdict() for name, one in baselines.items()},
        "single_modality": {name: one._asdict() for name, one in alone.items()},
        "predictor": str(HOME / "predictor"),
        "bundle": str(HOME / "bundle"),
        "rows_file": str(files.test),
        "engines": _list_engines(exported),
        "engines_missing": list(exported.missing),
    }
    (BUILD / "quickstart.json").write_text(json.dumps(report, indent=2) + "\n")
    say("done; Triton is stopped" if url else "done")
    console.print(_draw(rows, baselines, alone))
    console.print(_describe_stages(stages), soft_wrap=True)
    sizes = {name: _megabytes(HOME / name) for name in ("predictor", "bundle")}
    console.print("On disk: " + ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items()))
    if compiles:
        console.print(_draw_engines(exported))
        idle = filter(is_engine_line, exported.parity.not_run)
        for line in (*idle, *exported.missing):
            console.print(f"Not done: {line}", soft_wrap=True)
    console.print(_suggest(), soft_wrap=True)


def _speaker(console: Console, began: float) -> Callable[[str], None]:
    def say(what: str) -> None:
        name, _, text = what.partition(": ")
        seconds = time.monotonic() - began
        gap = "  " if text else ""
        console.print(f"[dim]{seconds:4.0f} s[/]  [bold]{name}[/]{gap}{text}", soft_wrap=True)

    return say


def _compare(places: Mapping[str, Predicts], test: Table) -> list[Row]:
    """Score every place on all rows, and time them in turn, so that the machine's moods are shared.

    The rows go in as they would from a file: picture paths are opened within the time.
    """
    found = {name: place.run(test) for name, place in places.items()}
    answer = places["torch"].answers["predict"]
    scores = {
        name: score(["accuracy", "log_loss"], answer, test[LABEL], answers.columns)
        for name, answers in found.items()
    }
    probabilities = {n: np.array(a.columns["probabilities"]) for n, a in found.items()}
    one_ms = _take_times(places, _cut(test, 1, SINGLE_ROWS))
    batch_ms = _take_times(places, _cut(test, BATCH_ROWS, BATCHES))
    rows = []
    for name in places:
        difference = float(np.abs(probabilities[name] - probabilities["torch"]).max())
        rows.append(
            Row(
                where=name,
                accuracy=round(scores[name]["accuracy"], 4),
                log_loss=round(scores[name]["log_loss"], 6),
                max_abs_difference=difference,
                p50_ms=round(float(np.percentile(one_ms[name], 50)), 3),
                p95_ms=round(float(np.percentile(one_ms[name], 95)), 3),
                rows_per_s_32=round(1000 * BATCH_ROWS / median(batch_ms[name]), 1),
            )
        )
    return rows


def _cut(table: Table, rows: int, parts: int) -> list[Table]:
    most = count_rows(table) // rows
    return [take_rows(table, range(n * rows, (n + 1) * rows)) for n in range(min(parts, most))]


def _take_times(places: Mapping[str, Predicts], tables: Sequence[Table]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    for table in tables[:WARM_UP]:
        for place in places.values():
            place.run(table)
    for table in tables:
        for name, place in places.items():
            start = time.perf_counter()
            place.run(table)
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def _time_stages(places: Mapping[str, Predicts], test: Table) -> dict[str, float]:
    """Milliseconds of each stage for one row (median): in the bundle, and what Triton adds."""
    bundle = places["bundle"]
    if not isinstance(bundle, LocalPredictor):
        raise TypeError("the bundle is opened in this process")
    times: dict[str, list[float]] = defaultdict(list)
    wire = []
    for table in _cut(test, 1, SINGLE_ROWS):
        with _watched(bundle, times):
            start = time.perf_counter()
            bundle.run(table)
            here = time.perf_counter() - start
        if "triton" in places:
            start = time.perf_counter()
            places["triton"].run(table)
            wire.append(1000 * (time.perf_counter() - start - here))
    stages = {STAGES.get(name, name): round(median(cells), 3) for name, cells in times.items()}
    if wire:
        stages["wire"] = round(max(0.0, median(wire)), 3)
    return stages


@contextmanager
def _watched(predictor: LocalPredictor, times: dict[str, list[float]]) -> Iterator[None]:
    predictor.watch = lambda stage, seconds: times[stage].append(1000 * seconds)
    yield
    predictor.watch = None


def _read_modalities() -> dict[str, Score]:
    if not SEEDS.is_file():
        return {}
    found: dict[str, Any] = json.loads(SEEDS.read_text())["mean"]
    return {name: Score(**found[name]) for name in MODALITIES}


def _draw(rows: Sequence[Row], baselines: Mapping[str, Score], alone: Mapping[str, Score]) -> Grid:
    grid = Grid(title="391 test emoji, 9 groups", title_justify="left")
    grid.add_column("where", no_wrap=True)
    for heading in (
        "accuracy",
        "log-loss",
        "largest\ndifference",
        "one row\np50 ms",
        "one row\np95 ms",
        f"rows/s\nat {BATCH_ROWS}",
    ):
        grid.add_column(heading, justify="right")
    for row in rows:
        grid.add_row(
            row.where,
            f"{row.accuracy:.3f}",
            f"{row.log_loss:.3f}",
            "-" if row.where == "torch" else f"{row.max_abs_difference:.1e}",
            f"{row.p50_ms:.1f}",
            f"{row.p95_ms:.1f}",
            f"{row.rows_per_s_32:.0f}",
        )
    for group, marker in ((baselines, ""), (alone, " alone")):
        grid.add_section()
        for name, one in group.items():
            grid.add_row(name + marker, f"{one.accuracy:.3f}", f"{one.log_loss:.3f}")
    if alone:
        grid.caption = "alone: mean of three seeds, from docs/results/emoji.md"
        grid.caption_justify = "left"
    return grid


def _list_engines(report: Report) -> list[dict[str, Any]]:
    builds = {build.file: build for build in report.builds}
    return [
        {
            "file": str(Path(report.path) / engine.path),
            "precision": engine.precision,
            "builder": f"{engine.builder} {engine.version}",
            "capabilities": engine.capabilities,
            "runs_on": engine.device or describe_cards(engine.capabilities),
            "size_bytes": builds[Path(engine.path).name].size_bytes,
            "seconds": builds[Path(engine.path).name].seconds,
        }
        for engine in report.engines
    ]


def _draw_engines(report: Report) -> Grid:
    grid = Grid(title="TensorRT engines, built here", title_justify="left")
    for heading in ("engine", "runs on"):
        grid.add_column(heading)
    for heading in ("MB", "seconds"):
        grid.add_column(heading, justify="right")
    for one in _list_engines(report):
        cards = f"{one['runs_on']} ({', '.join(one['capabilities'])})"
        size, seconds = f"{one['size_bytes'] / 1e6:.1f}", f"{one['seconds']:.1f}"
        grid.add_row(Path(one["file"]).name, cards, size, seconds)
    grid.caption = f"*.rtx: {where_not()}"
    grid.caption_justify = "left"
    return grid


def _describe_stages(stages: Mapping[str, float]) -> str:
    return "One row, ms: " + ", ".join(f"{name} {value:.2f}" for name, value in stages.items())


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _suggest() -> str:
    automm = Path(sys.executable).with_name("automm")
    shown = [os.path.relpath(path) for path in (automm, HOME / "bundle", HOME / "data/test.csv")]
    return (
        "\nThe figures are in build/quickstart.json. Now try:\n"
        f"    {shown[0]} info {shown[1]}\n"
        f"    {shown[0]} predict {shown[1]} {shown[2]}\n"
        f"    {shown[0]} serve {shown[1]}"
    )


if __name__ == "__main__":
    main()
