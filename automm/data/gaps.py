"""``data.image.missing_value_strategy``: what becomes of training rows that lack a picture."""

from __future__ import annotations

from automm.config.data import DataConfig
from automm_serve.errors import DataError
from automm_serve.pictures import pictures_of
from automm_serve.schema import Schema
from automm_serve.tensors import Table, count_rows, take_rows


def drop_rows_without_pictures(table: Table, schema: Schema, data: DataConfig) -> tuple[Table, int]:
    """Leave out the training rows that lack a picture, where ``skip`` asks for it.

    No row takes the place of another. Validation rows stay: they are scored as they would be
    answered, and a prediction answers a row without a picture.

    Returns:
        The table, and how many rows were left out.

    Raises:
        DataError: No row has all of its pictures.
    """
    names = [column.name for column in schema.columns if column.kind == "image"]
    if data.image.missing_value_strategy != "skip" or not names:
        return table, 0
    rows = count_rows(table)
    kept = [row for row in range(rows) if all(_is_there(table[name][row]) for name in names)]
    if not kept:
        raise DataError(
            where="training data",
            what=f"each of its {rows} rows lacks a picture, and "
            "data.image.missing_value_strategy is 'skip'",
            mend="Leave that setting out, or the columns of pictures that are hardly filled",
        )
    return (table, 0) if len(kept) == rows else (take_rows(table, kept), rows - len(kept))


def _is_there(cell: object) -> bool:
    """A cell that is no picture is there: its row is left out for that, and counted."""
    try:
        return bool(pictures_of(cell))
    except ValueError:
        return True
