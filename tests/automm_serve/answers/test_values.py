from __future__ import annotations

import math

import numpy as np
import pytest

from automm_serve.answers import ValuesAnswer
from automm_serve.errors import DataError

CELLS = [1, "3", None, 5.0, "x", math.inf]


def test_mean_and_deviation_are_of_the_labels_that_are_numbers():
    answer = ValuesAnswer.fit("price", {"price": CELLS})
    assert answer.mean == 3
    assert answer.deviation == np.float32(math.sqrt(8 / 3))


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([], "it holds no number"),
        ([None, "NA"], "it holds no number"),
        (["a", "b"], "it holds no number"),
        ([7, 7, None], "its only value is 7"),
    ],
)
def test_a_label_that_does_not_differ_is_refused_by_its_name(cells, what):
    with pytest.raises(DataError, match=f"label 'price': {what}"):
        ValuesAnswer.fit("price", {"price": cells})


def test_targets_are_standardised_and_bad_labels_are_named():
    answer = ValuesAnswer("price", 3.0, 2.0)
    found, errors = answer.encode({"price": CELLS}, {})
    np.testing.assert_array_equal(found["targets"], [-1, 0, np.nan, 1, np.nan, np.nan])
    assert found["targets"].dtype == np.float32
    assert sorted((error.row, error.what) for error in errors) == [
        (2, "the label is missing"),
        (4, "'x' is not a finite number"),
        (5, "inf is not a finite number"),
    ]


def test_small_differences_of_large_labels_survive():
    # The mean is no float32: rounded to one it is 2 ** 24.
    cells: list[object] = [2**24, 2**24 + 2]
    found, _ = ValuesAnswer("price", 2.0**24 + 1, 1.0).encode({"price": cells}, {})
    assert found["targets"].tolist() == [-1, 1]


def test_values_are_read_as_they_are():
    answer = ValuesAnswer("price", 3.0, 2.0)
    found = answer.decode({"values": np.array([[1.5], [-2]], np.float32)})
    assert found == {"price": [1.5, -2.0]}
    assert [(column.name, column.kind) for column in answer.columns] == [("price", "number")]
    assert answer.revive({"price": [1.5, None]}) == {"price": [1.5, None]}


@pytest.mark.parametrize("deviation", [0.0, -1.0, math.inf, math.nan])
def test_a_deviation_that_no_fit_makes_is_refused(deviation):
    with pytest.raises(ValueError, match="'price'"):
        ValuesAnswer("price", 0.0, deviation)
