"""What temperature and threshold are worth on three real sets of two classes.

    python -m benchmarks.threshold [--data ../shared/data]

Each set is trained with ``eval_metric="f1"`` at three seeds, on its training rows alone: weights,
temperature and threshold see no test row. F1 of the test rows is then taken at one half and at the
threshold, from the same probabilities, and log-loss and calibration error with the temperature and
without. Sets, seeds and settings were fixed before the first run. Writes
``docs/results/threshold.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from automm.config.overrides import Hyperparameters
from automm.predictor import MultiModalPredictor
from automm.training.calibrate import calibration_error, log_loss, rescale
from automm_serve.answers import ClassesAnswer
from automm_serve.table import read_table
from automm_serve.tensors import Table, take_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
SEEDS = (0, 1, 2)
LABEL = "label"
AIRBNB = (
    "neighbourhood_group", "neighbourhood", "room_type", "latitude", "longitude", "minimum_nights",
    "number_of_reviews", "reviews_per_month", "calculated_host_listings_count", "availability_365",
)  # fmt: skip


class Binary(NamedTuple):
    """A set of two classes.

    Attributes:
        what: The question, in words.
        train: Rows to learn from, the label among the columns.
        test: Rows to judge on.
        settings: Beside the preset's.
    """

    what: str
    train: Table
    test: Table
    settings: Hyperparameters = None


def spambase(data: Path) -> Binary:
    """57 numbers; 40 % of the rows are spam."""
    table = dict(read_table(data / "spambase.parquet"))
    train, test = _split(table)
    return Binary("is it spam? 57 numbers", train, test)


def airbnb(data: Path) -> Binary:
    """Numbers and categories with gaps; is the price among the highest tenth?"""
    table = dict(read_table(data / "airbnb_nyc.parquet"))
    train, test = _split({name: table[name] for name in (*AIRBNB, "price", "split")})
    edge = float(np.quantile(np.array(train["price"], float), 0.9))
    parts = []
    for part, rows in ((train, 4000), (test, 6000)):
        dear = [int(float(str(price)) > edge) for price in part["price"]]
        kept = {name: part[name] for name in AIRBNB} | {LABEL: dear}
        parts.append(take_rows(kept, range(rows)))
    return Binary("is its price in the top tenth? 7 numbers, 3 categories", *parts)


def sick(data: Path) -> Binary:
    """Two sentences; does one follow from the other? The encoder of texts stays as it is."""
    table = dict(read_table(data / "sick.parquet"))
    train, test = _split({name: table[name] for name in ("text_a", "text_b", LABEL, "split")})
    settings = {
        "model.hf_text.frozen_blocks": 7,
        "model.hf_text.max_text_len": 48,
        "optim.max_epochs": 3,
        "optim.val_check_interval": 1.0,
    }
    return Binary(
        "does one sentence follow from the other? two texts, frozen encoder",
        take_rows(train, range(1500)),
        take_rows(test, range(2000)),
        settings,
    )


SETS: tuple[Callable[[Path], Binary], ...] = (spambase, airbnb, sick)


def main() -> None:
    """Train, compare, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    rows = []
    for make in SETS:
        found = make(options.data)
        for seed in SEEDS:
            rows.append({"set": make.__name__, "seed": seed, **_measure(found, seed)})
            print(json.dumps(rows[-1]), flush=True)
    page = _page(rows, {make.__name__: make(options.data) for make in SETS})
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "threshold.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "threshold.md").write_text(page)
    print(page)


def _measure(data: Binary, seed: int) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        predictor = MultiModalPredictor(
            label=LABEL,
            problem_type="binary",
            eval_metric="f1",
            path=Path(folder) / "predictor",
            verbosity=0,
        ).fit(data.train, hyperparameters=data.settings, seed=seed)
        at_half = predictor.evaluate(data.test, decision_threshold=0.5)
        at_threshold = predictor.evaluate(data.test)
        probabilities = predictor.predict_proba(data.test)
        answer = predictor.answers["predict"]
    summary = predictor.fit_summary()
    temperature = summary["temperature"]["value"]
    assert isinstance(answer, ClassesAnswer)
    codes = answer.encode(data.test, {})[0]["classes"]
    warm = rescale(probabilities, 1 / temperature)
    return {
        "valid_rows": summary["rows"]["valid"],
        "threshold": round(summary["decision"]["threshold"], 4),
        "f1_half": round(at_half["f1"], 4),
        "f1": round(at_threshold["f1"], 4),
        "temperature": round(temperature, 3),
        "log_loss_before": round(log_loss(warm, codes), 4),
        "log_loss": round(log_loss(probabilities, codes), 4),
        "ece_before": round(calibration_error(warm, codes), 4),
        "ece": round(calibration_error(probabilities, codes), 4),
        "seconds": summary["seconds"]["all"],
    }


def _split(table: Table) -> tuple[Table, Table]:
    """Training and test rows, without the column that tells them apart."""
    kept = {name: list(cells) for name, cells in table.items() if name != "split"}
    parts = [
        take_rows(kept, [row for row, cell in enumerate(table["split"]) if cell == name])
        for name in ("train", "test")
    ]
    return parts[0], parts[1]


_COLUMNS = {
    "f1_half": "F1 at 0.5",
    "f1": "F1 at the threshold",
    "log_loss_before": "log-loss at T = 1",
    "log_loss": "log-loss",
    "ece_before": "ECE at T = 1",
    "ece": "ECE",
}
"""Figure -> what it is called."""

_INTRODUCTION = """# What temperature and threshold are worth

Written by `python -m benchmarks.threshold`; all figures are in `threshold.json`. Three sets of two
classes, three seeds each, preset `edge`, `eval_metric="f1"`. Temperature and threshold were fitted
on the validation rows, which had chosen the weights before; the figures are of test rows, and F1 is
that of the second class. ECE is the expected calibration error.
"""


def _page(rows: list[dict[str, Any]], sets: dict[str, Binary]) -> str:
    """The page; the last row of the first table is the mean over the sets."""
    means = {
        name: {key: fmean(row[key] for row in rows if row["set"] == name) for key in _COLUMNS}
        for name in sets
    }
    whole = {key: fmean(mean[key] for mean in means.values()) for key in _COLUMNS}
    lines = [
        _INTRODUCTION,
        *_head("set", *_COLUMNS.values()),
        *(_line(name, mean) for name, mean in means.items()),
        _line("**mean**", whole),
        "",
        *(f"- {name}: {one.what}; {_yes(one.test)}." for name, one in sets.items()),
        "",
        *_head("set", "seed", "validation rows", "temperature", "threshold", "F1 at 0.5", "F1"),
        *_runs(rows),
    ]
    return "\n".join(lines) + "\n"


def _head(*names: str) -> tuple[str, str]:
    return f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"


def _line(name: str, mean: dict[str, float]) -> str:
    return f"| {name} | {' | '.join(f'{mean[column]:.4f}' for column in _COLUMNS)} |"


def _runs(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        figures = (row["temperature"], row["threshold"], row["f1_half"], row["f1"])
        shown = " | ".join(f"{figure:.3f}" for figure in figures)
        yield f"| {row['set']} | {row['seed']} | {row['valid_rows']} | {shown} |"


def _yes(table: Table) -> str:
    """How often the answer is yes, and what F1 an answer has that says nothing else."""
    share = fmean(int(str(cell)) for cell in table[LABEL])
    return f"yes in {share:.0%} of the rows, and F1 {2 * share / (1 + share):.3f} by always yes"


if __name__ == "__main__":
    main()
