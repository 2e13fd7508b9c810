"""What columns are taken for, above all where AutoGluon answers wrongly in silence."""

import base64
import io
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from automm.data.infer import ColumnReason, Understanding, infer_schema
from automm_serve.errors import ConfigError, DataError, SchemaError
from automm_serve.table import read_table
from automm_serve.tensors import FileTable, Table


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def one(
    cells: Sequence[object], *, untyped: bool = False, valid: Sequence[object] | None = None
) -> ColumnReason:
    """The reason for a single column of these cells."""
    table: Table = FileTable({"c": list(cells)}, None, untyped)
    found = infer_schema(table, valid=None if valid is None else {"c": valid})
    assert [column.name for column in found.schema.columns] == ["c"] * bool(found.reasons[0].kind)
    return found.reasons[0]


ROWS = 300


@pytest.mark.parametrize(
    ("cells", "kind", "rule"),
    [
        ([None, float("nan"), ""] * 100, None, "all missing"),
        (["same"] * ROWS, None, "constant"),
        ([True, False, None] * 100, "category", "booleans"),
        (["true", "False", ""] * 100, "category", "booleans"),
        ([i / 7 for i in range(ROWS)], "number", "numbers"),
        ([1, 2, 3] * 100, "number", "numbers"),
        ([np.int64(3), np.float32(2.5), None] * 100, "number", "numbers"),
        ([f"{i}.5" for i in range(ROWS)], "number", "numbers"),
        ([str(i) for i in range(ROWS)], "number", "numbers"),
        (["94110", "94112", "94114"] * 100, "category", "codes"),
        (["red", "green", None] * 100, "category", "few values"),
        ([f"word{i % 60}" for i in range(ROWS)], "category", "values repeat"),
        ([f"city of number {i % 10}" for i in range(ROWS)], "category", "few values"),
        ([f"the place of many names {i}" for i in range(ROWS)], "text", "words"),
        ([f"department of the city {i % 30}" for i in range(1000)], "category", "values repeat"),
        ([f"{i:x}-word" for i in range(ROWS)], "text", "hardly repeats"),
        ([f"天气很好今天第{i}天" for i in range(ROWS)], "text", "hardly repeats"),
        ([f"a/b{i}.pdf" for i in range(ROWS)], None, "documents"),
        ([[{"x1": 1, "label": "a"}], None] * 150, None, "foreign"),
        ([[[1, 2, 3, 4, "cat"]], []] * 150, None, "foreign"),
        ([timedelta(i) for i in range(ROWS)], None, "foreign"),
        ([b"red", b"green", None] * 100, "category", "few values"),
        ([f"die Stra\xdfe Nummer {i}".encode() for i in range(ROWS)], "text", "words"),
        ([picture(i) for i in range(ROWS)], "image", "pictures"),
        ([b"P3 1 1 255 9 9 %d" % (i % 256) for i in range(ROWS)], "image", "pictures"),
        ([b"\xff\xfe\x00"] * 150 + [b"\x01"] * 150, None, "not pictures"),
        ([np.zeros(384, np.float32)] * ROWS, None, "not pictures"),
    ],
)
def test_a_column_is_taken_for(cells, kind, rule):
    found = one(cells)
    assert (found.kind, found.rule) == (kind, rule)
    assert found.reason
    assert found.counts["rows"] == len(cells)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["94110", "94112", "94114"] * 100, "number"),  # a CSV has no types: AutoGluon's rule
        (["007", "012", "112"] * 100, "category"),
        (["2020-01-01", "2021-03-04", "2022-12-31"] * 100, "number"),
        (["1.5", "", "2.5"] * 100, "number"),
        (["true", "false", ""] * 100, "category"),
    ],
)
def test_a_file_without_types_is_read_by_its_spelling(cells, kind):
    assert one(cells, untyped=True).kind == kind


