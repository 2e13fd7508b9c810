from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automm_serve.cells import category_key, is_gap
from automm_serve.processors.tabular import (
    FIRST_KNOWN,
    MISSING,
    UNSEEN,
    Category,
    Number,
    TabularProcessor,
)
from automm_serve.table import read_table
from automm_serve.tensors import Table
from tests.automm_serve.samples import SCALARS

TABLE: dict[str, list[object]] = {
    "age": [1, 2.0, None, "4", math.nan],
    "colour": ["red", "red", None, "blue", "green"],
}


def fit(table: Table = TABLE, **options: Any) -> TabularProcessor:
    return TabularProcessor.fit("table", table, ["age"], ["colour"], **options)


def test_gaps_are_nan_and_zero_unseen_is_one_and_known_ones_follow():
    processor = fit(minimum_cat_count=2)
    found, errors = processor.transform({"age": [7, None, "NA"], "colour": ["red", None, "mauve"]})
    np.testing.assert_array_equal(found["table_numbers"], [[7], [np.nan], [np.nan]])
    assert found["table_categories"].tolist() == [[FIRST_KNOWN], [MISSING], [UNSEEN]]
    assert errors == []


def test_mean_and_deviation_are_of_the_cells_that_hold_a_number():
    [number] = fit().numbers
    assert number.mean == pytest.approx(7 / 3)  # 1, 2 and 4
    assert number.deviation == pytest.approx(math.sqrt(14 / 9))


@pytest.mark.parametrize(
    "cells", [[None, None], [5, 5], [], ["a", "b"], [1e-60, 2e-60], [3e38, -3e38]]
)
def test_a_column_without_spread_has_a_deviation_that_the_graph_can_divide_by(cells):
    [number] = fit({"age": cells, "colour": [None] * len(cells)}).numbers
    assert math.isfinite(number.mean)
    assert np.isfinite(np.float32(1) / np.float32(number.deviation))


def test_rare_categories_count_as_unseen_and_the_most_frequent_are_kept():
    cells = ["a"] * 3 + ["b"] * 2 + ["c"] * 2 + ["d"]
    table: dict[str, list[object]] = {"age": [0] * 8, "colour": [*cells]}
    assert fit(table, minimum_cat_count=1).categories[0].known == ("a", "b", "c", "d")
    assert fit(table, minimum_cat_count=2).categories[0].known == ("a", "b", "c")
    assert fit(table, minimum_cat_count=1, maximum_num_cat=2).categories[0].known == ("a", "b")


def test_a_bad_cell_is_named_and_its_neighbours_keep_their_values():
    processor = fit(minimum_cat_count=1)
    found, errors = processor.transform(
        {"age": [1, "abc", 3, math.inf], "colour": ["red", "blue", ["x"], "green"]}
    )
    np.testing.assert_array_equal(found["table_numbers"][:, 0], [1, np.nan, 3, np.nan])
    assert found["table_categories"][:, 0].tolist() == [4, 2, 0, 3]
    assert [(e.row, e.column) for e in errors] == [(1, "age"), (3, "age"), (2, "colour")]
    assert errors[0].what == "'abc' is not a finite number"
    assert errors[2].what == "['x'] is not a category"


@pytest.mark.parametrize(
    "cell",
    [10**5000, "9" * 400, 1e39, "\udc80", b"\xff", object(), [1]],
    ids=lambda cell: type(cell).__name__,
)
def test_a_number_that_cannot_be_one_is_a_bad_cell_whatever_it_is(cell):
    found, [error] = fit().transform({"age": [cell, 2], "colour": ["red", "red"]})
    np.testing.assert_array_equal(found["table_numbers"][:, 0], [np.nan, 2])
    assert (error.row, error.column) == (0, "age")
    assert len(error.what.encode()) < 120


