"""``automm export``: a trained predictor becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from automm.cli.console import print_json, print_table, remark

if TYPE_CHECKING:
    from automm_export.export import Report
    from automm_serve.tensors import Table

_LARGEST = 5
"""Files whose sizes are printed."""


@click.command(epilog="\b\nExample:\n  automm export predictor --out bundle --check test.csv")
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
@click.option("--trt", is_flag=True, help="TensorRT engines; not in this release.")
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
    trt: bool,
    as_json: bool,
) -> None:
    """Write a trained PREDICTOR as an offline bundle, which holds a Triton repository.

    The answers of the bundle are compared with the predictor's, from raw row to answer; where
    they differ, nothing is written.
    """
    if trt:
        raise click.UsageError(
            "--trt: this release writes CPU targets only; GPU targets come with the TensorRT "
            "step. Export without --trt."
        )
    from rich.console import Console

    from automm_serve.errors import DataError
    from automm_serve.optional import require
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
    options = exporter.ExportOptions(
        name=name,
        golden=None if golden is None else kept_out,
        check=check and read_table(check, image_root),
        optional=optional,
        allow_unused_inputs=allow_unused_inputs,
        check_triton=check_triton,
        replace=replace,
    )
    with Console(stderr=True).status("load the predictor") as status:
        model = predictors.MultiModalPredictor.load(predictor).exportable()
        report = exporter.export(model, out, options, watch=status.update)
    if as_json:
        print_json(report)
    else:
        print_report(report)


def print_report(report: Report) -> None:
    """Print stages, sizes, and what was compared with torch and how near it came."""
    print_table(
        f"{report.path}: model {report.name!r} for {', '.join(report.targets)}",
        ("stage", "seconds"),
        [(stage, f"{seconds:.1f}") for stage, seconds in report.seconds.items()],
    )
    sizes = sorted(report.sizes_bytes.items(), key=lambda item: -item[1])
    whole = (f"all {len(sizes)} files", f"{sum(report.sizes_bytes.values()):,}")
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
    for what in parity.not_run:
        remark(f"note: not compared with torch: {what}")
