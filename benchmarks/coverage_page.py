"""What ``make coverage`` found, as a table, a page and a file."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.table import Table as Sheet

from automm_export.engines.options import CAPABILITIES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "timm", "onnx", "onnxruntime", "tensorrt-rtx-cu12")


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a row.

    Attributes:
        family: What it is called.
        problem_type: That it answers.
        entries: Of the product's registries that it stands for.
        exported: It is an ONNX file, which answers as torch does, to each of its inputs.
        max_abs_difference: Of any output from torch's, on all feeds; None where there is none.
        largest: Of all outputs, which that difference is to be held beside.
        rtx_fp32: TensorRT for RTX parses and builds it.
        rtx_fp16: The same of the graph in fp16.
        fp16_difference: Of an output in fp16 from fp32's on this CPU, which says nothing of what
            would overflow on a GPU.
        seconds: All of it took.
        reason: Why one of them is false.
    """

    family: str
    problem_type: str
    entries: tuple[str, ...]
    exported: bool = False
    max_abs_difference: float | None = None
    largest: float | None = None
    rtx_fp32: bool = False
    rtx_fp16: bool = False
    fp16_difference: float | None = None
    seconds: float = 0.0
    reason: str | None = None


def sheet(found: Sequence[Outcome]) -> Sheet:
    """Return the table for the terminal."""
    made = Sheet("family", "problem", "max difference", "fp16 differs by", "RTX fp32", "RTX fp16")
    for outcome in found:
        made.add_row(*cells(outcome))
    return made


def cells(outcome: Outcome) -> tuple[str, ...]:
    """Return what is shown of a row."""
    return (
        outcome.family,
        outcome.problem_type,
        f"{_number(outcome.max_abs_difference)} of {outcome.largest or 0:.1f}"
        if outcome.exported
        else "**no**",
        _number(outcome.fp16_difference),
        "builds" if outcome.rtx_fp32 else "**no**",
        "builds" if outcome.rtx_fp16 else "**no**",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def write(found: Sequence[Outcome], seconds: float) -> None:
    """Write ``docs/coverage.md`` and ``build/coverage.json``."""
    versions = {name: _version(name) for name in PACKAGES}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, no GPU used"
    content = {"rows": found, "machine": machine, "versions": versions}
    build = ROOT / "build" / "coverage.json"
    build.parent.mkdir(exist_ok=True)
    build.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    lines = [" | ".join(["", *cells(outcome), ""]).strip() for outcome in found]
    lines += ["", *(f"- {one.family}: {one.reason}" for one in found if one.reason)]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    page = PAGE.format(
        rows="\n".join(lines).rstrip(),
        machine=machine,
        versions=named,
        seconds=round(seconds),
        capabilities=", ".join(CAPABILITIES),
    )
    (ROOT / "docs" / "coverage.md").write_text(page)


PAGE = """# What exports

Written by `make coverage`, which fails where a row does or where an encoder, a fusion or a task of
the product has no row. Every row is a small model of the real architecture with random weights,
made from its configuration, and built, exported and compared as `automm export` does it.

- **max difference**: the largest difference of any output from torch's under ONNX Runtime, in
  fp32, of the largest output; at batches and lengths that were not traced and with every pattern
  of gaps. Each input was changed too, and the answer changed with it.
- **fp16 differs by**: the largest difference of the graph whose towers are all in fp16 from the one
  in fp32, both on a CPU. It says nothing of overflow, which `automm export` judges on the fp32
  graph.
- **RTX fp32, RTX fp16**: TensorRT for RTX parses the graph and builds an engine for the compute
  capabilities {capabilities}. This needs no GPU, and **none of these engines has been run**.

| family | problem | max difference | fp16 differs by | RTX fp32 | RTX fp16 |
|---|---|---|---|---|---|
{rows}

Machine: {machine}. Versions: {versions}. The whole took {seconds} s.
"""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
