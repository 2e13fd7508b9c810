from __future__ import annotations

from pathlib import Path

import numpy as np

from automm_serve.tensors import (
    FileTable,
    concat_tables,
    concat_tensors,
    count_rows,
    take_rows,
)

TABLE: dict[str, list[object]] = {"a": [1, 2, 3], "b": ["x", None, "z"]}


def test_rows_are_counted_by_the_columns_and_a_table_without_any_has_none():
    assert count_rows(TABLE) == 3
    assert count_rows({"a": []}) == 0
    assert count_rows({}) == 0


def test_rows_are_taken_in_the_order_asked_for():
    assert take_rows(TABLE, [2, 0, 2]) == {"a": [3, 1, 3], "b": ["z", "x", "z"]}
    assert take_rows(TABLE, range(1, 2)) == {"a": [2], "b": [None]}
    assert take_rows(TABLE, []) == {"a": [], "b": []}


def test_rows_of_a_file_still_know_their_folder_and_that_they_have_no_types():
    taken = take_rows(FileTable({"a": ["1", "2"]}, Path("data"), untyped=True), [1])
    assert isinstance(taken, FileTable)
    assert (dict(taken), taken.root, taken.untyped) == ({"a": ["2"]}, Path("data"), True)


def test_tables_are_put_one_after_another():
    parts = [take_rows(TABLE, [0]), take_rows(TABLE, [1, 2])]
    assert concat_tables(parts) == TABLE
    assert concat_tables([]) == {}


def test_tensors_are_put_one_after_another():
    joined = concat_tensors([{"a": np.array([[1]])}, {"a": np.array([[2], [3]])}])
    np.testing.assert_array_equal(joined["a"], [[1], [2], [3]])
