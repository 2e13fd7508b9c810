"""What each precision costs and gains on two real models: ``make precision``.

    python -m benchmarks.precision [--data ../shared/data] [--keep build/precision]

Trains preset ``edge`` on the emoji set, and on the reviews of clothes where their file is there,
exports each in fp16, bf16 and int8, and writes ``docs/results/precision.md`` and ``.json``. One row
through the bundle is timed in fp32 and int8 in turn, one thread, on this machine's CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from automm import MultiModalPredictor
from automm_export.export import ExportOptions, Report, export
from automm_serve.bundle import Bundle
from automm_serve.errors import ExportError
from automm_serve.manifest import Manifest
from automm_serve.precisions import FP32
from automm_serve.predictor import LocalPredictor
from automm_serve.sessions.onnxruntime import OnnxRuntimeSession
from automm_serve.table import read_table
from automm_serve.tensors import Table, count_rows, take_rows
from examples.emoji import LABEL, unpack

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PRECISIONS = ("fp16", "bf16", "int8")
TIMED = (FP32, "int8")
ROUNDS = 60
PACKAGES = ("onnx", "onnxruntime", "torch", "numpy", "transformers", "timm")
REVIEWS = (
    "title", "review_text", "age", "positive_feedback_count",
    "clothing_id", "division_name", "department_name", "class_name",
)  # fmt: skip


class Subject(NamedTuple):
    """A model to measure.

    Attributes:
        name: Of the table.
        predictor: Trained.
        test: Rows with their label that training never saw.
    """

    name: str
    predictor: MultiModalPredictor
    test: Table


def main() -> None:
    """Train, export, time, write."""
    options = _options()
    shutil.rmtree(options.keep, ignore_errors=True)
    found = {}
    for make in (_emoji, _reviews):
        subject = make(options)
        if subject is None:
            continue
        found[subject.name] = _measure(subject, options.keep / "bundle" / subject.name, options)
    report = {"machine": _machine(), "models": found}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "precision.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "precision.md").write_text(_page(report))
    print(_page(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    data = os.environ.get("AUTOMM_EDGE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "precision")
    parser.add_argument("--emoji", type=Path, help="a predictor trained on the emoji set, to reuse")
    parser.add_argument("--max-drop", type=float, default=0.5)
    return parser.parse_args()


def _emoji(options: argparse.Namespace) -> Subject:
    files = unpack(options.keep / "data")
    _say("emoji: pictures, keywords, numbers, categories; 1,515 rows, preset edge")
    if options.emoji:
        predictor = MultiModalPredictor.load(options.emoji)
    else:
        predictor = MultiModalPredictor(
            label=LABEL, presets="edge", path=options.keep / "emoji", verbosity=1
        ).fit(files.train)
    return Subject("emoji", predictor, read_table(files.test))


def _reviews(options: argparse.Namespace) -> Subject | None:
    file = options.data / "cloth_review.parquet"
    if not file.is_file():
        _say(f"reviews: {file} is not there; left out")
        return None
    _say("reviews: two texts, numbers, categories; the rating as a number; 1,200 rows, preset edge")
    table = read_table(file)
    train = take_rows(_only(table, "train"), range(1200))
    predictor = MultiModalPredictor(
        label="rating",
        problem_type="regression",
        presets="edge",
        path=options.keep / "reviews",
        hyperparameters={"optim.max_epochs": 2, "model.hf_text.max_text_len": 64},
        verbosity=1,
    ).fit(train)
    test = _only(table, "test")
    return Subject("reviews", predictor, take_rows(test, range(min(1000, count_rows(test)))))


def _only(table: Table, split: str) -> dict[str, list[object]]:
    rows = [row for row, cell in enumerate(table["split"]) if cell == split]
    taken = take_rows(table, rows)
    return {name: taken[name] for name in (*REVIEWS, "rating")}


def _measure(subject: Subject, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Export; a precision that is refused is left out, and its figure kept."""
    refused: dict[str, str] = {}
    exportable = subject.predictor.exportable()
    while True:
        left = tuple(one for one in PRECISIONS if one not in refused)
        _say(f"{subject.name}: export in {', '.join(left)}")
        try:
            report = export(
                exportable,
                out,
                ExportOptions(
                    name=subject.name,
                    precisions=left,
                    tuning=subject.test,
                    max_drop=options.max_drop,
                ),
                watch=lambda stage: _say(f"{subject.name}: {stage}"),
            )
            break
        except ExportError as error:
            name = next((one for one in left if error.where == f"precision {one}"), None)
            if name is None:
                raise
            refused[name] = error.what
    bundle = Bundle.open(out)
    return {
        "figures": {key: msgspec.to_builtins(one) for key, one in report.precisions.items()},
        "refused": refused,
        "size_bytes": _sizes(bundle.manifest, report),
        "one_row_ms": _time(bundle, subject.test),
    }


