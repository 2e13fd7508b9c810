"""``automm evaluate``: scores of a model on a table with labels."""

from __future__ import annotations

import warnings

import click

from automm.cli.console import noting_devices, print_json, print_table, remark


@click.command(
    epilog="\b\nExample:\n  automm evaluate bundle test.csv --metric accuracy --metric log_loss"
)
@click.argument("model")
@click.argument("data")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Repeat it for several.")
@click.option("--device", default="auto", show_default=True, help="Such as cpu, cuda, tensorrt.")
@click.option("--precision", help="Such as fp16; MODEL is a bundle.  [default: the bundle's]")
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    model: str,
    data: str,
    metrics: tuple[str, ...],
    device: str,
    precision: str | None,
    image_root: str | None,
    as_json: bool,
) -> None:
    """Score a model on a table with labels.

    MODEL is the folder of a predictor or a bundle, or the URL of a served model; DATA a table
    that holds the label. Rows that fail, or have no label, are left out and counted.
    """
    from automm.loading import load
    from automm_serve.metrics import REPORTED_METRICS, find_metric, problem_type_of
    from automm_serve.predicts import RowWarning
    from automm_serve.table import read_table

    table = read_table(data, image_root)
    with noting_devices():
        predictor = load(model, device=device, precision=precision)
    kind = problem_type_of(predictor.answers["predict"])
    names = [find_metric(name, kind).name for name in metrics or REPORTED_METRICS[kind]]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RowWarning)
        scores = predictor.evaluate(table, names)
    notes = [str(one.message) for one in caught if issubclass(one.category, RowWarning)]
    for note in notes:
        remark(f"note: {note}")
    if as_json:
        print_json({"scores": scores, "warnings": notes})
    else:
        print_table(
            f"{model} on {data}",
            ("metric", "score"),
            [(name, f"{score:.6g}") for name, score in scores.items()],
        )
