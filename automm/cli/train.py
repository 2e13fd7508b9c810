"""``automm train``: a table becomes a trained predictor."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import click

from automm.cli.console import print_json, print_table, remark

if TYPE_CHECKING:
    from automm.predictor import MultiModalPredictor


@click.command(
    epilog="\b\nExample:\n  automm train rows.csv --label price --out predictor\n"
    "  automm train rows.csv --label kind --set optim.max_epochs=2 --column-type zip=categorical"
)
@click.argument("data")
@click.option("--label", required=True, metavar="COL", help="The column to predict.")
@click.option("--out", metavar="DIR", help="Folder to save to; one in AutoMMModels otherwise.")
@click.option("--preset", metavar="NAME", help="edge where not given.")
@click.option("--problem-type", metavar="TYPE", help="binary, multiclass or regression.")
@click.option("--eval-metric", metavar="NAME", help="What to choose the best state by.")
@click.option("--tuning-data", metavar="DATA", help="Rows to choose by, instead of a hold-out.")
@click.option("--time-limit", type=float, metavar="SECONDS", help="When training stops.")
@click.option(
    "--set", "-o", "--hyperparameter", "settings", multiple=True, metavar="KEY=VALUE",
    help="A setting, such as optim.lr=1e-4. Repeat it for several.",
)  # fmt: skip
@click.option(
    "--column-type", "column_types", multiple=True, metavar="COL=KIND",
    help="What a column is: categorical, numerical, text, image_path, null. Repeat it.",
)  # fmt: skip
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
@click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    data: str,
    label: str,
    out: str | None,
    preset: str | None,
    problem_type: str | None,
    eval_metric: str | None,
    tuning_data: str | None,
    time_limit: float | None,
    settings: tuple[str, ...],
    column_types: tuple[str, ...],
    image_root: str | None,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """Train a predictor on DATA, a CSV, JSON lines or Parquet file, and save it."""
    from automm_serve.optional import require

    predictor_module = require("automm.predictor", purpose="automm train")
    predictor: MultiModalPredictor = predictor_module.MultiModalPredictor(
        label=label, problem_type=problem_type, presets=preset, eval_metric=eval_metric, path=out
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor.fit(
            data,
            tuning_data=tuning_data,
            time_limit=time_limit,
            hyperparameters=[f"env.accelerator={device}", *settings],
            column_types=_pairs(column_types),
            image_root=image_root,
            seed=seed,
        )
    notes = [str(one.message) for one in caught if one.category.__module__.startswith("automm")]
    for note in notes:
        remark(f"note: {note}")
    summary = predictor.fit_summary()
    if as_json:
        print_json({"path": str(predictor.path), "summary": summary, "warnings": notes})
    else:
        _print(predictor, summary)


def _pairs(column_types: tuple[str, ...]) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for item in column_types:
        name, equals, kind = item.rpartition("=")  # a column's name may hold an '='
        if not equals:
            raise click.BadParameter(f"{item!r} is not COL=KIND", param_hint="--column-type")
        pairs[name] = kind
    return pairs


def _print(predictor: MultiModalPredictor, summary: dict[str, Any]) -> None:
    columns = [(name, kind or "ignored") for name, kind in predictor.column_types.items()]
    print_table("columns", ("column", "taken for"), columns)
    metric = summary["metric"]
    rivals = [("trivial predictor", summary["trivial"]), ("linear model", summary["linear"])]
    known = [(name, f"{score:.4g}") for name, score in rivals if score is not None]
    print_table(
        f"{metric} on {summary['rows']['valid']} validation rows",
        ("who", metric),
        [*known, ("this predictor", f"{summary['score']:.4g}")],
    )
    scores = [(name, f"{score:.6g}") for name, score in summary["scores"].items()]
    print_table("this predictor", ("metric", "score"), scores)
    click.echo(f"saved to {predictor.path}, {summary['seconds']['all']:.0f} s")
