"""The answers to a table as a table of their own, written as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.errors import ConfigError, DataError
from automm_serve.pipeline import find_program
from automm_serve.predicts import Predictions, Predicts
from automm_serve.tensors import CellError, Table, count_rows, take_rows

ERROR = "error"
BLOCK = 1024
"""Rows between two steps of the progress bar."""


class AnswerTable(Struct, frozen=True):
    """What is written.

    Attributes:
        columns: Kept columns, answers, and ``error`` where a row failed.
        rows: How many.
        errors: One for each row that failed.
        warnings: Columns that are absent and count as gaps.
    """

    columns: dict[str, list[object]]
    rows: int
    errors: list[CellError]
    warnings: list[str]


def answer_table(
    model: Predicts, table: Table, program: str = "predict", proba: bool = False, keep: bool = False
) -> AnswerTable:
    """Answer every row, and lay the answers out as columns of plain cells.

    Args:
        model: Whoever answers.
        table: The rows.
        program: Whose answer is wanted.
        proba: Add a column ``probability_<class>`` for each class.
        keep: Put the columns of the table first, those of pictures in memory left out. An answer
            whose name is taken then is called ``<name>_predicted``.

    Raises:
        DataError: The table has no rows.
        ConfigError: Probabilities are asked of what has none.
        SchemaError: The table has not the columns of the model, or there is no such program.
    """
    answer = find_program(model.answers, program)
    if proba and not isinstance(answer, ClassesAnswer):
        raise ConfigError(
            where="--proba",
            what=f"program {program!r} answers without probabilities",
            mend="Leave the option out",
        )
    rows = count_rows(table)
    if not rows:
        raise DataError(where="table", what="it has no rows", mend="Pass a table with rows")
    found = _answer_in_blocks(model, table, rows, program)
    columns = _kept(table) if keep else {}
    for name, cells in _flat(answer, found.columns, proba):
        columns[_free(name, columns)] = cells
    if found.errors:
        texts: list[object] = [None] * rows
        for error in found.errors:
            texts[error.row] = f"{error.column}: {error.what}" if error.column else error.what
        columns[_free(ERROR, columns)] = texts
    return AnswerTable(columns, rows, found.errors, found.warnings)


def check_answered(found: AnswerTable, where: str) -> None:
    """Refuse answers of which there is none.

    Raises:
        DataError: Every row failed.
    """
    if len(found.errors) < found.rows:
        return
    first = found.errors[0]
    raise DataError(
        where=where,
        what=f"none of {found.rows} rows could be answered; row {first.row}, column "
        f"{first.column!r}: {first.what}",
        mend="Mend what the column 'error' names",
    )


def format_of(out: Path | None) -> str:
    """Return the format that the name of a file asks for; ``csv`` without one.

    Raises:
        ConfigError: It asks for another one.
    """
    formats = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    suffix = out.suffix.lower() if out else ".csv"
    if suffix in formats:
        return formats[suffix]
    raise ConfigError(
        where=f"--out {out}",
        what=f"{suffix or 'a name without suffix'} is no format of answers",
        mend=f"End it with one of {', '.join(formats)}, or pass --format",
    )


def write_answers(columns: Table, out: Path | None, form: str) -> None:
    """Write columns to a file, which appears when it is whole, or to stdout.

    Raises:
        ConfigError: The file cannot be written.
    """
    text = "".join(_jsonl(columns) if form == "jsonl" else _csv(columns))
    if out is None:
        sys.stdout.write(text)
        return
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(
            where=f"--out {out}",
            what=f"it cannot be written: {error.strerror}",
            mend="Pass a path in a folder that is there and can be written",
        ) from error


def _answer_in_blocks(model: Predicts, table: Table, rows: int, program: str) -> Predictions:
    """All rows in one call where they are few; else block by block, with a bar on stderr."""
    if rows <= BLOCK:
        return model.run(table, program)
    from rich.console import Console
    from rich.progress import track

    parts: list[Predictions] = []
    starts = range(0, rows, BLOCK)
    console = Console(stderr=True)
    for start in track(
        starts, "rows", console=console, transient=True, disable=not console.is_terminal
    ):
        part = model.run(take_rows(table, range(start, min(start + BLOCK, rows))), program)
        errors = [CellError(start + one.row, one.column, one.what) for one in part.errors]
        parts.append(Predictions(part.columns, errors, part.warnings))
    return Predictions(
        {
            name: [cell for part in parts for cell in part.columns[name]]
            for name in parts[0].columns
        },
        [error for part in parts for error in part.errors],
        parts[0].warnings,
    )


def _kept(table: Table) -> dict[str, list[object]]:
    plain = (str, int, float, bool, type(None), np.generic)
    return {
        name: list(cells)
        for name, cells in table.items()
        if all(isinstance(cell, plain) for cell in cells)
    }


def _free(name: str, taken: dict[str, list[object]]) -> str:
    while name in taken:
        name = f"{name}_predicted"
    return name


def _flat(answer: AnyAnswer, found: Table, proba: bool) -> Iterator[tuple[str, list[object]]]:
    """The columns of an answer; each vector as a column a number, probabilities by their class."""
    for column in answer.columns:
        cells = found[column.name]
        if column.kind != "vector":
            yield column.name, list(cells)
        elif not isinstance(answer, ClassesAnswer):
            yield from _spread([f"{column.name}_{i}" for i in range(column.width)], cells)
        elif proba:
            yield from _spread([f"probability_{name}" for name in answer.classes], cells)


def _spread(names: list[str], cells: Sequence[Any]) -> Iterator[tuple[str, list[object]]]:
    for i, name in enumerate(names):
        yield name, [None if cell is None else cell[i] for cell in cells]


def _csv(columns: Table) -> Iterator[str]:
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        lines.writerow([_plain(cell) for cell in row])
    yield buffer.getvalue()


def _jsonl(columns: Table) -> Iterator[str]:
    for row in zip(*columns.values(), strict=True):
        record = dict(zip(columns, map(_plain, row), strict=True))
        yield msgspec.json.encode(record).decode() + "\n"


def _plain(cell: object) -> object:
    """A Python scalar; float32 in as few digits as tell it from its neighbours, not as a double."""
    if isinstance(cell, str):  # a kept cell that was not UTF-8 holds lone surrogates
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(cell, np.float32):
        return float(str(cell))
    return cell.item() if isinstance(cell, np.generic) else cell
