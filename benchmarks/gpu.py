"""How fast the presets' encoders and fusions run on a GPU, by each way of running them.

    python -m benchmarks.gpu                      # all; goes on where it was interrupted
    python -m benchmarks.gpu --only "edge: text"  # some models
    python -m benchmarks.gpu --dry-run            # tiny models on a CPU, to try this script

What it needs there: an NVIDIA GPU with its driver; torch built for CUDA; ``automm-edge[train]``
with ``onnxruntime-gpu`` in the place of ``onnxruntime``; for the last column ``tensorrt`` and
``cuda-python``; a C compiler for ``torch.compile``. No network and no checkpoint: models are made
from configurations, with random weights. What of this is missing leaves its column at 'not run',
with the reason.

Every model is built in full size and exported once. Each way of running it then has a process of
its own, and is timed from arrays on the host to arrays on the host, copies included: one row
(median and 95th percentile), and batches of 32. Its answers are compared with those of torch in
fp32 on the CPU, and a way that answers otherwise has no figures. Peak memory is the device's, less
what was in use when the process had its CUDA context: nothing else should run on the GPU.

Writes ``build/gpu.json`` after each measurement, and in the end ``docs/results/gpu.json`` and
``gpu.md``. Without a GPU it ends with 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as Sheet

from benchmarks.gpu_cell import EXPORT, run_cell
from benchmarks.gpu_contestants import BATCH_ROWS, COLUMNS
from benchmarks.gpu_models import LENGTH, Model, all_models

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
KEPT = ROOT / "build" / "gpu.json"
PACKAGES = ("torch", "transformers", "timm", "onnxruntime-gpu", "tensorrt")
LIMIT_S = 400
"""Longest that one measurement may take, its compiling included."""

DRY = ("edge: text", "edge: image", "edge: tabular")
"""Models of a dry run, where none is named."""

PAPER: Mapping[str, tuple[float, str]] = {
    "classification and regression (Memotion: image, text, table)": (35.6, "the fused models here"),
    "matching of texts": (41.3, "no kind of this release"),
    "matching of images": (16.0, "no kind of this release"),
    "matching of images and texts": (41.5, "no kind of this release"),
    "object detection": (8.9, "no kind of this release"),
    "semantic segmentation": (6.9, "no kind of this release"),
}
"""AutoMM's rows a second, one at a time on one GPU of 8 x A100 40G (Tang et al., 2024,
arXiv:2404.16233, appendix H), and what of ours it may be held beside."""

Cell = dict[str, Any]


def main() -> None:
    """Measure what is not measured yet, print, write."""
    options = _options()
    if options.cell:
        name, column = options.cell
        run_cell(name, column, options.folder, tiny=options.dry_run)
        return
    if not options.dry_run and not torch.cuda.is_available():
        sys.exit("There is no GPU that this torch can use. To try the script without: --dry-run")
    console = Console(stderr=True)
    machine = _machine(dry=options.dry_run)
    chosen = options.only or (DRY if options.dry_run else [m.name for m in all_models()])
    models = [model for model in all_models() if model.name in chosen]
    found = {} if options.dry_run else _kept(machine)
    for model in models:
        missing = [name for name in COLUMNS if f"{model.name} | {name}" not in found]
        if not missing:
            continue
        with tempfile.TemporaryDirectory(prefix="automm_gpu_") as folder:
            made = _in_its_process(model, EXPORT, Path(folder), options)
            for name in missing:
                failed = "reason" in made
                cell = made if failed else _in_its_process(model, name, Path(folder), options)
                found[f"{model.name} | {name}"] = cell
                console.print(f"{model.name}, {name}: {_words(cell)}", highlight=False)
                if not options.dry_run:
                    _keep(machine, found)
    if options.dry_run:
        print("DRY RUN on a CPU with tiny models: no figure below says anything of a GPU")
    Console().print(_sheet(models, found))
    if not options.dry_run:
        _write(machine, [m for m in all_models() if _has(found, m)], found)


def _in_its_process(model: Model, column: str, folder: Path, options: argparse.Namespace) -> Cell:
    """One measurement: a crash, or memory that runs out, is its reason and no more."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--cell", model.name, column]
    command += ["--folder", str(folder)] + ["--dry-run"] * options.dry_run
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"it takes more than {LIMIT_S} s"}
    lines = ended.stdout.strip().splitlines()
    if ended.returncode == 0 and lines:
        cell: Cell = json.loads(lines[-1])
        return cell
    said = ended.stderr.strip().splitlines() or [f"it ended with {ended.returncode}"]
    stage = "it cannot be exported: " if column == EXPORT else ""
    return {"reason": f"{stage}{said[-1][:300]}"}


