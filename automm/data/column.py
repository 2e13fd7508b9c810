"""A column as the rules of inference look at it: its filled cells, its values, a sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import TypeVar

import numpy as np
from msgspec import Struct

from automm_serve.cells import as_floats, category_key, is_gap

Cell = TypeVar("Cell")

_WHOLE = re.compile(r"\s*[-+]?\d+\s*")
_PADDED = re.compile(r"\s*[-+]?0\d+\s*")
_FIRST_LOOK = 100


class ColumnReason(Struct, frozen=True):
    """What a column was taken for, and why.

    Attributes:
        name: Of the column.
        kind: ``image``, ``text``, ``number``, ``category``; None where the column is ignored, and
            for the label, which does not go in.
        subtype: Of pictures ``path``, ``bytes``, ``base64``, ``PIL`` or ``array``; of numbers
            ``date`` where they were dates; of the label the problem type.
        rule: Name of the rule that decided.
        reason: The same as a sentence, with the figures.
        counts: ``rows``, ``missing``, ``distinct``, and what else the rule looked at.
        notice: What the user should look at, if anything.
    """

    name: str
    kind: str | None
    subtype: str = ""
    rule: str = ""
    reason: str = ""
    counts: dict[str, float] = {}
    notice: str = ""


@dataclass(frozen=True)
class ColumnCells:
    """The cells of one column, and what the rules ask of them.

    Attributes:
        name: Of the column.
        cells: Of the training rows, gaps among them; picture paths already under their root.
        valid: Of the validation rows.
        untyped: From a file that holds nothing but text, where ``"3"`` may be a number or a code.
    """

    name: str
    cells: Sequence[object]
    valid: Sequence[object] = ()
    untyped: bool = False

    @cached_property
    def rows(self) -> list[int]:
        """Positions of the training cells that are not gaps."""
        return [row for row, cell in enumerate(self.cells) if not is_gap(cell)]

    @cached_property
    def filled(self) -> list[object]:
        """The training cells that are not gaps."""
        return [self.cells[row] for row in self.rows]

    @cached_property
    def filled_valid(self) -> list[object]:
        """The validation cells that are not gaps."""
        return [cell for cell in self.valid if not is_gap(cell)]

    @property
    def missing(self) -> int:
        """Number of gaps in the training rows."""
        return len(self.cells) - len(self.filled)

    @cached_property
    def types(self) -> frozenset[type]:
        """The types of the filled training cells."""
        return frozenset(map(type, self.filled))

    @cached_property
    def values(self) -> set[object]:
        """The distinct training values; cells that cannot be compared count as distinct."""
        try:
            return set(self.filled)
        except TypeError:
            return set(self.rows)

    @cached_property
    def written(self) -> bool:
        """Every filled cell is text."""
        return all(issubclass(kind, str) for kind in self.types)

    @cached_property
    def measured(self) -> bool:
        """Every filled cell is a number or a moment by its type, not the spelling of one."""
        return self.moments or all(
            issubclass(kind, int | float | np.number | Decimal)
            and not issubclass(kind, bool | np.timedelta64)
            for kind in self.types
        )

    @cached_property
    def moments(self) -> bool:
        """Every filled cell is a date or a time by its type."""
        return all(issubclass(kind, date | np.datetime64) for kind in self.types)

    @cached_property
    def not_numbers(self) -> list[int]:
        """Positions in ``filled`` of the cells that hold no finite number.

        All positions where a first look finds hardly any number: to read 50,000 sentences as
        numbers is slow, and nobody asks which of them is one.
        """
        look = sample(self.filled, _FIRST_LOOK)
        if len(as_floats(look)[1]) > len(look) / 2:
            return list(range(len(self.filled)))
        return as_floats(self.filled)[1]

    @cached_property
    def whole(self) -> bool:
        """Every text that is a number is made of digits alone, as codes are."""
        bad = set(self.not_numbers)
        return self.written and all(
            _WHOLE.fullmatch(str(cell)) for i, cell in enumerate(self.filled) if i not in bad
        )

    @cached_property
    def padded(self) -> bool:
        """A text begins with a zero that would be lost in a number: ``"007"``."""
        return self.written and any(_PADDED.fullmatch(str(cell)) for cell in self.values)

    @cached_property
    def unseen_in_valid(self) -> bool:
        """A validation cell holds a value that no training cell holds."""
        return not _keys(self.filled_valid) <= _keys(self.values)

    def decide(
        self,
        kind: str | None,
        rule: str,
        reason: str,
        *,
        subtype: str = "",
        counts: Mapping[str, float] | None = None,
        notice: str = "",
    ) -> ColumnReason:
        """Return what this column is taken for, with the figures that every decision has."""
        figures = {"rows": len(self.cells), "missing": self.missing, "distinct": len(self.values)}
        return ColumnReason(
            self.name, kind, subtype, rule, reason, {**figures, **(counts or {})}, notice
        )


Rule = Callable[[ColumnCells], ColumnReason | None]
"""Decides a column, or leaves it to the next rule."""


def sample(cells: Sequence[Cell], limit: int) -> list[Cell]:
    """Return at most so many cells, evenly spread: the same ones each time, and from all parts."""
    if len(cells) <= limit:
        return list(cells)
    return [cells[i * len(cells) // limit] for i in range(limit)]


def decoded(column: ColumnCells) -> ColumnCells:
    """Return the column with its bytes as text, where all are text: old Parquet files say bytes."""
    try:
        return replace(
            column, cells=list(map(_decode, column.cells)), valid=list(map(_decode, column.valid))
        )
    except UnicodeDecodeError:
        return column


def _decode(cell: object) -> object:
    return cell.decode() if isinstance(cell, bytes) else cell


def _keys(cells: Iterable[object]) -> set[str]:
    keys = set()
    for cell in cells:
        try:
            keys.add(category_key(cell))
        except ValueError:
            keys.add(repr(cell))
    return keys
