"""Golden rows: some rows and their answers, which travel with a bundle to check it anywhere.

``rows.jsonl`` holds one JSON object a line, pictures as base64: each line is a request that can
be sent to Triton as it is. ``answers.json`` holds the columns that each program gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from automm_serve.errors import BundleError, DataError
from automm_serve.predicts import Predicts
from automm_serve.schema import Schema
from automm_serve.tensors import Table, count_rows
from automm_serve.wire import decode_row, encode_row

ROWS, ANSWERS = "golden/rows.jsonl", "golden/answers.json"
"""Paths in a bundle."""


class Answers(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``answers.json``: program -> column -> one cell a row, null for a gap."""

    programs: dict[str, dict[str, list[object]]]


def write_rows(path: Path, schema: Schema, table: Table) -> None:
    """Write rows, one JSON object a line; paths among the pictures are opened.

    Raises:
        DataError: A cell cannot be read, so that it would have no answer either.
    """
    lines = []
    for row in range(count_rows(table)):
        try:
            cells = {name: column[row] for name, column in table.items()}
            lines.append(encode_row(schema, cells) + b"\n")
        except ValueError as error:
            raise DataError(
                where=f"golden rows, row {row}",
                what=str(error),
                mend="Give rows whose cells can be read, or pass --golden none",
            ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))


def read_rows(path: Path, schema: Schema) -> dict[str, list[object]]:
    """Read the table that ``write_rows`` wrote; every column of the schema is in it.

    Raises:
        BundleError: The file is damaged.
    """
    try:
        rows = [decode_row(schema, line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return {column.name: [row.get(column.name) for row in rows] for column in schema.columns}


def answer_rows(predictor: Predicts, rows: Table, programs: Sequence[str]) -> Answers:
    """Let a predictor answer the rows, by each program; what fails there has gaps."""
    return Answers(
        {
            name: {
                column: [_plain(cell) for cell in cells]
                for column, cells in predictor.run(rows, name).columns.items()
            }
            for name in programs
        }
    )


def write_answers(path: Path, answers: Answers) -> None:
    """Write the answers; equal ones give equal bytes."""
    path.write_bytes(msgspec.json.encode(answers, order="deterministic") + b"\n")


def read_answers(path: Path) -> Answers:
    """Read the answers.

    Raises:
        BundleError: The file is damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Answers)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error


def _plain(cell: object) -> object:
    """What JSON holds; float32 becomes the double that is equal to it."""
    return cell.tolist() if isinstance(cell, np.ndarray | np.generic) else cell


def _damaged(path: Path, error: Exception) -> BundleError:
    return BundleError(
        where=str(path),
        what=f"the golden rows are damaged: {error}",
        mend="Copy the bundle anew from where it was exported, or export it again",
    )
