"""Which real rows are learned from, and what their cells are read as, by ``data.*`` and ``fit``.

98 subgroups of emoji, three of them with one row, some rows without a picture; numbers and
categories are put into words.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

from automm.data.tables import Split, read_training_tables
from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.processors import TabularProcessor, TextProcessor
from automm_serve.tensors import count_rows, take_rows
from tests.automm.cli.answering import run
from tests.real.emoji import emoji_tables
from tests.real.small import (
    COLUMNS,
    Places,
    ask_everywhere,
    emoji_rows,
    probabilities,
    served,
    settings,
)

pytestmark = [pytest.mark.real, pytest.mark.triton]

FINE = "subgroup"
WITHOUT = range(0, 40, 4)
WORDED = {
    "model.names": ["hf_text", "timm_image", "fusion_mlp"],
    "data.image.missing_value_strategy": "skip",
    "data.numerical.convert_to_text": True,
    "data.categorical.convert_to_text": True,
    "data.categorical.minimum_cat_count": 1,
    "optim.max_epochs": 2,
}


class Worded(NamedTuple):
    """The model everywhere, and what it was fitted and is asked with."""

    places: Places
    train: dict[str, list[Any]]
    test: dict[str, list[Any]]


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worded]:
    folder = tmp_path_factory.mktemp("worded")
    some, others = emoji_rows((*COLUMNS, FINE), every=4)
    train = take_rows(some, range(count_rows(some)))
    train["image"] = _with_gaps(train["image"], WITHOUT)
    known = set(train[FINE])
    test = take_rows(others, [row for row, cell in enumerate(others[FINE]) if cell in known])
    predictor = MultiModalPredictor(
        label=FINE,
        path=folder / "predictor",
        hyperparameters=settings(folder) | WORDED,
        verbosity=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        predictor.fit(train, tuning_data=test, max_num_tuning_data=60)
    with served(predictor, folder / "bundle") as places:
        yield Worded(places, train, test)


def test_rows_without_a_picture_are_not_learned_from_and_answered_all_the_same(
    worded: Worded,
) -> None:
    rows = worded.places.trained.fit_summary()["rows"]
    assert rows["without_picture"] == len(WITHOUT)
    assert rows["train"] == count_rows(worded.train) - len(WITHOUT)
    asked = take_rows(worded.test, range(20))
    asked["image"] = _with_gaps(asked["image"], range(0, 20, 2))
    assert ask_everywhere(worded.places, asked).errors == []


def test_tuning_rows_are_as_many_as_asked_for(worded: Worded) -> None:
    assert worded.places.trained.fit_summary()["rows"]["valid"] == 60


def test_a_class_of_one_row_is_a_class(worded: Worded) -> None:
    rare = {name for name, rows in Counter(worded.train[FINE]).items() if rows == 1}
    assert rare
    classes = worded.places.client.class_labels
    assert classes == worded.places.trained.class_labels == sorted(set(worded.train[FINE]))
    assert rare <= set(classes)


def test_numbers_and_categories_are_read_as_text_everywhere(worded: Worded) -> None:
    processors = worded.places.bundle.pipeline.processors
    assert not any(isinstance(one, TabularProcessor) for one in processors)
    text = next(one for one in processors if isinstance(one, TextProcessor))
    assert {one.column for one in text.wordings} == {
        "unicode_version", "n_keywords", "n_skin_variants", "facebook",
    }  # fmt: skip
    rows = take_rows(worded.test, range(20))
    before = probabilities(ask_everywhere(worded.places, rows))
    for name in ("unicode_version", "facebook"):  # a gap: the small tokenizer knows no digits
        changed = take_rows(rows, range(20))
        changed[name] = [None] * 20
        after = probabilities(ask_everywhere(worded.places, changed))
        assert np.abs(after - before).max() > 1e-4, name


def test_a_hold_out_has_its_share_of_every_group_and_no_class_is_held_out_whole() -> None:
    whole, _ = emoji_tables()
    for label, most in (("group", 1.0), (FINE, 1.0)):
        found = read_training_tables(whole, None, label, Split(fraction=0.2, seed=3))
        kept, held = Counter(found.train[label]), Counter(found.valid[label])
        assert held.total() == pytest.approx(0.2 * count_rows(whole), abs=1)
        for name, rows in Counter(whole[label]).items():
            assert kept[name] >= 1
            assert abs(held[name] - 0.2 * rows) <= most, name
    again = read_training_tables(whole, None, "group", Split(fraction=0.2, seed=3))
    other = read_training_tables(whole, None, "group", Split(fraction=0.2, seed=4))
    first = read_training_tables(whole, None, "group", Split(fraction=0.2, seed=3))
    assert again.positions == first.positions != other.positions


@pytest.mark.parametrize(
    ("words", "valid"),
    [
        (("--holdout-frac", "0.4"), 0.4),
        (("--holdout-frac", "0.4", "--max-num-tuning-data", "9"), 9),
    ],
)
def test_the_command_line_holds_out_as_python_does(
    words: Sequence[str], valid: float, tmp_path: Path
) -> None:
    few, _ = emoji_rows(("unicode_version", "n_keywords", "facebook", "group"), every=30)
    lines = zip(*few.values(), strict=True)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(dict(zip(few, row, strict=True))) for row in lines))
    found = run(
        "train", path, "--label", "group", "--out", tmp_path / "p", *words, "--json",
        "-o", "optim.max_epochs=1", "-o", "env.accelerator=cpu",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    rows = json.loads(found.stdout)["summary"]["rows"]
    held = valid * count_rows(few) if valid < 1 else valid
    assert rows["valid"] == pytest.approx(held, abs=1)


def _with_gaps(cells: Sequence[object], rows: Sequence[int]) -> list[object]:
    return [None if row in rows else cell for row, cell in enumerate(cells)]
