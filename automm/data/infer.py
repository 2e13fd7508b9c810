"""Table -> the columns that a model will read, the problem type, and the reason for each."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from automm.data.column import ColumnCells, ColumnReason
from automm.data.column_types import read_column_types
from automm.data.picture_rules import picture_form
from automm.data.problem import find_label, infer_problem
from automm.data.rules import decide
from automm_serve.errors import ConfigError, DataError
from automm_serve.schema import Column, Kind, Schema, check_lengths
from automm_serve.table import under_root
from automm_serve.tensors import Table, count_rows

__all__ = ["ColumnReason", "Understanding", "infer_schema"]

_KINDS: dict[str, Kind] = {
    "image": "image",
    "text": "text",
    "number": "number",
    "category": "category",
}


class Understanding(Struct, frozen=True):
    """What was made of a table.

    Attributes:
        schema: The columns that go in, in the table's order.
        problem_type: ``binary``, ``multiclass`` or ``regression``; None where no label is given.
        label: Name of the column to predict; None where none is given.
        reasons: Of every column but the label, in the table's order, the ignored ones too.
        label_reason: Of the label.
    """

    schema: Schema
    problem_type: str | None
    label: str | None
    reasons: tuple[ColumnReason, ...]
    label_reason: ColumnReason | None = None

    @property
    def notices(self) -> list[str]:
        """What the user should look at, a line a column."""
        every = (*self.reasons, *((self.label_reason,) if self.label_reason else ()))
        return [f"column {one.name!r}: {one.notice}" for one in every if one.notice]


def infer_schema(
    table: Table,
    label: str | None = None,
    problem_type: str | None = None,
    column_types: Mapping[str, str | None] | None = None,
    valid: Table | None = None,
    eval_metric: str | None = None,
) -> Understanding:
    """Say what each column of a table is, and what is to be predicted.

    Args:
        table: The training rows, of ``read_table``.
        label: Name of the column to predict.
        problem_type: ``binary``, ``multiclass``, ``regression`` or ``classification``; from the
            label where it is not given.
        column_types: Column -> type, for those that are to be taken as said: ``categorical``,
            ``numerical``, ``text``, ``image_path``, ``image_bytearray``, ``image_base64_str``,
            ``null``, or ``category``, ``number``, ``image``.
        valid: The validation rows, where they are known.
        eval_metric: A metric that only numbers have makes the problem a regression.

    Raises:
        DataError: The table has no rows, the label cannot be learnt, pictures are not there, or no
            column is left to learn from.
        SchemaError: A column that is named is not in the table.
        ConfigError: A problem type or a type of column is unknown, or does not fit.
    """
    check_rows("table", table)
    untyped = bool(getattr(table, "untyped", False))
    given = read_column_types(column_types, table)
    target = None
    if label is not None:
        asked = problem_type or _asked_by_type(given.pop(label, "none"), label)
        target = infer_problem(find_label(table, label, untyped), asked, eval_metric)
    reasons, columns = [], []
    for name in table:
        if name != label:
            cells = _cells(table, name, valid, untyped)
            reason = _take(cells, given[name]) if name in given else decide(cells)
            reasons.append(reason)
            if reason.kind is not None:
                columns.append(Column(name, _KINDS[reason.kind], required=_full(cells)))
    if label is not None and not columns:
        raise DataError(
            where="table",
            what="no column is left to learn from: "
            + ("; ".join(f"{one.name!r}: {one.reason}" for one in reasons) or "it has but a label"),
            mend="Pass a table with other columns, or say by column_types what they are",
        )
    return Understanding(
        Schema(tuple(columns)), target.subtype if target else None, label, tuple(reasons), target
    )


def check_rows(where: str, table: Table) -> None:
    """Refuse a table without rows, or with columns of unequal length.

    Raises:
        SchemaError: The columns differ in length.
        DataError: It has no rows.
    """
    check_lengths(table)
    if not count_rows(table):
        raise DataError(where=where, what="it has no rows", mend="Pass a table with rows")


def _asked_by_type(kind: str | None, label: str) -> str | None:
    """The problem type that a column type of the label means."""
    match kind:
        case "none":
            return None
        case "number":
            return "regression"
        case "category":
            return "classification"
    raise ConfigError(
        where=f"column_types, column {label!r}",
        what=f"a label cannot be {kind or 'null'}",
        mend="Pass categorical or numerical, or leave the label out of column_types",
    )


def _cells(table: Table, name: str, valid: Table | None, untyped: bool) -> ColumnCells:
    beside = valid.get(name, ()) if valid else ()
    return ColumnCells(name, under_root(table, table[name]), beside, untyped)


def _take(cells: ColumnCells, kind: str | None) -> ColumnReason:
    """The decision for a column whose kind the user gave."""
    subtype = picture_form(cells) if kind == "image" else ""
    return cells.decide(kind, "given", "column_types says so", subtype=subtype)


def _full(cells: ColumnCells) -> bool:
    return not cells.missing and len(cells.filled_valid) == len(cells.valid)
