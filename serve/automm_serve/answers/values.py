"""A number a row <-> a label column of numbers."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import numpy as np
from msgspec import Struct

from automm_serve.cells import as_floats, quote
from automm_serve.errors import DataError
from automm_serve.schema import Column
from automm_serve.tensors import CellError, Table, Tensors

Scaling: TypeAlias = Literal["standardscaler", "minmaxscaler"]


class ValuesAnswer(Struct, frozen=True, tag="values", forbid_unknown_fields=True):
    """One number a row.

    Attributes:
        label: The column that was learned.
        mean: What a target of 0 stands for, in the unit of the label: its mean over the training
            rows, unless it was scaled otherwise.
        deviation: What a target of 1 is above that, as float32: the population deviation of the
            label (``ddof=0``), unless it was scaled otherwise.
    """

    label: str
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        """Refuse what ``fit`` cannot have made."""
        if not 0 < self.deviation < float("inf"):
            raise ValueError(f"the deviation of {self.label!r} is not a positive number")

    @classmethod
    def fit(cls, label: str, table: Table, scaling: Scaling | None = "standardscaler") -> Self:
        """Measure mean and deviation of the label, or what another scaling needs.

        Args:
            label: The column.
            table: The training rows.
            scaling: ``minmaxscaler``: the least number is a target of 0, the greatest of 1; None:
                the numbers are the targets.

        Raises:
            DataError: It is constant, or holds no number.
        """
        values, _ = as_floats(table[label])
        values = values[~np.isnan(values)]
        deviation = float(np.float32(values.std(dtype=np.float64))) if len(values) else 0.0
        if not 0 < deviation < np.inf:
            raise DataError(
                where=f"label {label!r}",
                what=f"its only value is {values[0]:g}" if len(values) else "it holds no number",
                mend="Pass rows whose label differs from row to row",
            )
        if scaling is None:
            return cls(label, 0.0, 1.0)
        if scaling == "minmaxscaler":
            least, greatest = float(values.min()), float(values.max())
            return cls(label, least, float(np.float32(greatest - least)))
        return cls(label, float(values.mean(dtype=np.float64)), deviation)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors that ``decode`` reads."""
        return ("values",)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The number."""
        return (Column(self.label, "number"),)

    def decode(self, tensors: Tensors) -> dict[str, list[object]]:
        """Return the numbers of float32 (rows, 1), in the unit of the label."""
        return {self.label: tensors["values"][:, 0].tolist()}

    def encode(self, table: Table, tensors: Tensors) -> tuple[Tensors, list[CellError]]:
        """Return ``targets`` float32 (rows,), scaled; NaN where the label is no number."""
        cells = table[self.label]
        values, bad = as_floats(cells)
        errors = [
            CellError(row, self.label, f"{quote(cells[row])} is not a finite number") for row in bad
        ]
        gaps = sorted(set(np.flatnonzero(np.isnan(values)).tolist()) - set(bad))
        errors += [CellError(row, self.label, "the label is missing") for row in gaps]
        targets = (values.astype(np.float64) - self.mean) / self.deviation
        return {"targets": targets.astype(np.float32)}, errors

    def revive(self, columns: Table) -> dict[str, list[object]]:
        """Return the cells as they are: numbers travel as numbers."""
        return {name: list(cells) for name, cells in columns.items()}
