from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from automm_serve.errors import SchemaError
from automm_serve.schema import Column, Schema
from automm_serve.tensors import FileTable

SCHEMA = Schema(
    (
        Column("age", "number", required=True),
        Column("title", "text", required=True),
        Column("colour", "category"),
        Column("photo", "image"),
    )
)
FULL: dict[str, list[object]] = {
    "age": [1, None],
    "title": ["a", ""],
    "colour": ["red", None],
    "photo": [None, b"x"],
}


def test_columns_come_in_the_order_of_the_schema_and_unknown_ones_are_left_out():
    table: dict[str, list[object]] = {"extra": [0, 0], **dict(reversed(FULL.items()))}
    found, warnings = SCHEMA.conform(table)
    assert list(found) == ["age", "title", "colour", "photo"]
    assert found == FULL
    assert warnings == []


def test_cells_may_be_any_sequence_and_become_lists():
    found, _ = SCHEMA.conform({name: tuple(cells) for name, cells in FULL.items()})
    assert found == FULL


def test_an_optional_column_that_is_absent_counts_as_gaps_and_is_named_once():
    found, warnings = SCHEMA.conform({"age": [1, 2, 3], "title": ["a", "b", "c"]})
    assert found["colour"] == found["photo"] == [None, None, None]
    assert warnings == [
        "column 'colour' is absent: its cells count as gaps",
        "column 'photo' is absent: its cells count as gaps",
    ]


def test_all_required_columns_that_are_absent_are_named_in_one_error():
    with pytest.raises(SchemaError, match="'age' is absent; column 'title' is absent"):
        SCHEMA.conform({"colour": ["red"]})


@pytest.mark.parametrize("name", ["color", "Colour", "COLOUR", "colours"])
def test_a_misspelt_optional_column_is_an_error_and_never_a_silent_gap(name):
    table: dict[str, list[object]] = {"age": [1], "title": ["a"], name: ["red"]}
    with pytest.raises(SchemaError, match=f"'colour' is absent, '{name}' is unknown"):
        SCHEMA.conform(table)


def test_a_near_name_does_no_harm_where_every_column_is_there():
    found, warnings = SCHEMA.conform({**FULL, "color": ["x", "y"]})
    assert found == FULL
    assert warnings == []


def test_a_gap_in_a_required_column_is_allowed():
    found, _ = SCHEMA.conform({"age": [None], "title": [None], "colour": [None], "photo": [None]})
    assert found["age"] == [None]


def test_a_table_without_rows_conforms():
    found, _ = SCHEMA.conform({name: [] for name in FULL})
    assert found == {name: [] for name in FULL}


def test_an_absent_column_has_as_many_gaps_as_the_table_has_rows_of_anything():
    optional = Schema((Column("a", "text"),))
    assert optional.conform({"unlike": [1, 2]})[0] == {"a": [None, None]}
    assert optional.conform({})[0] == {"a": []}


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(SchemaError, match="differ in length"):
        SCHEMA.conform({**FULL, "age": [1]})


def test_relative_picture_paths_start_from_the_folder_of_the_file():
    table = FileTable({**FULL, "photo": ["a.png", "b.png"]}, Path("/data"))
    found, _ = SCHEMA.conform(table)
    assert found["photo"] == ["/data/a.png", "/data/b.png"]
    assert table["photo"] == ["a.png", "b.png"]  # the caller's table stays as it was


def test_a_schema_is_json_and_comes_back_equal():
    assert msgspec.json.decode(msgspec.json.encode(SCHEMA), type=Schema) == SCHEMA


def test_a_kind_that_is_none_is_refused_with_its_place():
    text = b'{"columns": [{"name": "a", "kind": "sound"}]}'
    with pytest.raises(msgspec.ValidationError, match=r"\$\.columns\[0\]\.kind"):
        msgspec.json.decode(text, type=Schema)
