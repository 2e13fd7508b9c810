"""What flows through the three stages: a table in, named arrays between, cells that failed beside.

Axis 0 of every array, everywhere, is the table's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Table: TypeAlias = Mapping[str, Sequence[object]]
"""Column name -> cells by position, all columns equally long; ``None`` and NaN are gaps."""

Tensors: TypeAlias = dict[str, NDArray[Any]]
"""Tensor name -> array; axis 0 is the row."""


class FileTable(dict[str, list[object]]):
    """A table that remembers the file it came from.

    Attributes:
        root: Folder that relative picture paths start from; None for the working directory.
        untyped: The file has no types (CSV), so that each cell is a string or a gap.
    """

    def __init__(
        self, columns: Mapping[str, list[object]], root: Path | None, untyped: bool = False
    ) -> None:
        super().__init__(columns)
        self.root = root
        self.untyped = untyped


class Axis(Struct, frozen=True):
    """A size that varies from call to call; equal names mean equal sizes.

    Attributes:
        name: ``"batch"``, or ``"<processor>_length"``.
        sizes: Every size that occurs, ascending. Empty for the batch: the target sets that.
    """

    name: str
    sizes: tuple[int, ...] = ()


BATCH = Axis("batch")


class TensorSpec(Struct, frozen=True):
    """An input or output of a graph. ONNX, TensorRT, Triton and the checks all read it from here.

    Attributes:
        name: Begins with the processor's name; never holds a column's name.
        dtype: NumPy's name of the element type: ``"uint8"``, ``"int32"`` or ``"float32"``.
        shape: One entry an axis, the batch first.
    """

    name: str
    dtype: str
    shape: tuple[int | Axis, ...]


class CellError(Struct, frozen=True):
    """A cell that cannot be read; its row gets this instead of an answer.

    Attributes:
        row: Position in the table, from 0.
        column: Name of the column; empty where the row as a whole is at fault.
        what: What is wrong, with the value that was found.
    """

    row: int
    column: str
    what: str


def count_rows(table: Table) -> int:
    """Return the number of rows; a table without columns has none."""
    return max((len(cells) for cells in table.values()), default=0)


def take_rows(table: Table, rows: Sequence[int] | range) -> dict[str, list[object]]:
    """Return the rows at these positions, in this order; a table of a file stays one."""
    taken = {name: [cells[row] for row in rows] for name, cells in table.items()}
    return FileTable(taken, table.root, table.untyped) if isinstance(table, FileTable) else taken


def concat_tables(tables: Sequence[Table]) -> dict[str, list[object]]:
    """Return the rows of tables with equal columns, one table after another."""
    names = tables[0] if tables else ()
    return {name: [cell for table in tables for cell in table[name]] for name in names}


def concat_tensors(parts: Sequence[Tensors]) -> Tensors:
    """Return the rows of tensors with equal names, one part after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
