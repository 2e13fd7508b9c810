"""The columns that a model reads. Nothing else knows what to do when one is absent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from msgspec import Struct

from automm_serve.errors import SchemaError, near_name
from automm_serve.table import under_root
from automm_serve.tensors import Table, count_rows

Kind: TypeAlias = Literal["image", "text", "number", "category", "vector", "json"]


class Column(Struct, frozen=True, omit_defaults=True):
    """A column of a table.

    Attributes:
        name: As the user calls it.
        kind: ``image``, ``text``, ``number`` and ``category`` go in; ``text``, ``number``,
            ``vector`` and ``json`` come out.
        required: It had no gap in training, so that its absence from a table is a mistake.
        width: Length of the cells of a ``vector`` column; 0 for every other kind.
    """

    name: str
    kind: Kind
    required: bool = False
    width: int = 0


class Schema(Struct, frozen=True, dict=True):
    """The columns that go in, in order."""

    columns: tuple[Column, ...]

    def conform(self, table: Table) -> tuple[dict[str, list[object]], list[str]]:
        """Return exactly the columns of the schema, as lists, and a warning for each absent one.

        A gap in a cell is always allowed. An absent column counts as gaps, unless it is required,
        or an unknown column has a name so near to it that one must be a slip of the pen.
        Relative picture paths of a table that was read from a file are resolved here.

        Raises:
            SchemaError: A column is absent and may not be, or the columns differ in length.
        """
        check_lengths(table)
        rows = count_rows(table)
        full: dict[str, list[object]] = {}
        absent = []
        for column in self.columns:
            cells = table.get(column.name)
            if cells is None:
                absent.append(column)
                full[column.name] = [None] * rows
            elif column.kind == "image":
                full[column.name] = under_root(table, cells)
            else:
                full[column.name] = list(cells)
        return full, self._excuse(absent, table.keys()) if absent else []

    def _excuse(self, absent: list[Column], given: Collection[str]) -> list[str]:
        """Warn of the absent columns that may be absent; refuse the others, all in one error."""
        unknown = sorted(set(given) - {column.name for column in self.columns})
        faults, warnings = [], []
        for column in absent:
            if near := near_name(column.name, unknown):
                faults.append(f"column {column.name!r} is absent, {near!r} is unknown")
            elif column.required:
                faults.append(f"column {column.name!r} is absent")
            else:
                warnings.append(f"column {column.name!r} is absent: its cells count as gaps")
        if faults:
            names = ", ".join(column.name for column in self.columns)
            raise SchemaError(
                where="table",
                what="; ".join(faults),
                mend=f"Pass the columns of the model under these names ({names}), "
                "and leave out or rename unknown ones that look like them",
            )
        return warnings


def check_lengths(table: Table) -> None:
    """Refuse columns of unequal length.

    Raises:
        SchemaError: They differ.
    """
    lengths = {name: len(cells) for name, cells in table.items()}
    if len(set(lengths.values())) > 1:
        raise SchemaError(
            where="table",
            what=f"the columns differ in length: {lengths}",
            mend="Give every column one cell a row",
        )
