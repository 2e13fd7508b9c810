"""``automm compile``: engines for a bundle that exists, on the machine that will serve it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automm.cli.console import print_json
from automm.cli.engines import engine_options, print_engines, split, to_options, watching

if TYPE_CHECKING:
    from automm_export.engines.compile import CompileReport


@click.command(
    name="compile",
    epilog="\b\nExample:\n  automm compile bundle\n"
    "  automm compile bundle --out compiled --precision fp16 --target triton:26.04",
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the bundle with engines.  [default: it takes the place of BUNDLE]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    help="Build these alone; repeat it or use commas.  [default: all that the bundle has]",
)
@click.option(
    "--target",
    default="",
    metavar="RELEASE",
    help="Refuse a builder that this release does not read, such as triton:26.04.",
)
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    bundle: Path,
    out: Path | None,
    precisions: tuple[str, ...],
    target: str,
    as_json: bool,
    **engines: Any,
) -> None:
    """Build the TensorRT engines of BUNDLE for the machine that will serve it.

    Neither torch nor the predictor is needed. A sibling is built and takes the bundle's place when
    all is well; where anything fails, nothing is changed.
    """
    from automm_serve.optional import require

    compiler = require("automm_export.engines.compile", purpose="automm compile")
    options = to_options(engines, split(precisions), target)
    with watching("open the bundle") as (stage, progress):
        report = compiler.compile_bundle(bundle, out, options, watch=stage, progress=progress)
    print_json(report) if as_json else _print(report)


def _print(report: CompileReport) -> None:
    print_engines(report.engines, report.builds, report.missing, report.not_run)
    golden = f"its {report.golden} golden rows answer" if report.golden else "its graphs are"
    click.echo(f"\n{report.path}: {golden} as before")