@given(st.lists(st.tuples(SCALARS, SCALARS), max_size=6))
def test_any_cells_are_numbers_gaps_or_errors_row_by_row(rows):
    processor = fit(minimum_cat_count=1)
    table = {"age": [a for a, _ in rows], "colour": [b for _, b in rows]}
    found, errors = processor.transform(table)
    assert found["table_numbers"].shape == (len(rows), 1)
    assert not np.isinf(found["table_numbers"]).any()
    for row, (age, colour) in enumerate(rows):
        one, alone = processor.transform({"age": [age], "colour": [colour]})
        np.testing.assert_array_equal(one["table_numbers"][0], found["table_numbers"][row])
        np.testing.assert_array_equal(one["table_categories"][0], found["table_categories"][row])
        assert [e.column for e in alone] == [e.column for e in errors if e.row == row]


@given(st.lists(SCALARS, min_size=1, max_size=8))
def test_every_category_of_training_is_known_afterwards(cells):
    table = {"age": [0] * len(cells), "colour": cells}
    processor = fit(table, minimum_cat_count=1)
    found, errors = processor.transform(table)
    bad = {error.row for error in errors}
    for row, cell in enumerate(cells):
        code = found["table_categories"][row, 0]
        if row in bad or is_gap(cell):
            assert code == MISSING
        else:
            assert processor.categories[0].known[code - FIRST_KNOWN] == category_key(cell)


def test_text_and_other_types_of_one_spelling_in_one_column_have_one_code():
    cells = ["1", 1, 1.0, True, "true", b"1", Decimal(1), np.int8(1), "1.0", date(2020, 1, 1)]
    processor = fit({"age": [0] * 10, "colour": cells}, minimum_cat_count=1)
    assert processor.categories[0].known == ("1", "2020-01-01", "true")
    codes = processor.transform({"age": [0] * 10, "colour": cells})[0]["table_categories"][:, 0]
    assert codes.tolist() == [2, 2, 2, 4, 4, 2, 2, 2, 2, 3]


def test_a_kind_without_columns_has_no_tensor():
    numbers = TabularProcessor.fit("table", TABLE, ["age"], [])
    assert [spec.name for spec in numbers.specs()] == ["table_numbers"]
    assert list(numbers.transform(TABLE)[0]) == ["table_numbers"]
    assert numbers.columns == ("age",)
    categories = TabularProcessor.fit("table", TABLE, [], ["colour"])
    assert [spec.name for spec in categories.specs()] == ["table_categories"]
    assert list(categories.transform(TABLE)[0]) == ["table_categories"]


@pytest.mark.parametrize("deviation", [0.0, -1.0, math.inf, math.nan])
def test_a_deviation_that_no_fit_makes_is_refused(deviation):
    with pytest.raises(ValueError, match="'age'"):
        Number("age", 0.0, deviation)


def test_a_damaged_file_is_refused_with_its_place():
    processor = TabularProcessor("table", (Number("age", 0.0, 1.0),), (Category("c", ("a",)),))
    text = msgspec.json.encode(processor).replace(b'"deviation":1.0', b'"deviation":0.0')
    with pytest.raises(msgspec.ValidationError, match=r"deviation.*\$\.numbers\[0\]"):
        msgspec.json.decode(text, type=TabularProcessor)


@pytest.mark.real
def test_on_real_rows_numbers_and_codes_are_those_of_pandas(real_data):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(real_data("ames_housing")).head(500)
    numbers = [name for name in frame if frame[name].dtype.kind in "if"]
    words = [name for name in frame if name not in numbers]
    processor = TabularProcessor.fit(
        "table", read_table(frame), numbers, words, minimum_cat_count=1
    )
    found, errors = processor.transform(read_table(frame))
    assert errors == []
    np.testing.assert_array_equal(found["table_numbers"], frame[numbers].to_numpy(np.float32))
    for place, name in enumerate(words):
        # Sorted by spelling, gaps apart: this is what factorize does too.
        codes, _ = pandas.factorize(frame[name].replace("NA", None).map(category_key, "ignore"),
                                    sort=True)  # fmt: skip
        expected = np.where(codes < 0, MISSING, codes + FIRST_KNOWN)
        np.testing.assert_array_equal(found["table_categories"][:, place], expected)
    for number in processor.numbers:
        assert number.mean == pytest.approx(frame[number.name].mean(), rel=1e-6)
        assert number.deviation == pytest.approx(frame[number.name].std(ddof=0) or 1, rel=1e-6)