def _machine(*, dry: bool) -> dict[str, Any]:
    device = "CPU (dry run)" if dry else torch.cuda.get_device_name()
    versions = {name: _version(name) for name in PACKAGES}
    return {"device": device, "cuda": str(torch.version.cuda), **versions}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _kept(machine: Mapping[str, Any]) -> dict[str, Cell]:
    """What was measured on this machine with these versions; that of another is left aside."""
    try:
        kept = json.loads(KEPT.read_text())
    except (OSError, ValueError):
        return {}
    return dict(kept["cells"]) if kept.get("machine") == machine else {}


def _keep(machine: Mapping[str, Any], found: Mapping[str, Cell]) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps({"machine": machine, "cells": found}, indent=1) + "\n")


def _has(found: Mapping[str, Cell], model: Model) -> bool:
    return all(f"{model.name} | {name}" in found for name in COLUMNS)


def _sheet(models: Sequence[Model], found: Mapping[str, Cell]) -> Sheet:
    sheet = Sheet("", *COLUMNS)
    for model in models:
        sheet.add_row(model.name, *(_words(found[f"{model.name} | {name}"]) for name in COLUMNS))
    return sheet


def _words(cell: Cell) -> str:
    if "reason" in cell:
        return f"not run: {cell['reason']}"
    return (
        f"{cell['p50_ms']:.2f} ms (p95 {cell['p95_ms']:.2f}), "
        f"{cell['rows_per_second']:.0f} rows/s, {cell['peak_mb']} MB"
    )


def _write(machine: Mapping[str, Any], models: Sequence[Model], found: Mapping[str, Cell]) -> None:
    RESULTS.mkdir(exist_ok=True)
    rows = [
        {"model": model.name, "column": name, **found[f"{model.name} | {name}"]}
        for model in models
        for name in COLUMNS
    ]
    content = {"machine": machine, "rows": rows}
    (RESULTS / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
    table = [
        f"| {model.name} | "
        + " | ".join(_words(found[f"{model.name} | {name}"]) for name in COLUMNS)
        + " |"
        for model in models
    ]
    paper = [f"| {kind} | {rate} | {beside} |" for kind, (rate, beside) in PAPER.items()]
    page = PAGE.format(
        machine=", ".join(f"{key} {value}" for key, value in machine.items()),
        columns=" | ".join(COLUMNS),
        rule="---|" * (len(COLUMNS) + 1),
        rows="\n".join(table),
        paper="\n".join(paper),
        length=LENGTH,
        batch=BATCH_ROWS,
    )
    (RESULTS / "gpu.md").write_text(page)


PAGE = """# On a GPU

Written by `python -m benchmarks.gpu`, whose first lines say what it needs. Machine: {machine}.

Models in full size, from configurations, with random weights; texts of {length} tokens. Each cell:
one row, median and 95th percentile in milliseconds; rows a second in batches of {batch}; peak
memory. From arrays on the host to arrays on the host.

| | {columns} |
|{rule}
{rows}

## The paper's figures beside them

Rows a second, one at a time, on one GPU of a machine with eight A100 40G, before any export. Other
hardware, other years, and other models: a place to look from, no contest.

| kind of problem | rows a second | beside |
|---|---|---|
{paper}
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [model.name for model in all_models()]
    parser.add_argument("--only", nargs="+", metavar="MODEL", choices=names, help="some models")
    parser.add_argument("--dry-run", action="store_true", help="tiny models on a CPU")
    parser.add_argument("--cell", nargs=2, metavar=("MODEL", "COLUMN"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
