"""``automm verify``: is a bundle what was exported?"""

from __future__ import annotations

from pathlib import Path

import click

from automm.cli.console import print_json, print_table


@click.command(epilog="\b\nExample:\n  automm verify bundle")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(bundle: Path, as_json: bool) -> None:
    """Check every file of a BUNDLE against its digest, and answer its golden rows.

    Prints what is wrong, one line each, and exits with 1 where something is.
    """
    from automm_serve.verify import verify

    report = verify(bundle)
    if as_json:
        print_json(report)
    else:
        if report.golden:
            print_table(
                "golden rows, against the answers of the export",
                ("program", "column", "rows", "largest difference", "allowed"),
                [
                    (g.program, g.column, str(g.rows), f"{g.difference:.1e}", f"{g.tolerance:.1e}")
                    for g in report.golden
                ],
            )
        for problem in report.problems:
            click.echo(problem)
        for what in report.not_run:
            click.echo(f"not checked: {what}")
        if report.ok:
            click.echo(f"{bundle}: all {report.files} files are as they were exported")
    if not report.ok:
        click.get_current_context().exit(1)
