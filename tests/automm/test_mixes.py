"""Every mix of pictures, texts and table columns trains, exports and answers as it was trained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.bundle import load
from automm_serve.predicts import Predicts
from automm_serve.tensors import Table, take_rows
from tests.pets import pets, picture
from tests.tiny_models import make_image_model, make_text_model

PARTS = {
    "image": ("photo", "side"),
    "text": ("title", "story"),
    "tabular": ("weight", "age", "city"),
}
MIXES = [mix for size in (1, 2, 3) for mix in combinations(PARTS, size)]
TYPES = {"title": "text", "story": "text", "city": "categorical"}
BATCHES = (1, 2, 7, 32)


@pytest.mark.parametrize("mix", MIXES, ids="+".join)
def test_a_mix_answers_from_its_bundle_as_it_was_trained(mix: Sequence[str], tmp_path: Path):
    columns = [column for part in mix for column in PARTS[part]]
    table = pets(70)
    trained = _train({name: table[name] for name in (*columns, "kind")}, tmp_path)
    trained.export(tmp_path / "bundle")
    bundle = load(tmp_path / "bundle")

    rows = _with_gaps({name: table[name] for name in columns})
    for size in BATCHES:
        part = take_rows(rows, range(size))
        assert _difference(trained, bundle, part) <= 1e-5, f"batch of {size}"

    # The control: every column has a say, in both, so that equal answers mean something.
    last = take_rows(rows, range(8, 32))  # behind the rows of gaps
    before = bundle.extract_embedding(last)
    for column in columns:
        changed = {**last, column: _others(column, last[column])}
        after = bundle.extract_embedding(changed)
        assert np.abs(after - before).max() > 1e-4, f"{column} changes nothing"
        assert _difference(trained, bundle, changed) <= 1e-5


def _train(table: Table, folder: Path) -> MultiModalPredictor:
    models = {
        "model.hf_text.checkpoint_name": str(make_text_model(folder / "text")),
        "model.timm_image.checkpoint_name": str(make_image_model(folder / "image")),
        "model.timm_image.image_size": 32,
        "model.hf_text.frozen_blocks": 0,
        "optim.max_epochs": 1,
        "optim.lr": 1e-3,
    }
    types = {name: kind for name, kind in TYPES.items() if name in table}
    predictor = MultiModalPredictor(
        label="kind", path=folder / "predictor", hyperparameters=models, verbosity=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # one epoch need not beat the trivial one
        return predictor.fit(table, column_types=types)


def _with_gaps(table: Table) -> dict[str, list[object]]:
    """Row 0 lacks everything; rows 1 to 7 lack what the bits of their number say."""
    rows = take_rows(table, range(32))
    for number, name in enumerate(rows):
        for row in range(8):
            if row == 0 or row >> (number % 3) & 1:
                rows[name][row] = None
    return rows


def _others(column: str, cells: Sequence[object]) -> list[object]:
    """Other cells of the same kind."""
    if column in PARTS["image"]:
        return [picture((10, 200, 10), seed=i) for i in range(len(cells))]
    if column in PARTS["text"]:
        return ["very old house", *cells[:-1]]
    if column == "city":
        return ["Rome" if cell != "Rome" else "Oslo" for cell in cells]
    return [7.5] * len(cells)


def _difference(one: Predicts, other: Predicts, rows: Table) -> float:
    return float(np.abs(one.predict_proba(rows) - other.predict_proba(rows)).max())
