"""What is to be predicted: the problem type, from the cells of the label."""

from __future__ import annotations

import numpy as np

from automm.data.column import ColumnCells, ColumnReason
from automm_serve.cells import as_floats, category_key
from automm_serve.errors import ConfigError, DataError, SchemaError, near_name
from automm_serve.tensors import Table

PROBLEM_TYPES = ("binary", "multiclass", "regression")
"""What a label can be; ``classification`` is the first or the second, whichever the label says."""

REGRESSION_METRICS = frozenset(
    {"rmse", "root_mean_squared_error", "mse", "mean_squared_error", "mae", "mean_absolute_error",
     "median_absolute_error", "mape", "mean_absolute_percentage_error", "smape",
     "symmetric_mean_absolute_percentage_error", "r2", "pearsonr", "spearmanr"}
)  # fmt: skip
"""An ``eval_metric`` that only numbers have says that the label is one."""

MOST_CLASSES = 1000
LARGE_TABLE = 1000
CLASSES_PER_ROW_SMALL, CLASSES_PER_ROW_LARGE = 0.1, 0.05
"""AutoGluon's: whole numbers are classes where they are few; up to and above 1,000 rows."""

MOST_BAD = 0.1
"""Training stops where more rows fail than this; so does a label of numbers that are none."""


def find_label(table: Table, name: str, untyped: bool) -> ColumnCells:
    """Return the cells of the label.

    Raises:
        SchemaError: There is no such column.
        DataError: All its cells are gaps, or all are the same.
    """
    if name not in table:
        near = near_name(name, table)
        hint = f"{near!r} is near. " if near else ""
        raise SchemaError(
            where="table",
            what=f"there is no label column {name!r}",
            mend=f"{hint}Pass one of its columns: {', '.join(table)}",
        )
    label = ColumnCells(name, table[name], untyped=untyped)
    if not label.filled:
        raise _unfit(name, "every cell is missing", "Pass a table whose label is filled")
    if len(label.values) == 1:
        value = label.filled[0]
        raise _unfit(
            name,
            f"every cell is {value!r}, and there is nothing to learn",
            "Pass rows with other values of the label too",
        )
    return label


def infer_problem(
    label: ColumnCells, problem_type: str | None = None, eval_metric: str | None = None
) -> ColumnReason:
    """Return the problem type, as sub-type of the label's reason.

    Without a problem type these are AutoGluon's rules: two values are binary, text is multiclass,
    whole numbers are multiclass where they are few, and all else is regression.

    Raises:
        ConfigError: The problem type is unknown, or the label does not fit it.
        DataError: The label holds numbers and text, or cells that are neither.
    """
    asked = problem_type and _known(problem_type)
    if not asked and eval_metric in REGRESSION_METRICS:
        asked = "regression"
    if asked == "regression":
        return _given_regression(label)
    numeric = _check_classes(label)
    if not asked and numeric and not _are_classes(label):
        return _numbers(label)
    return _classes(label, asked)


def _known(problem_type: str) -> str:
    name = problem_type.lower()
    if name in (*PROBLEM_TYPES, "classification"):
        return name
    near = near_name(name, PROBLEM_TYPES)
    raise ConfigError(
        where="problem_type",
        what=f"{problem_type!r} is unknown" + (f"; {near!r} is near" if near else ""),
        mend=f"Pass one of {', '.join(PROBLEM_TYPES)}, classification",
    )


def _given_regression(label: ColumnCells) -> ColumnReason:
    bad = label.not_numbers
    if len(bad) > MOST_BAD * len(label.filled):
        raise _mixed(label, bad[0], "is no finite number, as regression needs", len(bad))
    return _decide(label, "regression", "given", "its cells are numbers, and regression was asked")


def _check_classes(label: ColumnCells) -> bool:
    """Tell whether the label holds numbers; refuse what is neither numbers nor one sort of text."""
    for i, cell in enumerate(label.filled):
        try:
            category_key(cell)
        except ValueError as error:
            raise _mixed(label, i, f"can be no label: {error}", 1) from None
    sorts = {_sort(kind) for kind in label.types}
    if len(sorts) > 1:
        text = next(i for i, cell in enumerate(label.filled) if _sort(type(cell)) == "text")
        raise _mixed(
            label,
            text,
            "is text, others are not",
            sum(_sort(type(cell)) == "text" for cell in label.filled),
        )
    if sorts != {"text"}:
        return sorts == {"number"} and not label.moments
    return label.untyped and _spells_numbers(label)


def _spells_numbers(label: ColumnCells) -> bool:
    """Tell whether text is numbers, in a file that has only text; refuse nearly all of it."""
    bad = label.not_numbers
    if not bad or label.padded:
        return not bad and not label.padded
    if len(bad) <= MOST_BAD * len(label.filled) and not _few(label):
        raise _mixed(label, bad[0], "is no number, nearly all others are", len(bad))
    return False


def _are_classes(label: ColumnCells) -> bool:
    values = as_floats(sorted(label.values, key=str))[0]
    whole = bool(np.all(np.mod(values[np.isfinite(values)], 1) == 0))
    return len(label.values) == 2 or (whole and _few(label))


def _few(label: ColumnCells) -> bool:
    rows = len(label.filled)
    share = CLASSES_PER_ROW_SMALL if rows <= LARGE_TABLE else CLASSES_PER_ROW_LARGE
    return len(label.values) <= min(MOST_CLASSES, share * rows)


def _numbers(label: ColumnCells) -> ColumnReason:
    distinct = len(label.values)
    few = distinct <= 20 and _whole(label)
    return _decide(
        label,
        "regression",
        "numbers",
        f"{distinct} distinct numbers in {len(label.filled)} rows",
        "where its numbers are classes, pass problem_type='multiclass'" if few else "",
    )


def _whole(label: ColumnCells) -> bool:
    return bool(np.all(np.mod(as_floats(label.filled)[0], 1) == 0))


def _classes(label: ColumnCells, asked: str | None) -> ColumnReason:
    classes = len({category_key(cell) for cell in label.values})
    if classes < 2:
        raise _unfit(label.name, "its cells are all one class", "Pass rows of other classes too")
    if asked == "binary" and classes != 2:
        raise ConfigError(
            where="problem_type",
            what=f"binary means two classes, and label {label.name!r} has {classes}",
            mend="Pass problem_type='multiclass', or leave it out",
        )
    found = "multiclass" if asked == "multiclass" or classes > 2 else "binary"
    once = classes > MOST_BAD * len(label.filled) and classes > 20
    return _decide(
        label,
        found,
        "given" if asked else "classes",
        f"{classes} classes",
        f"{classes} classes in {len(label.filled)} rows: most have hardly a row" if once else "",
    )


def _sort(kind: type) -> str:
    if issubclass(kind, str | bytes):
        return "text"
    return "boolean" if kind.__name__ in ("bool", "bool_") else "number"


def _decide(
    label: ColumnCells, found: str, rule: str, reason: str, notice: str = ""
) -> ColumnReason:
    if label.missing and not notice:
        notice = f"{label.missing} rows have no label and are left out of training"
    return label.decide(None, rule, reason, subtype=found, notice=notice)


def _mixed(label: ColumnCells, first: int, what: str, count: int) -> DataError:
    return DataError(
        where=f"label {label.name!r}, row {label.rows[first]}",
        what=f"{label.filled[first]!r} {what} ({count} of {len(label.filled)} cells)",
        mend="Make all cells of the label numbers, or all text, and leave those without one empty",
    )


def _unfit(name: str, what: str, mend: str) -> DataError:
    return DataError(where=f"label {name!r}", what=what, mend=mend)