def test_a_column_of_pictures_with_95_percent_gaps_stays_one():
    cells = [picture(row) if row % 20 == 0 else None for row in range(400)]
    found = one(cells)
    assert (found.kind, found.subtype, found.counts["missing"]) == ("image", "bytes", 380)


def test_text_with_many_gaps_stays_text():
    cells = [f"a longer remark number {row}" if row % 50 == 0 else "" for row in range(5000)]
    assert one(cells).kind == "text"


def test_every_form_of_picture_is_known(tmp_path):
    for row in range(20):
        (tmp_path / f"{row}.png").write_bytes(picture(row))
    paths = [str(tmp_path / f"{row}.png") for row in range(20)]
    encoded = [base64.b64encode(picture(row)).decode() for row in range(20)]
    forms: dict[str, list[object]] = {
        "path": list(paths),
        "bytes": [picture(row) for row in range(20)],
        "base64": list(encoded),
        "PIL": [Image.new("L", (4, 4), row) for row in range(20)],
        "array": [np.full((4, 4, 3), row, np.uint8) for row in range(20)],
    }
    for subtype, cells in forms.items():
        for variant in (cells, [[cell, cell] for cell in cells]):
            found = one(variant)
            assert (found.kind, found.subtype) == ("image", subtype)
    assert one([Path(path) for path in paths]).subtype == "path"
    assert one([f"{path};{paths[0]}" for path in paths]).subtype == "path"
    assert one([f"data:image/png;base64,{text}" for text in encoded]).subtype == "base64"
    assert one([{"bytes": picture(row), "path": None} for row in range(20)]).subtype == "bytes"


