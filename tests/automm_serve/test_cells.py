from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from automm_serve.cells import (
    MISSING_WORDS,
    as_floats,
    category_key,
    is_gap,
    quote,
    to_number,
)
from tests.automm_serve.samples import SCALARS


@pytest.mark.parametrize(
    "cell",
    [
        *sorted(MISSING_WORDS),
        None,
        math.nan,
        np.float32("nan"),
        np.datetime64("NaT"),
        np.timedelta64("NaT"),
        Decimal("NaN"),
        Decimal("sNaN"),
        b"NA",
    ],
    ids=repr,
)
def test_what_means_missing_is_a_gap_in_every_type(cell):
    assert is_gap(cell)
    assert math.isnan(to_number(cell))


@pytest.mark.parametrize("cell", [0, 0.0, False, "0", " ", "na", "Null", b"no", [], Decimal(0)])
def test_what_is_small_or_only_looks_missing_is_no_gap(cell):
    assert not is_gap(cell)


def test_gaps_of_pandas_are_gaps_though_pandas_is_not_imported_here():
    pandas = pytest.importorskip("pandas")
    assert is_gap(pandas.NA)
    assert is_gap(pandas.NaT)


@pytest.mark.parametrize(
    ("cells", "key"),
    [
        ([3, 3.0, "3", "3.0", "3.00", b"3", np.int64(3), np.float32(3), Decimal("3.0")], "3"),
        ([0.1, "0.1", "0.10", np.float32(0.1), np.float64(0.1), Decimal("0.10"), ".1"], "0.1"),
        ([True, np.True_, "True", "TRUE", "true"], "true"),
        ([False, np.False_, "False", "FALSE", "false"], "false"),
        ([100000.0, "1e5", "1E+5", 10**5], "100000"),
        ([-0.0, 0, "0", "0.0", "-0.0"], "0"),
        (["007"], "007"),
        (["00"], "00"),
        (["1e999"], "1e999"),  # infinite, but a fine word
        (["Größe", "Größe".encode()], "Größe"),
        (
            [
                date(2020, 2, 1), datetime(2020, 2, 1), np.datetime64("2020-02-01"),
                "2020-02-01", "2020-02-01 00:00:00", "2020-02-01T00:00:00.000",
            ],
            "2020-02-01",
        ),
        (
            [datetime(2020, 2, 1, 9, 30), np.datetime64("2020-02-01T09:30"), "2020-02-01T09:30"],
            "2020-02-01 09:30:00",
        ),
        (["2020-02-01T09:30Z", datetime(2020, 2, 1, 9, 30, tzinfo=UTC)],
         "2020-02-01 09:30:00+00:00"),
        (["2020-02-40 00:00"], "2020-02-40 00:00"),
    ],
)  # fmt: skip
def test_a_category_has_one_spelling_whatever_its_type(cells, key):
    assert {category_key(cell) for cell in cells} == {key}


def test_a_key_is_a_plain_string():
    assert type(category_key(np.str_("a b"))) is str  # JSON takes no other


@pytest.mark.parametrize(
    "cell",
    [
        math.inf, -math.inf, np.float32("inf"), Decimal("Infinity"), Decimal("1E+999999999"),
        "\udc80", "3\udc80", b"\xff", Path("\udc80"), [1], {"a": 1}, np.array([1]), 10**5000,
        np.datetime64("20000-01-01"),
    ],
    ids=lambda cell: type(cell).__name__,
)  # fmt: skip
def test_what_is_no_category_is_refused_with_a_value_error(cell):
    with pytest.raises(ValueError, match=r"\w"):
        category_key(cell)


@given(SCALARS)
def test_spelling_is_stable_and_always_utf8(cell):
    try:
        key = category_key(cell)
    except ValueError:
        return
    key.encode()
    assert category_key(key) == key
    assert category_key(key.encode()) == key


@given(st.integers())
def test_a_whole_float_is_the_category_of_its_integer(number):
    if float(number) == number:
        assert category_key(float(number)) == category_key(number) == str(number)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        (True, 1), ("False", 0), ("true", 1), (" 2.5 ", 2.5), ("1e3", 1000), (b"4", 4),
        (Decimal("0.5"), 0.5), (np.int8(-3), -3), (np.bool_(True), 1), ("+.5", 0.5),
        ("1970-01-02", 1), (date(1970, 1, 3), 2), (datetime(1970, 1, 1, 12), 0.5),
        (np.datetime64("1970-01-02T12"), 1.5), ("1969-12-31", -1), (date(1, 1, 1), -719162),
        ("1970-01-02T00:00:00+12:00", 0.5),
        (datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=-6))), 0.25),
    ],
    ids=repr,
)  # fmt: skip
def test_a_number_is_read_from_every_type_and_dates_are_days(cell, number):
    assert to_number(cell) == number


@pytest.mark.parametrize(
    "cell",
    [
        "a", "1,5", "1_000", "inf", "-Infinity", "NAN", " nan", math.inf, b"\xff", [1], {},
        object(),
        10**400, 10**5000, Decimal("Infinity"), np.array([1.0, 2.0]), "2020-13-01", 1j,
    ],
    ids=lambda cell: type(cell).__name__,
)  # fmt: skip
def test_what_is_no_finite_number_is_refused(cell):
    with pytest.raises(ValueError, match=r"\w"):
        to_number(cell)


@given(st.lists(SCALARS, max_size=6))
def test_a_column_of_numbers_reads_as_its_cells_do(cells):
    values, bad = as_floats(cells)
    for row, cell in enumerate(cells):
        try:
            with np.errstate(over="ignore"):
                expected = np.float32(to_number(cell))
        except ValueError:
            expected = np.float32(np.inf)
        assert (row in bad) == np.isinf(expected)
        np.testing.assert_array_equal(values[row], np.nan if row in bad else expected)


NUMERIC_TEXT = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from([*sorted(MISSING_WORDS), " nan", "NAN", "1_0", " 1", "inf", "1e39", "٣"]),
    st.none(),
)


@given(st.lists(NUMERIC_TEXT, max_size=5))
@example(["1_0", "2"])
@example([" nan", "2"])
def test_the_fast_way_over_text_reads_as_the_slow_one(cells):
    # An unlike cell at the end sends the whole column the slow way.
    values, bad = as_floats(cells)
    slow, slow_bad = as_floats([*cells, date(1970, 1, 1)])
    np.testing.assert_array_equal(values, slow[:-1])
    assert bad == slow_bad


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats()), max_size=5))
def test_the_fast_way_over_numbers_reads_as_the_slow_one(cells):
    values, bad = as_floats(cells)
    slow, slow_bad = as_floats([*cells, "0"])
    np.testing.assert_array_equal(values, slow[:-1])
    assert bad == slow_bad


def test_numbers_beyond_float32_are_bad_and_those_within_are_not():
    values, bad = as_floats([3.4e38, 3.5e38, -1e39, 1e-60, None])
    assert bad == [1, 2]
    np.testing.assert_array_equal(values, np.array([3.4e38, np.nan, np.nan, 0, np.nan], "f4"))


def test_any_cell_can_be_quoted_in_few_letters():
    cells = [10**5000, "x" * 10_000, "\udc80", list(range(999)), b"\xff" * 999, None]
    assert all(len(quote(cell).encode()) < 80 for cell in cells)
