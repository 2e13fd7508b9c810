"""The problem type, and the labels that cannot be learned."""

from collections.abc import Sequence
from typing import Any

import pytest

from automm.data.infer import Understanding, infer_schema
from automm_serve.errors import ConfigError, DataError, SchemaError
from automm_serve.tensors import FileTable


def understand(cells: Sequence[object], *, untyped: bool = False, **options: Any) -> Understanding:
    table: dict[str, list[object]] = {
        "y": list(cells),
        "x": [row % 7 + 0.5 for row in range(len(cells))],
    }
    return infer_schema(FileTable(table, None, untyped), label="y", **options)


def problem(cells: Sequence[object], **options: Any) -> str | None:
    return understand(cells, **options).problem_type


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([0, 1] * 50, "binary"),
        ([True, False] * 50, "binary"),
        (["yes", "no", None] * 50, "binary"),
        ([0.5, 1.5] * 50, "binary"),
        (["a", "b", "c"] * 50, "multiclass"),
        ([1, 2, 3, 4, 5] * 20, "multiclass"),  # 5 of 100: at most a tenth
        ([1, 2, 3, 4, 5] * 8, "regression"),  # 5 of 40: more than a tenth
        ([1.0, 2.0, 3.0] * 50, "multiclass"),
        ([1.0, 2.0, 3.5] * 50, "regression"),
        (list(range(60)) * 20, "multiclass"),  # 60 of 1200: a twentieth
        (list(range(61)) * 20, "multiclass"),
        (list(range(150)) * 10, "regression"),  # above 1,000 rows a tenth is too many
        (list(range(90)) * 10, "multiclass"),  # up to 1,000 rows it is not
    ],
)
def test_the_problem_is_told_by_autogluons_rules(cells, expected):
    assert problem(cells) == expected


def test_a_file_without_types_is_read_by_its_spelling():
    assert problem([f"{row}.25" for row in range(100)], untyped=True) == "regression"
    assert problem(["1", "2", "3"] * 50, untyped=True) == "multiclass"
    assert problem([f"{row}" for row in range(100)]) == "multiclass"  # text, in a table with types


@pytest.mark.parametrize("metric", ["rmse", "r2", "pearsonr", "spearmanr"])
def test_a_metric_of_numbers_makes_it_regression(metric):
    assert problem([0, 1, 2] * 50, eval_metric=metric) == "regression"
    assert problem([0, 1, 2] * 50, eval_metric="accuracy") == "multiclass"


def test_the_user_has_the_last_word():
    assert problem([1, 2, 3] * 50, problem_type="Regression") == "regression"
    assert problem([0, 1] * 50, problem_type="multiclass") == "multiclass"
    assert problem([0, 1] * 50, problem_type="classification") == "binary"
    assert problem([1, 2, 3, 4, 5] * 8, problem_type="classification") == "multiclass"
    assert problem([1, 2, 3] * 50, column_types={"y": "numerical"}) == "regression"
    assert problem([1.5, 2.5, 3] * 50, column_types={"y": "categorical"}) == "multiclass"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([None, ""] * 20, "label 'y': every cell is missing"),
        (["only"] * 20, "label 'y': every cell is 'only'"),
        (["3", 3, 3.0] * 20, "label 'y'.*is text, others are not"),
        (["a", 1] * 20, r"label 'y', row 0: 'a' is text, others are not \(20 of 40 cells\)"),
        ([[1], [2]] * 20, "label 'y', row 0.*cannot be a list"),
        (["1.0", "1"] * 20, "all one class"),
    ],
)
def test_a_label_that_cannot_be_learned_is_one_clear_error(cells, message):
    with pytest.raises(DataError, match=message):
        problem(cells)


def test_a_word_among_the_numbers_of_a_file_is_named():
    cells = [f"{row}.5" for row in range(100)]
    cells[41] = "unknown"
    with pytest.raises(DataError, match=r"row 41: 'unknown' is no number, nearly all others are"):
        problem(cells, untyped=True)


def test_regression_on_words_is_refused_and_on_few_bad_cells_is_not():
    with pytest.raises(DataError, match=r"row 0: 'a' is no finite number.*\(40 of 40"):
        problem(["a", "b"] * 20, problem_type="regression")
    cells = [float(row) for row in range(100)]
    cells[3] = float("inf")
    assert problem(cells, problem_type="regression") == "regression"


def test_a_label_that_is_not_there_is_refused_with_a_near_name():
    with pytest.raises(SchemaError, match=r"no label column 'Pric'\. 'price' is near"):
        infer_schema({"price": [1, 2], "x": [1, 2]}, label="Pric")


def test_a_problem_type_that_is_unknown_or_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"'regresion' is unknown; 'regression' is near"):
        problem([1, 2], problem_type="regresion")
    with pytest.raises(ConfigError, match=r"binary means two classes, and label 'y' has 3"):
        problem(["a", "b", "c"], problem_type="binary")
    with pytest.raises(ConfigError, match="a label cannot be text"):
        problem(["a", "b", "c"], column_types={"y": "text"})


def test_what_looks_doubtful_is_noticed():
    notices = understand([0, 1, 2, 3, 4] * 8).notices
    assert notices == ["column 'y': where its numbers are classes, pass problem_type='multiclass'"]
    assert "3 rows have no label" in understand([0, 1, 0, 1] * 9 + [None] * 3).notices[0]
    assert "most have hardly a row" in understand([f"n{row}" for row in range(40)]).notices[0]
