"""``automm info``: what each column of a table is taken for, or what a model holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from automm.cli.console import print_json, print_table, read_column_types, remark
from automm.loading import is_url

if TYPE_CHECKING:
    from automm.data.infer import Understanding
    from automm.report.model import ModelReport


@click.command(
    epilog="\b\nExample:\n  automm info rows.csv --label price\n  automm info bundle --json"
)
@click.argument("path")
@click.option("--label", metavar="COL", help="The column to predict, where PATH is a table.")
@click.option(
    "--column-type", "column_types", multiple=True, metavar="COL=KIND",
    help="What a column of the table is taken for, as in automm train. Repeat it.",
)  # fmt: skip
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: str,
    label: str | None,
    column_types: tuple[str, ...],
    image_root: str | None,
    as_json: bool,
) -> None:
    """Say what a table, a model or a server holds.

    PATH is a table: what each column is taken for, and why. Or the folder of a predictor or a
    bundle, or the URL of a served model: columns, classes, graphs, sizes, metrics.
    """
    if is_url(path) or Path(path).is_dir():
        from automm.report.model import describe_model

        model = describe_model(path)
        print_json(model) if as_json else _print_model(model)
        return
    from automm.data.infer import infer_schema
    from automm_serve.table import read_table

    given = read_column_types(column_types)
    table = infer_schema(read_table(path, image_root), label, column_types=given)
    print_json(table) if as_json else _print_table(path, table)


def _print_table(path: str, found: Understanding) -> None:
    rows = [
        (
            one.name,
            one.kind or "ignored",
            one.subtype,
            f"{one.counts['missing']:.0f}",
            f"{one.counts['distinct']:.0f}",
            f"{one.rule}: {one.reason}",
        )
        for one in found.reasons
    ]
    header = ("column", "kind", "form", "missing", "distinct", "why")
    size = found.reasons[0].counts["rows"] if found.reasons else 0
    print_table(f"{path}: {size:.0f} rows", header, rows)
    if found.label_reason:
        click.echo(f"label {found.label!r}: {found.problem_type}, {found.label_reason.reason}")
    for notice in found.notices:
        remark(f"note: {notice}")


def _print_model(found: ModelReport) -> None:
    title = f"{found.what} {found.where}: {found.name!r}, {found.problem_type}"
    columns = [(one.name, one.kind, "yes" if one.required else "") for one in found.columns]
    print_table(title, ("column", "kind", "required"), columns)
    if found.reasons:
        print_table("why", ("column", "taken for"), found.reasons.items())
    answers = [
        (program, ", ".join(f"{one.name} ({one.kind})" for one in columns))
        for program, columns in found.programs.items()
    ]
    print_table("answers", ("program", "columns"), answers)
    if found.classes is not None:
        click.echo(f"classes: {', '.join(map(str, found.classes))}")
    if found.graphs:
        tensors = [(name, one) for name, graph in found.graphs.items() for one in graph]
        print_table("graphs", ("graph", "tensor"), tensors)
    if found.files:
        sizes = [(name, _size(size)) for name, size in found.files.items()]
        print_table("files", ("file", "size"), [*sizes, ("all", _size(sum(found.files.values())))])
    for name, score in found.metrics.items():
        click.echo(f"{name}: {score:.4f}")
    for name, fact in found.facts.items():
        click.echo(f"{name}: {fact}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
