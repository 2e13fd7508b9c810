"""``automm verify``: is a bundle what was exported?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automm.cli.console import print_json, print_table, remark

if TYPE_CHECKING:
    from automm_serve.manifest import ColumnParity
    from automm_serve.verify import VerifyReport


@click.command(epilog="\b\nExample:\n  automm verify bundle")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--target",
    metavar="RELEASE",
    help="Answer the golden rows under the ONNX Runtime of a container, such as triton:25.10.",
)
@click.option("--python", help="Interpreter to do that with.  [default: this one]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(bundle: Path, target: str | None, python: str | None, as_json: bool) -> None:
    """Check every file of a BUNDLE against its digest, and answer its golden rows.

    Prints what is wrong, one line each, and exits with 1 where something is.
    """
    if python and not target:
        raise click.UsageError("--python chooses the interpreter of --target; pass both.")
    from automm_serve.verify import verify

    report = verify(bundle)
    if not as_json:
        _print(bundle, report)
    elif not (report.ok and target):
        print_json(report)
    ok = report.ok and (not target or _verify_release(bundle, target, python, as_json))
    if not ok:
        click.get_current_context().exit(1)


def _print(bundle: Path, report: VerifyReport) -> None:
    _print_golden("golden rows, against the answers of the export", report.golden)
    for problem in report.problems:
        click.echo(problem)
    for what in report.not_run:
        click.echo(f"not checked: {what}")
    if report.ok:
        click.echo(f"{bundle}: all {report.files} files are as they were exported")


def _verify_release(bundle: Path, target: str, python: str | None, as_json: bool) -> bool:
    """Answer the golden rows as a release would; return whether all is as it should be."""
    from automm_serve.verify_release import verify_release

    report = verify_release(bundle, target, python, say=remark)
    if as_json:
        print_json(report)
        return report.ok
    _print_golden(f"golden rows, under {report.target}", report.golden)
    print_table("what answered", ("package", "version"), sorted(report.versions.items()))
    for problem in report.problems:
        click.echo(problem)
    for note in report.notes:
        remark(f"note: {note}")
    if report.ok:
        click.echo(f"{bundle}: it answers as it did, under the ONNX Runtime of {report.target}")
    return report.ok


def _print_golden(title: str, golden: Sequence[ColumnParity]) -> None:
    if golden:
        print_table(
            title,
            ("precision", "program", "column", "rows", "largest difference", "allowed"),
            [
                (
                    *(g.precision, g.program, g.column, str(g.rows)),
                    *(f"{g.difference:.1e}", f"{g.tolerance:.1e}"),
                )
                for g in golden
            ],
        )
