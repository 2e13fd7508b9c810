import base64
import datetime
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from automm_serve.cells import category_key, is_gap, to_number
from automm_serve.processors import ImageProcessor, TabularProcessor
from automm_serve.schema import Column, Schema
from automm_serve.tensors import CellError, Table
from automm_serve.wire import GraphFacts, decode_row, encode_row, from_wire, text_tensor, to_wire

SCHEMA = Schema(
    (
        Column("title", "text", required=True),
        Column("price", "number"),
        Column("colour", "category"),
        Column("photo", "image"),
    )
)


def table(**columns: Any) -> dict[str, Any]:
    rows = max(map(len, columns.values()))
    gaps = {column.name: [None] * rows for column in SCHEMA.columns}
    return {**gaps, **columns}


def there_and_back(sent: Table) -> tuple[dict[str, list[Any]], list[CellError]]:
    tensors, unsent = to_wire(SCHEMA, sent)
    received: dict[str, list[Any]]
    received, unread = from_wire(SCHEMA, tensors)
    return received, unsent + unread


def png(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (9, 7, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def outcome(read: Callable[[object], object], cell: object) -> object:
    """What a processor makes of a cell: a value, a gap, or a refusal."""
    if is_gap(cell):
        return "gap"
    try:
        return read(cell)
    except ValueError:
        return "refused"


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.integers(-(2**31), 2**31 - 1).map(np.int32),
    st.booleans().map(np.bool_),
    st.text(),
    st.text().map(np.str_),
    st.text(st.characters(codec=None), max_size=5),  # lone surrogates among them
    st.binary(max_size=8),
    st.datetimes(),
    st.dates(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
    st.sampled_from(["NA", "nan", "1e999", "inf", "-inf", "007", "1_000", "true", "2020-02-30"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


@given(CELLS)
@example(float("inf"))
@example(10**400)
@example(np.float32(0.1))
@example(np.datetime64("NaT"))
@example(np.datetime64("2021-05-06T07:08:09"))
@example(Decimal("1e5"))
@example(Decimal("402413218196094.969"))
@example(b"NA")
@example("\udcff")
@example({1, 2})
@example(np.array([1.0]))
@example(object())
def test_every_cell_means_the_same_on_both_sides(cell):
    received, errors = there_and_back(table(title=[cell], price=[cell], colour=[cell]))
    refused = {error.column for error in errors}
    for column, read in (("title", category_key), ("price", to_number), ("colour", category_key)):
        here = outcome(read, cell)
        there = "refused" if column in refused else outcome(read, received[column][0])
        assert there == here, column


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_texts_come_back_as_they_were(texts):
    received, errors = there_and_back(table(title=texts))
    assert received["title"] == [None if is_gap(text) else text for text in texts]
    assert errors == []


@given(st.binary(max_size=200))
@example(b"[]")
@example(b"null")
@example(b'{"title": 1e999}')
@example(b'{"title": "\\ud800"}')
@example(b'{"title": "\xff"}')
@example(b'{"title": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
@example(b'{"title": NaN}')
@example(b'{"photo": -1}')
@example(b'{"photo": 1e3}')
@example(b'{"photo": true}')
@example(b'{"photo": 99999999999999999999}')
@example(b'{"photo": {"path": "/etc/passwd"}}')
@example(b'{"photo": [[["/etc/passwd"]]]}')
@example(b'{"price": ' + b"9" * 5000 + b"}")
def test_no_row_raises_and_no_picture_is_anything_but_bytes(text):
    good = b'{"title": "x"}'
    received, errors = from_wire(SCHEMA, {"row": text_tensor([good, text, good])})
    assert {error.row for error in errors} <= {1}
    assert received["title"][0] == received["title"][2] == "x"
    for cell in received.get("photo", []):
        pictures = cell if isinstance(cell, list) else [cell]
        assert cell is None or all(isinstance(picture, bytes) for picture in pictures)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        (b'["x"]', "", "not a JSON object: Expected `object`, got `array`"),
        (b'{"photo": 2}', "photo", "2 pictures announced, 0 sent"),
        (b'{"photo": "/etc/passwd"}', "photo", "a server opens no path"),
        (b'{"photo": {"path": "/etc/passwd"}}', "photo", "neither base64 nor a number"),
    ],
)
def test_what_is_wrong_in_a_row_is_said(text, column, said):
    _, errors = from_wire(SCHEMA, {"row": text_tensor([text])})
    assert [error.column for error in errors] == [column]
    assert said in errors[0].what


def test_pictures_that_no_cell_announces_are_refused():
    images: Any = np.array([[png(1), png(2)]], object)
    tensors = {"row": text_tensor([b'{"photo": 1}']), "images": images}
    _, errors = from_wire(SCHEMA, tensors)
    assert errors == [CellError(0, "", "1 pictures more were sent than its cells announce")]


def test_a_column_in_no_row_is_absent_so_that_the_schema_can_say_so():
    received, _ = from_wire(SCHEMA, {"row": text_tensor([b'{"colour": "red"}'])})
    assert set(received) == {"colour"}


def picture_cells(folder: Path) -> list[Any]:
    one, two = png(1), png(2)
    (folder / "one.png").write_bytes(one)
    (folder / "two.png").write_bytes(two)
    return [
        folder / "one.png",
        str(folder / "one.png"),
        f"{folder / 'one.png'};{folder / 'two.png'}",
        one,
        bytearray(one),
        base64.b64encode(one).decode(),
        "data:image/png;base64," + base64.b64encode(one).decode(),
        Image.open(io.BytesIO(one)),
        np.asarray(Image.open(io.BytesIO(one))),
        np.asarray(Image.open(io.BytesIO(one)).convert("L")) / np.float32(255),
        [one, folder / "two.png", Image.open(io.BytesIO(two))],
        [],
        {"bytes": one, "path": None},
        None,
        "",
        float("nan"),
    ]


def test_every_form_of_a_picture_gives_the_same_tensors_over_the_wire(tmp_path):
    cells = picture_cells(tmp_path)
    processor = ImageProcessor.fit("image", {"photo": cells}, ["photo"], 8, 8)
    here, _ = processor.transform({"photo": cells})
    received, errors = there_and_back(table(photo=cells))
    assert errors == []
    there, _ = processor.transform(received)
    for name, tensor in here.items():
        np.testing.assert_array_equal(there[name], tensor, err_msg=name)


def test_a_file_that_is_not_there_fails_its_row_alone(tmp_path):
    sent = table(photo=[png(), tmp_path / "none.png", png()], title=["a", "b", "c"])
    tensors, errors = to_wire(SCHEMA, sent)
    assert [(error.row, error.column) for error in errors] == [(1, "photo")]
    assert "No such file" in errors[0].what
    received, _ = from_wire(SCHEMA, tensors)
    assert received["photo"] == [png(), None, png()]
    assert received["title"] == ["a", "b", "c"]


def test_numbers_and_categories_give_the_same_tensors_over_the_wire():
    numbers = [1, 2.5, np.float32(0.1), "3", True, None, Decimal("2.25"), datetime.date(2020, 1, 2)]
    colours = ["red", 3, 3.0, "3.0", np.float32(0.1), True, b"red", None]
    sent = table(price=numbers, colour=colours)
    processor = TabularProcessor.fit("tab", sent, ["price"], ["colour"], minimum_cat_count=1)
    here, _ = processor.transform(sent)
    received, errors = there_and_back(sent)
    assert errors == []
    there, _ = processor.transform(received)
    for name, tensor in here.items():
        np.testing.assert_array_equal(there[name], tensor, err_msg=name)


def test_a_row_on_disk_holds_its_pictures_and_comes_back(tmp_path):
    row = {"title": "x", "photo": [png(1), png(2)], "price": np.float32(1.5)}
    text = encode_row(SCHEMA, row)
    assert isinstance(msgspec.json.decode(text)["photo"][0], str)
    back = decode_row(SCHEMA, text)
    assert back == {"title": "x", "photo": [png(1), png(2)], "price": 1.5, "colour": None}


def test_a_row_that_cannot_be_written_names_its_column():
    with pytest.raises(ValueError, match=r"column 'photo': .*absent\.png"):
        encode_row(SCHEMA, {"photo": Path("absent.png")})
    with pytest.raises(ValueError, match=r"column 'photo': .* not base64"):
        decode_row(SCHEMA, b'{"photo": "no such thing!"}')


def test_a_graph_cannot_lie_outside_the_repository():
    with pytest.raises(ValueError, match="no name of a model"):
        GraphFacts("../../elsewhere", (), ())


@pytest.mark.parametrize("depth", [2, 600, 900])
def test_a_list_that_is_nested_without_end_fails_in_its_own_row(depth: int) -> None:
    # Followed to its end it would be a RecursionError, and the whole request would fail.
    nested = b'{"photo":' + b"[" * depth + b"]" * depth + b"}"
    found, errors = from_wire(SCHEMA, {"row": text_tensor([nested, b'{"photo":null}'])})
    assert [(error.row, error.column) for error in errors] == [(0, "photo")]
    assert found["photo"] == [None, None]
