from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automm_serve.answers import ClassesAnswer
from automm_serve.errors import DataError
from automm_serve.table import read_table
from automm_serve.tensors import FileTable
from tests.automm_serve.samples import SCALARS


def fit(cells: list[object]) -> ClassesAnswer:
    return ClassesAnswer.fit("label", {"label": cells})


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["b", "a", None, "b", "NA"], ("a", "b")),
        ([10, 9, 2, 10], (2, 9, 10)),
        ([10.0, 9.0, math.nan], (9, 10)),
        ([1.5, 0.5, 2.0], (0.5, 1.5, 2)),
        ([True, False], (False, True)),
        ([np.int64(3), np.bool_(True), np.str_("x")], (3, True, "x")),
        ([b"b", "a"], ("a", "b")),
        ([Decimal("1.50"), "a"], ("1.5", "a")),
        ([10, 2, "x"], (10, 2, "x")),
    ],
)
def test_classes_are_sorted_and_keep_their_types(cells, classes):
    found = fit(cells).classes
    assert found == classes
    assert [type(name) for name in found] == [type(name) for name in classes]


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["10", "9", ""], (9, 10)),
        (["1.0", "0.0"], (0, 1)),
        (["1.5", "2"], (1.5, 2)),
        (["True", "False"], (False, True)),
        (["007", "8"], ("007", "8")),
        (["1e999", "2"], ("1e999", "2")),
        (["1_0", "2"], ("1_0", "2")),
        (["infinity", "2"], ("2", "infinity")),
        (["1", "x"], ("1", "x")),
    ],
)
def test_classes_of_a_file_without_types_get_those_of_a_typed_one(tmp_path, cells, classes):
    (tmp_path / "a.csv").write_text("label,x\n" + "".join(f"{cell},1\n" for cell in cells))
    found = ClassesAnswer.fit("label", read_table(tmp_path / "a.csv")).classes
    assert found == classes
    assert [type(name) for name in found] == [type(name) for name in classes]


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([], "all its cells are missing"),
        ([None, "NA", math.nan], "all its cells are missing"),
        (["a", "a", None], r"1 distinct value: \['a'\]"),
        ([3, 3.0, "3"], "1 distinct value"),
        ([[1], [2]], "all its cells are missing"),
    ],
)
def test_fewer_than_two_classes_are_refused_by_the_name_of_the_label(cells, what):
    with pytest.raises(DataError, match=f"label 'label'.*{what}"):
        fit(cells)


@pytest.mark.parametrize("classes", [(), ("a",), ("a", "a"), (3, "3"), (1.0, 1), (True, "true")])
def test_classes_that_no_fit_makes_are_refused(classes):
    with pytest.raises(ValueError, match="two classes at least, all different"):
        ClassesAnswer("label", classes)


def test_labels_become_codes_whatever_their_type_and_bad_ones_are_named():
    answer = ClassesAnswer("label", (2, 9, 10))
    cells = [10, "9", 2.0, None, 3, "x", math.inf, b"10"]
    found, errors = answer.encode({"label": cells}, {})
    assert found["classes"].tolist() == [2, 1, 0, -1, -1, -1, -1, 2]
    assert found["classes"].dtype == np.int64
    assert [(error.row, error.column) for error in errors] == [(r, "label") for r in (3, 4, 5, 6)]
    assert errors[0].what == "the label is missing"
    assert errors[1].what == "3 is not one of the classes"


def test_the_most_probable_class_is_named_with_its_probabilities():
    answer = ClassesAnswer("label", ("a", "b", "c"))
    probabilities = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32)
    found = answer.decode({"probabilities": probabilities})
    assert found["label"] == ["b", "a"]
    vectors: list[Any] = found["probabilities"]
    np.testing.assert_array_equal(np.stack(vectors), probabilities)
    assert [(column.name, column.kind, column.width) for column in answer.columns] == [
        ("label", "text", 0),
        ("probabilities", "vector", 3),
    ]


def test_a_label_called_probabilities_keeps_its_name():
    answer = ClassesAnswer("probabilities", ("a", "b"))
    found = answer.decode({"probabilities": np.array([[0.2, 0.8]], np.float32)})
    assert list(found) == ["probabilities", "class_probabilities"]
    assert found["probabilities"] == ["b"]


def test_classes_that_came_over_the_wire_as_text_get_their_types_back():
    answer = ClassesAnswer("label", (False, 2, 2.5, "x"))
    found = answer.revive({"label": ["false", "2", "2.5", "x", None], "probabilities": [1] * 5})
    assert found == {"label": [False, 2, 2.5, "x", None], "probabilities": [1] * 5}
    assert [type(cell) for cell in found["label"][:3]] == [bool, int, float]


@given(st.lists(SCALARS, max_size=8), st.booleans())
def test_whatever_the_labels_a_fit_knows_them_all_again_and_its_file_too(cells, untyped):
    table = {"label": cells}
    try:
        answer = ClassesAnswer.fit("label", FileTable(table, None, untyped) if untyped else table)
    except DataError:
        return
    codes = answer.encode(table, {})[0]["classes"]
    assert set(codes.tolist()) - {-1} == set(range(len(answer.classes)))
    decoded = answer.decode({"probabilities": np.eye(len(answer.classes), dtype=np.float32)})
    assert answer.encode(decoded, {})[0]["classes"].tolist() == list(range(len(answer.classes)))
    if all(not isinstance(name, int) or abs(name) < 2**63 for name in answer.classes):
        again = msgspec.json.decode(msgspec.json.encode(answer), type=ClassesAnswer)
        assert again == answer
        assert list(map(type, again.classes)) == list(map(type, answer.classes))
