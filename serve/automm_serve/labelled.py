"""Labelled rows: the table with its label, and the rows of it that can be compared."""

from __future__ import annotations

import warnings
from pathlib import Path

from automm_serve.answers import AnyAnswer
from automm_serve.errors import DataError, SchemaError, near_name
from automm_serve.predictions import Predictions, RowWarning, example
from automm_serve.table import read_table
from automm_serve.tensors import Table, count_rows, take_rows


def read_labelled(data: object, answer: AnyAnswer, image_root: str | Path | None) -> Table:
    """Read any form of table, with the label.

    Raises:
        SchemaError: The label is absent.
        DataError: It is not a table.
    """
    table = read_table(data, image_root)
    label = answer.columns[0].name
    if label not in table:
        near = near_name(label, table)
        raise SchemaError(
            where="evaluate",
            what=f"the label column {label!r} is absent" + (f", there is {near!r}" if near else ""),
            mend="Pass a table that holds the true labels",
        )
    return table


def compared(table: Table, found: Predictions, answer: AnyAnswer) -> tuple[Table, list[object]]:
    """Return the answers of the rows that have one and a label, and these labels.

    Raises:
        DataError: No row is left.
    """
    label = answer.columns[0].name
    _, unlabelled = answer.encode(table, {})
    left_out = found.failed | {error.row for error in unlabelled}
    rows = [row for row in range(count_rows(table)) if row not in left_out]
    if not rows:
        first = [*found.errors, *unlabelled]
        raise DataError(
            where="evaluate",
            what="no row has both an answer and a label"
            + (f": row {first[0].row}, {first[0].column!r}: {first[0].what}" if first else ""),
            mend="Pass rows with a label that the model can read",
        )
    if left_out:
        what = f"{len(left_out)} of {count_rows(table)} rows are left out of the evaluation"
        warnings.warn(what + example([*found.errors, *unlabelled]), RowWarning, stacklevel=3)
    return take_rows(found.columns, rows), [table[label][row] for row in rows]
