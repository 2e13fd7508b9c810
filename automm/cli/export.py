"""``automm export``: a trained predictor becomes a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from automm.cli.console import print_json, print_table, remark
from automm.cli.engines import (
    NAMES,
    engine_options,
    print_engines,
    split,
    to_options,
    watching,
)
from automm.cli.precisions import print_precisions

if TYPE_CHECKING:
    from automm_export.export import Report
    from automm_serve.tensors import Table

_LARGEST = 5
"""Files whose sizes are printed."""


@click.command(
    epilog="\b\nExample:\n  automm export predictor --out bundle --check test.csv\n"
    "  automm export predictor --out bundle --precision fp16 --trt"
)
@click.argument("predictor", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--name", default="", help="Of the model on Triton.  [default: the predictor's]")
@click.option(
    "--golden",
    metavar="DATA|none",
    help="Rows that travel with the bundle to check it: the first 32 of a table, or none.  "
    "[default: rows that the predictor kept]",
)
@click.option("--check", metavar="DATA", help="Test rows to compare torch and the bundle on.")
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
@click.option(
    "--optional",
    metavar="COL",
    multiple=True,
    help="A column that may be absent, though it had no gap in training. Repeat it for several.",
)
@click.option("--allow-unused-inputs", is_flag=True, help="Only report an input without effect.")
@click.option("--check-triton", is_flag=True, help="Compare the answers of a real server, too.")
@click.option("--replace", is_flag=True, help="Replace the bundle that lies at --out.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Where it shall be served; repeat it for several. A release, such as triton:26.04, "
    "refuses a builder that it does not read.  [default: the CPU targets, with --trt all]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="NAME",
    help="fp16, bf16 or int8 beside fp32; repeat it or use commas.",
)
@click.option(
    "--default-precision",
    default="fp32",
    show_default=True,
    metavar="NAME",
    help="What targets use that can run it.",
)
@click.option(
    "--max-drop",
    default=0.5,
    show_default=True,
    help="Most that a precision may lose: points of a share, per cent of a loss or an error.",
)
@click.option(
    "--tuning-data",
    metavar="DATA",
    help="Labelled rows to measure that on.  [default: rows that the predictor kept]",
)
@click.option(
    "--standalone",
    multiple=True,
    metavar="TAG",
    help="A Python that shall need nothing installed, such as cp312-x86_64; repeat it or use "
    "commas.",
)
@click.option(
    "--trt", is_flag=True, help="Prepare the GPU targets, and build the engines that can be."
)
@click.option("--require-engine", is_flag=True, help="With --trt: no engine at all is an error.")
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    predictor: Path,
    out: Path,
    name: str,
    golden: str | None,
    check: str | None,
    image_root: str | None,
    optional: tuple[str, ...],
    allow_unused_inputs: bool,
    check_triton: bool,
    replace: bool,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    default_precision: str,
    max_drop: float,
    tuning_data: str | None,
    standalone: tuple[str, ...],
    trt: bool,
    require_engine: bool,
    as_json: bool,
    **engines: Any,
) -> None:
    """Write a trained PREDICTOR as an offline bundle, which holds a Triton repository.

    The answers of the bundle are compared with the predictor's, from raw row to answer; where
    they differ, nothing is written.
    """
    if not trt:
        _refuse_without_trt()
    from automm_serve.errors import DataError
    from automm_serve.optional import require
    from automm_serve.precisions import FP32, find_precision
    from automm_serve.table import read_table
    from automm_serve.tensors import count_rows

    predictors = require("automm.predictor", purpose="automm export")
    exporter = require("automm_export.export", purpose="automm export")
    kept_out: Table = {}
    if golden not in (None, "none"):
        kept_out = read_table(golden, image_root)
        if not count_rows(kept_out):
            raise DataError(
                where=str(golden),
                what="it has no rows",
                mend="Pass rows that the bundle may carry, or --golden none",
            )
    releases = [target for target in targets if ":" in target]
    if releases and not trt:
        raise click.UsageError(
            f"--target {releases[0]} says who reads engines; pass --trt as well."
        )
    if len(releases) > 1:
        raise click.UsageError("--target takes one release.")
    options = exporter.ExportOptions(
        name=name,
        golden=None if golden is None else kept_out,
        check=check and read_table(check, image_root),
        optional=optional,
        allow_unused_inputs=allow_unused_inputs,
        check_triton=check_triton,
        replace=replace,
        targets=tuple(target for target in targets if ":" not in target),
        precisions=tuple(find_precision(p) for p in split(precisions) if p != FP32),
        default_precision=find_precision(default_precision),
        max_drop=max_drop,
        tuning=tuning_data and read_table(tuning_data, image_root),
        trt=trt,
        engines=to_options(engines, target=next(iter(releases), "")),
        require_engine=require_engine,
        standalone=split(standalone),
    )
    with watching("load the predictor") as (stage, progress):
        model = predictors.MultiModalPredictor.load(predictor).exportable()
        report = exporter.export(model, out, options, watch=stage, progress=progress)
    if engines["max_length"] is not None:
        remark(
            f"note: every session of this bundle cuts texts at {engines['max_length']} tokens; its "
            "metrics were measured without that"
        )
    if as_json:
        print_json(report)
    else:
        print_report(report)


def _refuse_without_trt() -> None:
    """An option of engines would do nothing, silently."""
    context = click.get_current_context()
    for name in (*NAMES, "require_engine"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(p for p in context.command.params if p.name == name).opts[0]
            raise click.UsageError(f"{option} says how engines are built; pass --trt as well.")


def print_report(report: Report) -> None:
    """Print stages, sizes, and what was compared with torch and how near it came."""
    from automm_export.engines.check import is_engine_line

    print_table(
        f"{report.path}: model {report.name!r} for {', '.join(report.targets)}",
        ("stage", "seconds"),
        [(stage, f"{seconds:.1f}") for stage, seconds in report.seconds.items()],
    )
    sizes = sorted(_join_libraries(report.sizes_bytes).items(), key=lambda item: -item[1])
    whole = (f"all {len(report.sizes_bytes)} files", f"{sum(report.sizes_bytes.values()):,}")
    print_table(
        "the largest files",
        ("file", "bytes"),
        [*((file, f"{size:,}") for file, size in sizes[:_LARGEST]), whole],
    )
    parity = report.parity
    compared = [
        (f"graph {o.graph}", o.output, f"{o.cases} feeds", o.difference, o.tolerance)
        for o in parity.outputs
    ]
    compared += [
        (f"{c.where}, {c.program}", c.column, f"{c.rows} rows", c.difference, c.tolerance)
        for c in parity.columns
    ]
    print_table(
        "compared with torch",
        ("where", "what", "on", "largest difference", "allowed"),
        [(*words, f"{found:.1e}", f"{allowed:.1e}") for *words, found, allowed in compared],
    )
    for control in parity.controls:
        if control.effect == 0:
            remark(f"note: input {control.input} of graph {control.graph!r} has no effect")
    print_precisions(report.precisions, report.sizes_bytes)
    idle = [what for what in parity.not_run if is_engine_line(what)]
    for what in parity.not_run:
        if what not in idle:
            remark(f"note: not compared with torch: {what}")
    print_engines(report.engines, report.builds, report.missing, idle)


def _join_libraries(sizes: Mapping[str, int]) -> dict[str, int]:
    """Each folder of ``lib/`` as one entry, instead of the hundreds of files in it."""
    joined: dict[str, int] = {}
    for file, size in sizes.items():
        parts = file.split("/")
        name = f"lib/{parts[1]}/" if parts[0] == "lib" else file
        joined[name] = joined.get(name, 0) + size
    return joined