def _sizes(manifest: Manifest, report: Report) -> dict[str, int]:
    keys = (FP32, *report.precisions)
    return {
        key: sum(report.sizes_bytes[graph.files[key]] for graph in manifest.graphs.values())
        for key in keys
    }


def _time(bundle: Bundle, test: Table) -> dict[str, float]:
    """Median time of one row from cells to answer, in turn, so that noise hits all alike."""
    predictors = {
        key: LocalPredictor(
            bundle.pipeline,
            {
                name: OnnxRuntimeSession(bundle.path / g.files[key], g.inputs, g.outputs, 1)
                for name, g in bundle.manifest.graphs.items()
            },
        )
        for key in TIMED
        if all(key in graph.files for graph in bundle.manifest.graphs.values())
    }
    rows = [take_rows(test, [row]) for row in range(min(20, count_rows(test)))]
    times: dict[str, list[float]] = {key: [] for key in predictors}
    for number in range(ROUNDS + 3):
        for key, predictor in predictors.items():
            start = time.perf_counter()
            predictor.run(rows[number % len(rows)])
            if number >= 3:
                times[key].append(1000 * (time.perf_counter() - start))
    return {key: round(statistics.median(found), 2) for key, found in times.items()}


def _machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _page(report: Mapping[str, Any]) -> str:
    lines = [
        "# What a precision costs",
        "",
        "Written by `make precision` (`benchmarks/precision.py`); all figures are in",
        "`precision.json`. *Lost* is points of a share, or per cent of an error, beside fp32 on",
        "the same test rows, with the 95 % bootstrap interval (paired over rows); negative is",
        "better. *Differs* is the largest difference of an answer from fp32's, of the answer's",
        "scale, over rows alone and in several batches. Nothing here ran on a GPU: fp16 is judged",
        "by ONNX Runtime on the CPU, which rounds weights and computes in 32 bits (its largest",
        "difference also by torch in fp16), bf16 by torch on the CPU; neither is meant to be run",
        "there. Which towers go back to fp32 was chosen on these same rows. *One row* is the whole",
        "way from cells to answer, one thread, medians in turn; the machine was shared, so only",
        "the ratio within a table says something.",
    ]
    for name, model in report["models"].items():
        first = next(iter(model["figures"].values()))
        lines += [
            "",
            f"## {name}: {first['metric']} on {first['rows']} test rows, fp32 {first['fp32']:.4f}",
            "",
            f"| precision | {first['metric']} | lost | interval | differs | MB | one row, ms |",
            "|---|---|---|---|---|---|---|",
            _line(FP32, model, f"{first['fp32']:.4f} | 0 | - | 0"),
        ]
        for key, one in model["figures"].items():
            cells = (
                f"{one['value']:.4f} | {one['drop']:+.2f} | {one['drop_low']:+.2f} to "
                f"{one['drop_high']:+.2f} | {one['difference']:.1e}"
            )
            lines.append(_line(key, model, cells))
        lines.append("")
        for key, one in model["figures"].items():
            towers = ", ".join(f"{tower} {value}" for tower, value in one["towers"].items())
            lines.append(f"- {key}: {towers}.")
            lines += [f"  - {tower} stays: {why}." for tower, why in one["reasons"].items()]
            lines += [f"  - {note}." for note in one["notes"]]
        lines += [f"- {key}: refused: {what}." for key, what in model["refused"].items()]
    words = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    return "\n".join([*lines, "", f"Machine: {words}.", ""])


def _line(key: str, model: Mapping[str, Any], cells: str) -> str:
    took = model["one_row_ms"].get(key)
    size = model["size_bytes"][key] / 1e6
    return f"| {key} | {cells} | {size:.1f} | {'not run' if took is None else f'{took:.1f}'} |"


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
