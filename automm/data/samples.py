"""Rows that stay with a trained predictor, so that an export needs no other data."""

from __future__ import annotations

from automm_serve.cells import is_gap
from automm_serve.pictures import encoded, pictures_of
from automm_serve.schema import Schema
from automm_serve.tensors import Table, count_rows, take_rows

GOLDEN = 16
CALIBRATION = 64
TUNING = 500
TUNING_BYTES = 100_000_000
"""Pictures of the tuning rows that are kept at most: half of the rows go until the rest is less."""


def golden_rows(table: Table, schema: Schema) -> Table:
    """Return 16 rows, among them for each column a row where it is missing, if there is one."""
    chosen: dict[int, None] = {}
    for column in schema.columns:
        cells = table[column.name]
        if not any(is_gap(cells[row]) for row in chosen):
            gap = next((row for row, cell in enumerate(cells) if is_gap(cell)), None)
            if gap is not None and len(chosen) < GOLDEN // 2:  # whole rows must stand beside
                chosen[gap] = None
    for row in _spread(count_rows(table), GOLDEN):
        if len(chosen) < GOLDEN:
            chosen[row] = None
    return _columns(table, schema, sorted(chosen))


def calibration_rows(table: Table, schema: Schema) -> Table:
    """Return at most 64 rows, spread over the table."""
    return _columns(table, schema, _spread(count_rows(table), CALIBRATION))


def tuning_rows(table: Table, schema: Schema, label: str) -> Table:
    """Return at most 500 rows with their label, spread over the table; fewer of large pictures.

    What a precision costs is measured on them, so they must be rows that training did not see, and
    no calibration.
    """
    rows = _spread(count_rows(table), TUNING)
    taken = _columns(table, schema, rows)
    while len(rows) > 1 and _picture_bytes(taken, schema) > TUNING_BYTES:
        rows = rows[::2]
        taken = {name: cells[::2] for name, cells in taken.items()}
    return {**taken, label: [table[label][row] for row in rows]}


def _picture_bytes(table: Table, schema: Schema) -> int:
    cells = [cell for c in schema.columns if c.kind == "image" for cell in table[c.name]]
    return sum(len(picture) for cell in cells if isinstance(cell, list) for picture in cell)


def _columns(table: Table, schema: Schema, rows: list[int]) -> dict[str, list[object]]:
    """These rows, their pictures as bytes: a file may be gone when the predictor is saved."""
    taken = take_rows({c.name: table[c.name] for c in schema.columns}, rows)
    for column in schema.columns:
        if column.kind == "image":
            cells = taken[column.name]
            taken[column.name] = [
                [encoded(picture) for picture in pictures_of(cell)] or None for cell in cells
            ]
    return taken


def _spread(rows: int, count: int) -> list[int]:
    return sorted({i * rows // count for i in range(count)}) if rows else []
