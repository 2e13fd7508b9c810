"""From raw row to answer: the written bundle is loaded and compared with the torch predictor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from automm_serve.agreement import compare_answers
from automm_serve.errors import ExportError
from automm_serve.manifest import ColumnParity, Where
from automm_serve.predicts import Predicts
from automm_serve.tensors import Table, count_rows


def certify(
    where: Where, torch: Predicts, other: Predicts, tables: Sequence[Table]
) -> tuple[ColumnParity, ...]:
    """Compare the answers of two predictors, and the rows that fail, program by program.

    Args:
        where: Who ``other`` is.
        torch: The trained predictor.
        other: The bundle, in process or on a server.
        tables: Rows as a user has them.

    Returns:
        One comparison for each program, column and table that has rows.

    Raises:
        ExportError: They disagree.
    """
    found = tuple(
        parity
        for table in tables
        if count_rows(table)
        for program in torch.answers
        for parity in _compare(where, program, torch, other, table)
    )
    for parity in found:
        if not parity.holds:
            raise ExportError(
                where=f"program {parity.program!r}, column {parity.column!r}",
                what=f"{where} differs from torch by {parity.difference:.2g} over {parity.rows} "
                f"rows, where {parity.tolerance:.2g} is allowed",
                mend="Report this with the predictor's settings; nothing was written",
            )
    return found


def _compare(
    where: Where, program: str, torch: Predicts, other: Predicts, table: Table
) -> Iterator[ColumnParity]:
    expected, found = torch.run(table, program), other.run(table, program)
    if expected.failed != found.failed:
        rows = sorted(expected.failed ^ found.failed)
        raise ExportError(
            where=f"program {program!r}",
            what=f"torch and {where} refuse other rows: {rows[:10]}",
            mend="Report this with these rows; nothing was written",
        )
    yield from compare_answers(
        where, program, torch.answers[program], expected.columns, found.columns
    )
