"""``automm predict``: the rows of a table, answered."""

from __future__ import annotations

from pathlib import Path

import click

from automm.cli.console import noting_devices, remark


@click.command(
    epilog="\b\nExample:\n  automm predict bundle rows.csv --proba --keep-columns --out answers.csv"
)
@click.argument("model")
@click.argument("data")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Else to stdout.")
@click.option("--program", default="predict", show_default=True, help="Such as embed.")
@click.option("--proba", is_flag=True, help="Add the probability of each class.")
@click.option("--keep-columns", is_flag=True, help="Repeat the columns of DATA, but no pictures.")
@click.option("--device", default="auto", show_default=True, help="Such as cpu, cuda, tensorrt.")
@click.option("--precision", help="Such as fp16; MODEL is a bundle.  [default: the bundle's]")
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), help="By the name of --out, else csv."
)
def command(
    model: str,
    data: str,
    out: Path | None,
    program: str,
    proba: bool,
    keep_columns: bool,
    device: str,
    precision: str | None,
    image_root: str | None,
    form: str | None,
) -> None:
    """Answer the rows of a table.

    MODEL is the folder of a predictor or a bundle, or the URL of a served model. A row that
    cannot be answered has no answer but a text in the column `error`; its neighbours do not
    suffer. Exit code 1 only where no row was answered.
    """
    from automm.loading import load
    from automm.report.answers import answer_table, check_answered, format_of, write_answers
    from automm_serve.table import read_table

    form = form or format_of(out)
    table = read_table(data, image_root)
    with noting_devices():
        predictor = load(model, device=device, precision=precision)
    found = answer_table(predictor, table, program, proba, keep_columns)
    write_answers(found.columns, out, form)
    for warning in found.warnings:
        remark(f"note: {warning}")
    if found.errors:
        remark(f"note: {len(found.errors)} of {found.rows} rows have no answer; see column 'error'")
    check_answered(found, data)
