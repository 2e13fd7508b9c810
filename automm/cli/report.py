"""``automm report``: where a predictor's page is, or a page of other rows."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="\b\nExample:\n  automm report predictor\n"
    "  automm report predictor test.csv --out test.html"
)
@click.argument("predictor")
@click.argument("data", required=False)
@click.option("--out", metavar="FILE", help="The page to write for DATA.")
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
def command(predictor: str, data: str | None, out: str | None, image_root: str | None) -> None:
    """Print the path of the page that fit wrote into PREDICTOR.

    With DATA, rows with a label, write a page of these: what it confuses, the worst answers, the
    metric on parts of the rows.
    """
    from automm.report.html.paths import find_report

    folder = Path(predictor)
    if data is None:
        if out is not None:
            raise click.UsageError("--out is for a page of DATA.")
        click.echo(find_report(folder))
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    from automm_serve.optional import require
    from automm_serve.table import read_table

    trained = require("automm.predictor", purpose="automm report")
    click.echo(
        trained.MultiModalPredictor.load(folder).write_report(read_table(data, image_root), out)
    )
