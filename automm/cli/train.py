"""``automm train``: a table becomes a trained predictor."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import click
import msgspec

from automm.cli.console import print_json, print_table, read_column_types, remark
from automm.report import search as trials
from automm.search.record import SearchSummary

if TYPE_CHECKING:
    from automm.predictor import MultiModalPredictor


@click.command(
    epilog="\b\nExample:\n  automm train rows.csv --label price --out predictor\n"
    "  automm train rows.csv --label kind --set optim.max_epochs=2 --column-type zip=categorical\n"
    "  automm train rows.csv --label kind --num-trials 20 "
    """--set 'optim.lr={"loguniform":[1e-5,1e-2]}'\n"""
    "  automm train --resume predictor"
)
@click.argument("data", required=False)
@click.option("--label", metavar="COL", help="The column to predict.")
@click.option("--out", metavar="DIR", help="Folder to save to; one in AutoMMModels otherwise.")
@click.option("--preset", metavar="NAME", help="edge where not given.")
@click.option("--problem-type", metavar="TYPE", help="binary, multiclass or regression.")
@click.option("--eval-metric", metavar="NAME", help="What to choose the best state by.")
@click.option("--tuning-data", metavar="DATA", help="Rows to choose by, instead of a hold-out.")
@click.option(
    "--max-num-tuning-data", type=int, metavar="N", help="Most rows to choose by.",
)  # fmt: skip
@click.option("--holdout-frac", type=float, metavar="SHARE", help="Of the rows: hold out so many.")
@click.option(
    "--time-limit", type=float, metavar="SECONDS",
    help="From here to the saved predictor, from 60 on.",
)  # fmt: skip
@click.option(
    "--resume", metavar="DIR",
    help="Go on with the fit that was cut off there; DATA and settings are those it began with.",
)  # fmt: skip
@click.option(
    "--set", "-o", "--hyperparameter", "settings", multiple=True, metavar="KEY=VALUE",
    help="A setting, such as optim.lr=1e-4, or a range to search. Repeat it for several.",
)  # fmt: skip
@click.option(
    "--column-type", "column_types", multiple=True, metavar="COL=KIND",
    help="What a column is: categorical, numerical, text, image_path, null. Repeat it.",
)  # fmt: skip
@click.option(
    "--teacher", metavar="DIR",
    help="A trained predictor of the same column: what it answers is learned too.",
)  # fmt: skip
@click.option(
    "--calibrate-threshold", is_flag=True,
    help="Fit the probability from which on the second of two classes is answered.",
)  # fmt: skip
@click.option("--num-trials", type=int, metavar="N", help="Search: most trials.")
@click.option("--searcher", metavar="NAME", help="Search: bayes or random.")
@click.option("--scheduler", metavar="NAME", help="Search: ASHA, which stops poor trials, or FIFO.")
@click.option("--max-concurrent", type=int, metavar="N", help="Search: trials at once.")
@click.option("--image-root", metavar="DIR", help="Folder that relative picture paths start from.")
@click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), help="auto where not given.")
@click.option("--devices", type=int, metavar="N", help="Processes, one a device; -1 for all GPUs.")
@click.option("--num-nodes", type=int, metavar="N", help="Machines; started on each of them.")
@click.option("--strategy", metavar="NAME", help="ddp, fsdp, deepspeed_stage_2 or another.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    data: str | None,
    label: str | None,
    out: str | None,
    preset: str | None,
    problem_type: str | None,
    eval_metric: str | None,
    tuning_data: str | None,
    max_num_tuning_data: int | None,
    holdout_frac: float | None,
    time_limit: float | None,
    resume: str | None,
    settings: tuple[str, ...],
    column_types: tuple[str, ...],
    teacher: str | None,
    calibrate_threshold: bool,
    num_trials: int | None,
    searcher: str | None,
    scheduler: str | None,
    max_concurrent: int | None,
    image_root: str | None,
    device: str | None,
    devices: int | None,
    num_nodes: int | None,
    strategy: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train a predictor on DATA, a CSV, JSON lines or Parquet file, and save it."""
    from automm_serve.optional import require

    predictor_module = require("automm.predictor", purpose="automm train")
    predictor: MultiModalPredictor
    if resume is not None:
        predictor, data = _cut_off(predictor_module, resume, data, label, out)
    else:
        predictor, data = _new(predictor_module, data, label, problem_type, eval_metric, out)
    environment = {
        "accelerator": device,
        "num_gpus": devices,
        "num_nodes": num_nodes,
        "strategy": strategy,
    }
    given = [f"env.{key}={value}" for key, value in environment.items() if value is not None]
    asked = {
        "num_trials": num_trials,
        "searcher": searcher,
        "scheduler": scheduler,
        "max_concurrent": max_concurrent,
    }
    search = {name: value for name, value in asked.items() if value is not None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor.fit(
            data,
            presets=preset,
            tuning_data=tuning_data,
            max_num_tuning_data=max_num_tuning_data,
            holdout_frac=holdout_frac,
            time_limit=time_limit,
            hyperparameters=[*given, *settings],
            column_types=read_column_types(column_types) or None,
            calibrate_decision_threshold=True if calibrate_threshold else "auto",
            image_root=image_root,
            teacher_predictor=teacher,
            seed=seed,
            hyperparameter_tune_kwargs=search or None,
        )
    if not require("automm.training.devices", purpose="automm train").is_main():
        return  # one of several processes speaks
    notes = [str(one.message) for one in caught if one.category.__module__.startswith("automm")]
    for note in notes:
        remark(f"note: {note}")
    summary = predictor.fit_summary()
    if as_json:
        print_json({"path": str(predictor.path), "summary": summary, "warnings": notes})
    else:
        _print(predictor, summary)


def _new(
    module: Any,
    data: str | None,
    label: str | None,
    problem_type: str | None,
    eval_metric: str | None,
    out: str | None,
) -> tuple[MultiModalPredictor, str]:
    if data is None:
        raise click.UsageError("Missing argument 'DATA'.")
    if label is None:
        raise click.UsageError("Missing option '--label'.")
    predictor = module.MultiModalPredictor(
        label=label, problem_type=problem_type, eval_metric=eval_metric, path=out
    )
    return predictor, data


def _cut_off(
    module: Any, folder: str, data: str | None, label: str | None, out: str | None
) -> tuple[MultiModalPredictor, str]:
    """The predictor whose fit was cut off, and the table that it began with."""
    if label is not None or out is not None:
        raise click.UsageError("--resume knows the label and the folder: leave them out.")
    predictor = module.MultiModalPredictor.load(folder, resume=True, verbosity=2)
    data = data or predictor.data_path
    if data is None:
        raise click.UsageError("The table was no file: resume in Python, with the same table.")
    return predictor, data


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
    if found := summary["temperature"]:
        click.echo(
            f"temperature {found['value']:.3g}: log-loss {found['log_loss_before']:.4g} -> "
            f"{found['log_loss_after']:.4g}, calibration error {found['ece_before']:.3g} -> "
            f"{found['ece_after']:.3g}"
        )
    if found := summary["decision"]:
        click.echo(
            f"threshold {found['threshold']:.3g}: {found['metric']} {found['before']:.4g} -> "
            f"{found['after']:.4g}"
        )
    if summary["search"] is not None:
        searched = msgspec.convert(summary["search"], SearchSummary)
        print_table(trials.title(searched), trials.header(searched), trials.rows(searched))
    click.echo(f"saved to {predictor.path}, {summary['seconds']['all']:.0f} s")
    click.echo(f"what it understood, learnt and got wrong: {predictor.path}/report.html")