def test_paths_are_relative_to_the_file_of_the_table(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.png").write_bytes(picture(9))
    (tmp_path / "rows.csv").write_text("front,n\n" + "a.png,1\nb.png,2\n" * 20)
    reasons = infer_schema(read_table(tmp_path / "rows.csv")).reasons
    assert [(found.kind, found.subtype) for found in reasons] == [("image", "path"), ("number", "")]


def test_pictures_that_are_not_there_are_an_error_and_not_text():
    table: Table = {"front": [f"photos/{row}.jpg" for row in range(50)], "n": list(range(50))}
    with pytest.raises(DataError, match=r"column 'front'.*'photos/0.jpg'.*image_root"):
        infer_schema(table)
    found = infer_schema(table, column_types={"front": "text"})
    assert (found.reasons[0].kind, found.reasons[0].rule) == ("text", "given")


def test_a_few_pictures_that_cannot_be_opened_are_noticed():
    cells = [picture(row) for row in range(90)] + [b"broken"] * 10
    found = one(cells)
    assert found.kind == "image"
    assert found.notice == "10 of 100 cells tried cannot be opened"


def test_a_text_that_ends_like_a_file_now_and_then_is_text():
    assert one([f"see the file number{i}.png" if i % 9 == 0 else f"this is row {i}"
                for i in range(ROWS)]).kind == "text"  # fmt: skip


def test_one_bad_cell_in_a_hundred_does_not_turn_numbers_into_text():
    cells: list[object] = [f"{row}.5" for row in range(ROWS)]
    cells[7] = "abc"
    found = one(cells)
    assert (found.kind, found.counts["bad"]) == ("number", 1)
    assert "row 7, 'abc'" in found.notice


def test_codes_of_which_some_have_letters_are_not_numbers():
    cells: list[object] = [str(40000 + row % 60) for row in range(ROWS)]
    cells[7] = "1002D"
    found = one(cells, untyped=True)
    assert found.kind == "category"
    assert "'1002D'" in found.notice


def test_moments_are_numbers_of_a_form_of_their_own():
    found = one([datetime(2020, 1, 1 + row % 28) for row in range(ROWS)])
    assert (found.kind, found.subtype) == ("number", "date")


def test_row_numbers_and_identifiers_are_noticed():
    assert "leave the column out" in one(list(range(ROWS))).notice
    assert "identifier" in one([f"id{row}" for row in range(ROWS)]).notice
    assert not one([row * 3 for row in range(ROWS)]).notice


def test_a_category_of_which_valid_holds_a_new_value_is_not_decided_by_its_few_values():
    cells: list[object] = [f"one of few {row % 10} places" for row in range(ROWS)]
    assert one(cells, valid=["one of few 3 places"]).rule == "few values"
    assert one(cells, valid=["one of few 99 places"]).rule != "few values"


def test_a_small_table_has_categories_too():
    cells: list[object] = ["very good", "rather bad", "not at all"] * 8
    assert (one(cells).kind, one(cells).rule) == ("category", "few values")
    assert one(["a word", 1, 2.5]).kind == "category"
    assert one([7]).kind == "number"  # one row is not a constant


def test_what_had_no_gap_is_required_of_later_tables():
    table: Table = {"a": [1.0, 2.0, 3.5] * 9, "b": [1.0, None, 3.5] * 9, "c": [1.0, 2.0, 3.5] * 9}
    valid: Table = {"a": [1.0], "b": [1.0], "c": [None]}
    columns = infer_schema(table, valid=valid).schema.columns
    assert {column.name: column.required for column in columns} == {
        "a": True, "b": False, "c": False
    }  # fmt: skip


def test_the_user_has_the_last_word_in_autogluons_words_or_ours():
    table = {name: [1, 2, 3] * 9 for name in "abcdef"}
    kinds = {"a": "categorical", "b": "text", "c": "null", "d": None, "e": "Category"}
    found = infer_schema(table, column_types=kinds)
    assert [reason.kind for reason in found.reasons] == [
        "category", "text", None, None, "category", "number"
    ]  # fmt: skip
    assert [column.name for column in found.schema.columns] == ["a", "b", "e", "f"]


@pytest.mark.parametrize(
    ("types", "error", "message"),
    [
        ({"agee": "text"}, SchemaError, r"no column 'agee'\. Write 'age'"),
        ({"age": "numeric"}, ConfigError, r"column 'age': 'numeric' is no type.*'numerical' is"),
        ({"age": "rois"}, ConfigError, r"'rois' is no type"),
    ],
)
def test_an_unknown_column_or_type_is_refused_with_a_near_name(types, error, message):
    with pytest.raises(error, match=message):
        infer_schema({"age": [1, 2]}, column_types=types)


def test_a_table_without_rows_or_without_columns_to_learn_from_is_refused():
    tables: list[Table] = [{}, {"a": []}]
    for empty in tables:
        with pytest.raises(DataError, match="no rows"):
            infer_schema(empty)
    with pytest.raises(DataError, match=r"no column is left.*'a': every cell holds the same"):
        infer_schema({"a": [1, 1, 1], "y": [0, 1, 0]}, label="y")
    with pytest.raises(DataError, match="it has but a label"):
        infer_schema({"y": [0, 1, 0]}, label="y")
    with pytest.raises(SchemaError, match="differ in length"):
        infer_schema({"a": [1], "b": [1, 2]})


def test_the_understanding_travels_as_json():
    table: Table = {"n": [1, 2, "x"] * 200, "t": ["red", "blue", ""] * 200, "y": [0, 1, 0] * 200}
    found = infer_schema(table, label="y")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Understanding) == found
    assert (found.problem_type, found.label) == ("binary", "y")


def test_fifty_thousand_rows_take_no_time_to_speak_of():
    draw = np.random.default_rng(0)
    table: dict[str, list[object]] = {
        "number": draw.normal(size=50_000).tolist(),
        "written": [f"{value:.3f}" for value in draw.normal(size=50_000)],
        "text": [f"some words about the row {row} of this table" for row in range(50_000)],
        "category": [f"value {row % 300}" for row in range(50_000)],
    }
    start = time.process_time()
    kinds = [reason.kind for reason in infer_schema(table).reasons]
    assert kinds == ["number", "number", "text", "category"]
    assert time.process_time() - start < 5  # 0.3 s here; a rule that looks twice at all is 10 s
