"""``automm calibrate``: the threshold between two classes, found or given, put into a predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automm.cli.console import print_json

if TYPE_CHECKING:
    from automm.predictor import MultiModalPredictor


@click.command(
    epilog="\b\nExample:\n  automm calibrate predictor --metric f1\n"
    "  automm calibrate predictor labelled.csv --metric balanced_accuracy\n"
    "  automm calibrate predictor --threshold 0.3"
)
@click.argument("predictor")
@click.argument("data", required=False)
@click.option("--metric", metavar="NAME", help="Of the answers.  [default: eval_metric, or f1]")
@click.option("--threshold", type=float, metavar="P", help="This one, and none is looked for.")
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    predictor: str,
    data: str | None,
    metric: str | None,
    threshold: float | None,
    image_root: str | None,
    as_json: bool,
) -> None:
    """Choose from which probability on the second of two classes is answered.

    It is the one at which a metric is best on DATA, rows with a label; on the validation rows that
    PREDICTOR has kept where there is no DATA. The predictor is saved with it; bundles are to be
    exported anew.
    """
    from automm_serve.optional import require

    if threshold is not None and (data is not None or metric is not None):
        raise click.UsageError("--threshold is the answer: leave DATA and --metric out.")
    trained: MultiModalPredictor = require(
        "automm.predictor", purpose="automm calibrate"
    ).MultiModalPredictor.load(predictor)
    before = trained.decision_threshold
    if threshold is None:
        threshold = trained.calibrate_decision_threshold(data, metric, image_root=image_root)
    trained.set_decision_threshold(threshold)
    trained.save(predictor, replace=True)
    if as_json:
        print_json({"before": before, "threshold": threshold})
    else:
        click.echo(f"threshold {before:g} -> {threshold:g}, saved to {predictor}")
