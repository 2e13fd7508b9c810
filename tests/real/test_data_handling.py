"""What a fit does to real rows: columns left out, gaps, dates, damaged pictures, augmentation.

One model is trained on emoji with all of it at once, exported and served; what it answers is
compared on torch, in the bundle and on Triton.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyarrow")
pytest.importorskip("pandas")

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning
from automm_serve.cells import is_gap
from automm_serve.pipeline import load_pipeline
from automm_serve.processors import TabularProcessor
from automm_serve.tensors import FileTable, Table, count_rows, take_rows
from tests.picture_forms import put_in_form
from tests.real.shortening import check_shortening, text_processor
from tests.real.small import (
    COLUMNS,
    LABEL,
    Places,
    ask_everywhere,
    emoji_rows,
    path_of,
    probabilities,
    served,
    settings,
)

pytestmark = [pytest.mark.real, pytest.mark.triton]

RELEASED = {
    "0.6": date(2010, 10, 11), "0.7": date(2014, 6, 16), "1.0": date(2015, 8, 31),
    "2.0": date(2015, 11, 12), "3.0": date(2016, 6, 21), "4.0": date(2016, 11, 22),
    "5.0": date(2017, 6, 20), "11.0": date(2018, 6, 5), "12.0": date(2019, 3, 5),
    "12.1": date(2019, 10, 21), "13.0": date(2020, 3, 10), "13.1": date(2020, 9, 15),
    "14.0": date(2021, 9, 14), "15.0": date(2022, 9, 13), "15.1": date(2023, 9, 12),
    "16.0": date(2024, 9, 10),
}  # fmt: skip
"""Version of an emoji -> the day on which it came out."""

KINDS = {
    "image": ("image",),
    "text": ("name", "keywords", "code"),
    "tabular": ("unicode_version", "released", "n_keywords", "n_skin_variants", "facebook"),
}
DAMAGED = (7, 50, 98)
LACKING = {"image": (2, 20), "text": (3, 30), "tabular": (4, 40)}
"""Kind of input -> the training rows that lack all of it."""

EVERYTHING = {
    "model.hf_text.max_text_len": 16,
    "model.hf_text.text_aug_detect_length": 2,
    "model.hf_text.text_trivial_aug_maxscale": 0.1,
    "model.timm_image.train_transforms": ["resize_shorter_side", "center_crop", "trivial_augment"],
    "data.mixup.turn_on": True,
    "data.mixup.prob": 0.5,
    "data.mixup.turn_off_epoch": 6,
    "data.modality_dropout": 0.1,
    "optim.max_epochs": 12,
}


class Handled(NamedTuple):
    """The model everywhere, what its fit said, and rows that it may be asked."""

    places: Places
    said: list[str]
    train: dict[str, list[Any]]
    test: dict[str, list[Any]]


@pytest.fixture(scope="module")
def handled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handled]:
    folder = tmp_path_factory.mktemp("handled")
    some, others = emoji_rows((*COLUMNS, LABEL, "has_zwj"), every=7)
    plain = [row for row, cell in enumerate(some["has_zwj"]) if cell == "no"]
    train, test = _as_cells(take_rows(some, plain)), _as_cells(others)
    for kind, rows in LACKING.items():
        for row in rows:
            train |= {name: _with_gap(train[name], row) for name in KINDS[kind]}
    pictures = folder / "pictures"
    pictures.mkdir()
    for row, content in enumerate(train["image"]):
        if content is not None:
            file = pictures / f"{row}.png"
            file.write_bytes(content[: len(content) // 2] if row in DAMAGED else content)
            train["image"][row] = file
    predictor = MultiModalPredictor(
        label=LABEL,
        path=folder / "predictor",
        hyperparameters=settings(folder) | EVERYTHING,
        verbosity=0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        predictor.fit(put_in_form(pictures, "csv", "path", train), holdout_frac=0.2)
    said = [str(one.message) for one in caught if one.category is FitWarning]
    with served(predictor, folder / "bundle") as places:
        yield Handled(places, said, train, test)


def test_damaged_pictures_are_left_out_counted_and_listed(handled: Handled) -> None:
    summary = handled.places.trained.fit_summary()
    cells = [cell for listed in summary["left_out"].values() for cell in listed]
    assert {cell["column"] for cell in cells} == {"image"}
    assert len(cells) == len(DAMAGED)
    rows = summary["rows"]
    assert rows["train"] + rows["valid"] == count_rows(handled.train) - len(DAMAGED)
    assert any("left out, because a cell cannot be read" in text for text in handled.said)


def test_a_damaged_picture_fails_its_row_alone_everywhere(handled: Handled) -> None:
    rows = take_rows(handled.test, range(0, 90, 10))
    whole = probabilities(ask_everywhere(handled.places, rows))
    content = rows["image"][4]
    assert isinstance(content, bytes)
    rows["image"][4] = content[: len(content) // 2]
    found = ask_everywhere(handled.places, rows)
    assert [(error.row, error.column) for error in found.errors] == [(4, "image")]
    assert found.columns[LABEL][4] is None
    for row in (0, 1, 2, 3, 5, 6, 7, 8):
        assert found.columns["probabilities"][row] == pytest.approx(whole[row], abs=1e-5)


def test_an_augmented_fit_is_better_than_guessing_and_answers_alike(handled: Handled) -> None:
    found = ask_everywhere(handled.places, handled.test)
    truth = np.array(handled.test[LABEL], object)
    commonest = max(set(handled.train[LABEL]), key=handled.train[LABEL].count)
    right = float(np.mean(np.array(found.columns[LABEL], object) == truth))
    assert right > float(np.mean(truth == commonest)) + 0.05
    ask_everywhere(handled.places, handled.test, "embed")


def test_what_tells_nothing_is_left_out_and_an_identifier_is_noticed(handled: Handled) -> None:
    assert handled.places.trained.column_types["has_zwj"] is None
    names = [column.name for column in handled.places.bundle.pipeline.schema.columns]
    assert sorted(names) == sorted(name for some in KINDS.values() for name in some)
    assert any("'code'" in text and "identifier" in text for text in handled.said)


def test_the_state_is_json_and_nothing_that_runs(handled: Handled) -> None:
    path = path_of(handled.places.trained)
    suffixes = {file.suffix for file in path.rglob("*") if file.is_file()}
    assert suffixes <= {".json", ".jsonl", ".safetensors", ".html", ".csv"}
    saved = load_pipeline(path / "pipeline.json")
    assert msgspec.json.encode(saved) == msgspec.json.encode(handled.places.bundle.pipeline)


def test_gaps_and_units_are_left_to_the_graph(handled: Handled) -> None:
    """The host hands over numbers as they stand in the table; the exported graph does the rest."""
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = take_rows(handled.test, range(0, 380, 20))
    pipeline = handled.places.bundle.pipeline
    feed = {
        name: tensor
        for one in pipeline.processors
        for name, tensor in one.transform(pipeline.schema.conform(rows)[0])[0].items()
    }
    tabular = next(one for one in pipeline.processors if isinstance(one, TabularProcessor))
    numbers = feed[f"{tabular.name}_numbers"]
    for place, column in enumerate(tabular.numbers):
        cells = rows[column.name]
        for row, cell in enumerate(cells):
            wanted = _days(cell) if column.name == "released" else _float(cell)
            np.testing.assert_array_equal(numbers[row, place], np.float32(wanted))
    assert np.isnan(numbers).any()

    file = next(
        path_of(handled.places.trained).parent.glob("bundle/model_repository/*__*/1/*.onnx")
    )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(["probabilities"], feed)[0]
    expected = handled.places.trained.predict_proba(rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    labels = [pipeline.programs["predict"].answer.classes[i] for i in found.argmax(1)]  # type: ignore[union-attr]
    assert labels == list(handled.places.client.predict(rows))


def test_days_are_one_number_in_whatever_form_they_are_asked(handled: Handled) -> None:
    import pandas

    rows = take_rows(handled.test, range(0, 380, 20))
    days = [one for one in rows["released"] if isinstance(one, date)]
    expected = probabilities(ask_everywhere(handled.places, rows))
    later = [one.replace(year=one.year - 20) for one in days]
    moved = probabilities(ask_everywhere(handled.places, {**rows, "released": later}))
    assert np.abs(moved - expected).max() > 1e-3, "the control"
    forms: dict[str, list[Any]] = {
        "text": [one.isoformat() for one in days],
        "moments": [datetime(one.year, one.month, one.day) for one in days],
        "pandas": [pandas.Timestamp(one) for one in days],
        "numpy": [np.datetime64(one) for one in days],
    }
    for name, cells in forms.items():
        for place in handled.places:
            found = place.predict_proba({**rows, "released": cells})
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)


def test_a_row_that_lacks_a_whole_kind_of_input_is_answered_alike(handled: Handled) -> None:
    rows = take_rows(handled.test, range(0, 380, 20))
    whole = probabilities(ask_everywhere(handled.places, rows))
    for kind, names in KINDS.items():
        lacking: Table = {**rows, **{name: [None] * count_rows(rows) for name in names}}
        found = probabilities(ask_everywhere(handled.places, lacking))
        assert np.abs(found - whole).max() > 1e-3, kind
    nothing: Table = {name: [None, None] for names in KINDS.values() for name in names}
    assert ask_everywhere(handled.places, nothing).errors == []


def test_the_longest_field_is_cut_first_in_torch_as_in_the_bundle(handled: Handled) -> None:
    text = text_processor(handled.places.bundle.pipeline)
    assert text == text_processor(handled.places.trained.exportable().pipeline)
    cut = check_shortening(text, handled.test)
    assert len(cut) > count_rows(handled.test) / 2, "the control: hardly any row was cut"

    rows = take_rows(handled.test, range(20))
    expected = probabilities(ask_everywhere(handled.places, rows))
    more: Table = {**rows, "name": [f"{cell} and what nobody reads" for cell in rows["name"]]}
    long = [row for row in cut if row < 20 and len(str(rows["name"][row])) > text.limit]
    assert long
    read = probabilities(ask_everywhere(handled.places, more))
    np.testing.assert_allclose(read[long], expected[long], atol=1e-5)


def _as_cells(table: Table) -> dict[str, list[Any]]:
    """Cells as Python has them, pictures as bytes; a code for each, and the day it came out."""
    assert isinstance(table, FileTable)
    cells: dict[str, list[Any]] = {
        name: [None if is_gap(cell) else cell for cell in column] for name, column in table.items()
    }
    cells["code"] = [Path(cell).stem for cell in cells["image"]]
    cells["image"] = [(Path(str(table.root)) / cell).read_bytes() for cell in cells["image"]]
    cells["released"] = [RELEASED[cell] for cell in cells["unicode_version"]]
    return cells


def _with_gap(cells: list[Any], row: int) -> list[Any]:
    return [None if i == row else cell for i, cell in enumerate(cells)]


def _days(cell: object) -> float:
    assert isinstance(cell, date)
    return float((cell - date(1970, 1, 1)).days)


def _float(cell: object) -> float:
    return np.nan if cell is None else float(str(cell))
