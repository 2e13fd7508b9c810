"""Does fusing help? Each modality of the emoji set alone, and all together, over three seeds.

    make emoji-seeds

Trains twelve predictors with preset ``edge`` (about fifteen minutes on two cores), and writes
``docs/results/emoji.json`` and ``emoji.md``. Fused is compared with each modality on the same test
rows by a paired bootstrap: rows are drawn anew, with all seeds of a row together, as the seeds of
one row are no independent rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automm import MultiModalPredictor
from automm_serve.table import read_table
from automm_serve.tensors import FileTable, Table
from examples.emoji import LABEL, MODALITIES, score_baselines, unpack

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
FUSED = "fused"
DRAWS = 10_000
INTERVAL = (2.5, 97.5)
PACKAGES = ("torch", "transformers", "timm", "numpy")


class Answers(NamedTuple):
    """One predictor's answers to the test rows: was it right (rows,), and its loss (rows,)."""

    right: NDArray[np.float64]
    loss: NDArray[np.float64]


def main() -> None:
    """Train each predictor, compare, write."""
    options = _options()
    columns = {FUSED: tuple(c for part in MODALITIES.values() for c in part), **MODALITIES}
    found: dict[str, list[Answers]] = {name: [] for name in columns}
    with tempfile.TemporaryDirectory(prefix="automm_emoji_") as folder:
        home = Path(folder)
        files = unpack(home / "data")
        train, test = read_table(files.train), read_table(files.test)
        for seed in range(options.seeds):
            for name, chosen in columns.items():
                began = time.monotonic()
                answers = _train(train, test, chosen, home / f"{name}-{seed}", seed)
                found[name].append(answers)
                seconds = time.monotonic() - began
                print(
                    f"seed {seed} {name:8} accuracy {answers.right.mean():.3f}"
                    f" log-loss {answers.loss.mean():.3f} {seconds:4.0f} s",
                    flush=True,
                )
        baselines = score_baselines(files)
    report = {
        "seeds": options.seeds,
        "versions": {name: version(name) for name in PACKAGES},
        "mean": {name: _mean(answers) for name, answers in found.items()},
        "by_seed": {name: [_mean([one]) for one in answers] for name, answers in found.items()},
        "fused_minus": {name: _bootstrap(found[FUSED], found[name]) for name in MODALITIES},
        "baselines": {name: score._asdict() for name, score in baselines.items()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "emoji.json").write_text(json.dumps(report, indent=2) + "\n")
    (options.out / "emoji.md").write_text(_page(report))
    print(_page(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def _train(train: Table, test: Table, columns: tuple[str, ...], path: Path, seed: int) -> Answers:
    predictor = MultiModalPredictor(label=LABEL, presets="edge", path=path, verbosity=1)
    predictor.fit(_keep(train, (*columns, LABEL)), seed=seed)
    probabilities = predictor.predict_proba(_keep(test, columns))
    classes = list(predictor.class_labels or ())
    truth = np.array([classes.index(cell) for cell in test[LABEL]])
    chosen = probabilities[np.arange(len(truth)), truth].astype(float)
    right = (probabilities.argmax(axis=1) == truth).astype(float)
    return Answers(right, -np.log(np.clip(chosen, np.finfo(np.float32).eps, 1)))


def _keep(table: Table, names: tuple[str, ...]) -> Table:
    """Some columns of a table that came from a file, which knows where its pictures lie."""
    if not isinstance(table, FileTable):
        raise TypeError("the table was read from a file")
    return FileTable({name: table[name] for name in names}, table.root, table.untyped)


def _mean(answers: list[Answers]) -> dict[str, float]:
    return {
        "accuracy": round(float(np.mean([one.right for one in answers])), 4),
        "log_loss": round(float(np.mean([one.loss for one in answers])), 4),
    }


def _bootstrap(fused: list[Answers], alone: list[Answers]) -> dict[str, dict[str, Any]]:
    """Difference of the means over all seeds, and its interval over draws of test rows."""
    rng = np.random.default_rng(0)
    report = {}
    for name, field in (("accuracy", "right"), ("log_loss", "loss")):
        differences = np.mean(
            [getattr(f, field) - getattr(a, field) for f, a in zip(fused, alone, strict=True)],
            axis=0,
        )
        rows = rng.integers(0, len(differences), (DRAWS, len(differences)))
        low, high = np.percentile(differences[rows].mean(axis=1), INTERVAL)
        report[name] = {
            "difference": round(float(differences.mean()), 4),
            "interval": [round(float(low), 4), round(float(high), 4)],
        }
    return report


def _page(report: Mapping[str, Any]) -> str:
    seeds = report["seeds"]
    lines = [
        "# The emoji set: does fusing help?",
        "",
        "Written by `make emoji-seeds` (`benchmarks/emoji_modalities.py`); the figures are also in",
        "`emoji.json`. Preset `edge`, 1,515 rows to train on, 391 test rows, 9 groups. The columns",
        "`name`, `short_names`, `n_skin_variants` and `subgroup` are left out, as they give the",
        f"group away. Means over {seeds} seeds; the least and the most accurate seed in brackets.",
        "",
        "| columns | accuracy | log-loss |",
        "|---|---|---|",
    ]
    for name, score in report["baselines"].items():
        lines.append(f"| {_BASELINES[name]} | {score['accuracy']:.3f} | {score['log_loss']:.3f} |")
    for name in (*MODALITIES, FUSED):
        score = report["mean"][name]
        single = sorted(one["accuracy"] for one in report["by_seed"][name])
        lines.append(
            f"| {_NAMES[name]} | {score['accuracy']:.3f} ({single[0]:.3f} to {single[-1]:.3f})"
            f" | {score['log_loss']:.3f} |"
        )
    lines += [
        "",
        "Fused minus each alone, on the same test rows: paired bootstrap over rows, "
        f"{DRAWS:,} draws,",
        "95 % interval. Accuracy above 0 and log-loss below 0 are better.",
        "",
        "| fused minus | accuracy | log-loss |",
        "|---|---|---|",
    ]
    for name, figures in report["fused_minus"].items():
        cells = [
            f"{f['difference']:+.3f} ({f['interval'][0]:+.3f} to {f['interval'][1]:+.3f})"
            for f in (figures["accuracy"], figures["log_loss"])
        ]
        lines.append(f"| {_NAMES[name]} | {cells[0]} | {cells[1]} |")
    packages = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    return "\n".join([*lines, "", f"With {packages}.", ""])


_BASELINES = {
    "trivial": "shares of the groups",
    "linear": "linear model (TF-IDF, one-hot, numbers)",
}
_NAMES = {
    "picture": "picture alone",
    "text": "text alone (keywords, emoticon)",
    "table": "numbers and categories alone",
    FUSED: "all, fused",
}

if __name__ == "__main__":
    main()
