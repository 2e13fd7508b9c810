"""Columns of answers as arrays, and as pandas' Series and frames for whoever wants those."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automm_serve.answers import ClassesAnswer
from automm_serve.optional import require


def as_array(cells: Sequence[object]) -> NDArray[Any]:
    """An array of the cells; numbers are floats, so that NaN can stand where a row failed."""
    if any(isinstance(cell, str) for cell in cells):
        return np.array(cells, dtype=object)
    if any(cell is None for cell in cells):
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=float)
    return np.array(cells)


def as_vectors(cells: Sequence[Any], width: int) -> NDArray[np.float32]:
    """A table float32 (rows, width); NaN where a row failed."""
    table = np.full((len(cells), width), np.nan, np.float32)
    for row, cell in enumerate(cells):
        if cell is not None:
            table[row] = cell
    return table


def wants_pandas(data: object, as_pandas: bool | None) -> bool:
    """Tell whether answers to this table are handed over in pandas' types."""
    if as_pandas is not None:
        return as_pandas
    pandas = sys.modules.get("pandas")  # whoever passes a DataFrame has imported it
    return pandas is not None and isinstance(data, pandas.DataFrame)


def as_series(cells: NDArray[Any], data: object, name: object) -> Any:
    """A Series with the index of the table."""
    return _pandas().Series(cells, index=_index(data), name=name)


def as_frame(table: NDArray[Any], data: object, columns: Sequence[object] | None = None) -> Any:
    """A DataFrame with the index of the table."""
    return _pandas().DataFrame(table, index=_index(data), columns=columns)


def as_classes(table: NDArray[np.float32], data: object, answer: ClassesAnswer) -> Any:
    """Probabilities with the classes as their names: of each, or of the second one alone."""
    if table.ndim == 1:
        return as_series(table, data, answer.classes[1])
    return as_frame(table, data, list(answer.classes))


def _pandas() -> Any:
    return require("pandas", purpose="as_pandas=True")


def _index(data: object) -> Any:
    return getattr(data, "index", None) if hasattr(data, "iloc") else None  # of pandas alone
