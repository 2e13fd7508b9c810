"""The answer to a table: columns, rows that failed, warnings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from msgspec import Struct

from automm_serve.tensors import CellError, Table, count_rows


class RowWarning(UserWarning):
    """Some rows have no answer, or a column that may be absent is absent."""


class Predictions(Struct, frozen=True):
    """The answer to a table.

    Attributes:
        columns: Those of the program's answer, as many rows as were asked, in order; a gap
            (None) where a row failed.
        errors: One for each row that failed.
        warnings: One for each column that is absent and counts as gaps.
    """

    columns: Table
    errors: list[CellError]
    warnings: list[str]

    @property
    def failed(self) -> set[int]:
        """Positions of the rows without an answer."""
        return {error.row for error in self.errors}


def warn_of(found: Predictions, quiet: bool) -> None:
    """Warn of absent columns and, unless quiet, of rows that failed: where the user's call is.

    To be called by what a call of ``Predicts`` asks by.
    """
    for warning in found.warnings:
        warnings.warn(warning, RowWarning, stacklevel=4)
    if found.errors and not quiet:
        what = f"{len(found.errors)} of {count_rows(found.columns)} rows have no answer"
        warnings.warn(what + example(found.errors), RowWarning, stacklevel=4)


def example(errors: Sequence[CellError]) -> str:
    """Return the first one, as the end of a sentence."""
    first = errors[0]
    return f", first row {first.row}, column {first.column!r}: {first.what}"
