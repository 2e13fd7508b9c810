"""The rows that a report shows: their cells, their truth, and what was answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.cells import to_number
from automm_serve.errors import SchemaError, near_name
from automm_serve.predicts import Predictions
from automm_serve.table import read_table
from automm_serve.tensors import Table, count_rows, take_rows

BLOCK = 64
"""Rows that are answered at once; between two blocks the clock is looked at."""

MOST_ROWS = 1000


class Evidence(Struct, frozen=True):
    """Rows, with truth and answers.

    Attributes:
        table: The columns that went in, without the label.
        answer: What the answers mean.
        truth: Codes int64 (rows,) of classes, or numbers float64 (rows,).
        prediction: Likewise.
        probabilities: (rows, classes) of classes; (rows, 0) of numbers.
        columns: The answers as their program gave them, for metrics.
        labels: The label's cells.
        left_out: Rows that have no answer, or no label that can be read.
        of: Rows that there were to choose from.
        what: What they are: ``validation rows``.
    """

    table: Table
    answer: AnyAnswer
    truth: NDArray[Any]
    prediction: NDArray[Any]
    probabilities: NDArray[np.float32]
    columns: Table
    labels: Sequence[object]
    left_out: int
    of: int
    what: str

    @property
    def label(self) -> str:
        """Name of the label."""
        return self.answer.columns[0].name

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.truth)

    @property
    def cost(self) -> NDArray[np.float64]:
        """How far off each answer is: -log of the true class's probability; or the error's size."""
        if isinstance(self.answer, ClassesAnswer):
            chosen = self.probabilities[np.arange(self.rows), self.truth].astype(np.float64)
            found: NDArray[np.float64] = -np.log(np.clip(chosen, 1e-12, 1))
        else:
            found = np.abs(self.prediction - self.truth)
        return found


def gather(
    run: Callable[[Table], Predictions],
    answer: AnyAnswer,
    table: Table,
    *,
    what: str = "validation rows",
    most: int = MOST_ROWS,
    budget_s: float = float("inf"),
) -> Evidence:
    """Answer rows, evenly spread over the table, until there are enough or the time is over.

    Args:
        run: Answers a table.
        answer: What the answers mean.
        table: With the label.
        what: What the rows are, in the plural.
        most: Most rows.
        budget_s: Seconds after which no further block is begun; the first one always is.
    """
    total = count_rows(table)
    order = [i * total // min(most, total) for i in range(min(most, total))] if total else []
    # Each block is a sample of the whole, so that a budget cuts no end off.
    blocks = max(1, -(-len(order) // BLOCK))
    start = monotonic()
    chosen: list[int] = []
    columns: dict[str, list[Any]] = {column.name: [] for column in answer.columns}
    failed: set[int] = set()
    for block in range(blocks):
        if block and monotonic() - start > budget_s:
            break
        rows = order[block::blocks]
        found = run({name: list(cells) for name, cells in take_rows(table, rows).items()})
        failed |= {len(chosen) + row for row in found.failed}
        for name, cells in columns.items():
            cells.extend(found.columns[name])
        chosen += rows
    return _read(answer, take_rows(table, chosen), columns, failed, total, what)


def read_labelled(data: object, label: str, image_root: str | Path | None = None) -> Table:
    """Read a table that has the label.

    Raises:
        SchemaError: The label is absent.
    """
    table = read_table(data, image_root)
    if label in table:
        return table
    near = near_name(label, table)
    raise SchemaError(
        where="report",
        what=f"the label column {label!r} is absent" + (f", there is {near!r}" if near else ""),
        mend="Pass a table that holds the true labels",
    )


def _read(
    answer: AnyAnswer,
    table: Table,
    columns: dict[str, list[Any]],
    failed: set[int],
    total: int,
    what: str,
) -> Evidence:
    label = answer.columns[0].name
    codes, unlabelled = answer.encode({label: table[label]}, {})
    bad = failed | {fault.row for fault in unlabelled}
    kept = [row for row in range(len(table[label])) if row not in bad]
    good = take_rows(columns, kept)
    truths = take_rows({label: table[label]}, kept)[label]
    probabilities = np.zeros((len(kept), 0), np.float32)
    if isinstance(answer, ClassesAnswer):
        truth = codes["classes"][kept]
        prediction = answer.encode({label: good[label]}, {})[0]["classes"]
        probabilities = np.array(good[answer.probabilities_column], np.float32)
        probabilities = probabilities.reshape(len(kept), len(answer.classes))
    else:
        truth = np.array([to_number(cell) for cell in truths], np.float64)
        prediction = np.array([to_number(cell) for cell in good[label]], np.float64)
    inputs = {name: cells for name, cells in take_rows(table, kept).items() if name != label}
    return Evidence(
        inputs, answer, truth, prediction, probabilities, good, truths, len(bad), total, what
    )
