"""Numbers and categories -> one float32 and one int32 array.

Imputing, scaling and embedding are arithmetic, so the graph does them. What it needs for that
(mean, deviation, known categories) is measured here, where training sees the whole table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm_serve.cells import as_floats, category_key, is_gap, quote
from automm_serve.tensors import BATCH, CellError, Table, Tensors, TensorSpec

MISSING, UNSEEN, FIRST_KNOWN = 0, 1, 2
"""Codes of a category: a gap, a key that training did not know, the first known key."""


class Number(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of numbers.

    Attributes:
        name: Of the column.
        mean: Over the cells that hold a number, in the unit of the column; 0 where none does.
        deviation: Population deviation (``ddof=0``), as float32; 1 where the column is constant.
    """

    name: str
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        """Refuse what ``fit`` cannot have made; msgspec reports it with its place."""
        if not 0 < self.deviation < float("inf"):
            raise ValueError(f"the deviation of {self.name!r} is not a positive number")


class Category(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of categories: its name, and the known keys in the order of their codes."""

    name: str
    known: tuple[str, ...]


class TabularProcessor(
    Struct,
    frozen=True,
    dict=True,
    tag="tabular",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Reads columns of numbers and columns of categories.

    Attributes:
        name: Begins the names of the tensors.
        numbers: In the order of ``{name}_numbers``.
        categories: In the order of ``{name}_categories``.
        scaler_with_mean: The graph subtracts the means.
        scaler_with_std: The graph divides by the deviations.
    """

    name: str
    numbers: tuple[Number, ...] = ()
    categories: tuple[Category, ...] = ()
    scaler_with_mean: bool = True
    scaler_with_std: bool = True

    @classmethod
    def fit(
        cls,
        name: str,
        table: Table,
        numbers: Sequence[str],
        categories: Sequence[str],
        *,
        minimum_cat_count: int = 2,
        maximum_num_cat: int = 1000,
        scaler_with_mean: bool = True,
        scaler_with_std: bool = True,
    ) -> Self:
        """Measure means, deviations and categories; a cell that cannot be read counts as a gap.

        Args:
            name: Of the processor.
            table: The training rows.
            numbers: Columns of numbers.
            categories: Columns of categories.
            minimum_cat_count: A category in fewer rows counts as unseen, so that the embedding
                of what was never seen is trained too.
            maximum_num_cat: Of a column with more categories, the most frequent are known.
            scaler_with_mean: Whether the graph subtracts the means.
            scaler_with_std: Whether the graph divides by the deviations.
        """
        return cls(
            name,
            tuple(_measure(column, table[column]) for column in numbers),
            tuple(
                _collect(column, table[column], minimum_cat_count, maximum_num_cat)
                for column in categories
            ),
            scaler_with_mean,
            scaler_with_std,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that ``transform`` reads."""
        return tuple(c.name for c in self.numbers) + tuple(c.name for c in self.categories)

    def specs(self) -> tuple[TensorSpec, ...]:
        """Name the tensors that ``transform`` fills; none has a width of 0: TensorRT refuses it."""
        specs = (
            TensorSpec(f"{self.name}_numbers", "float32", (BATCH, len(self.numbers))),
            TensorSpec(f"{self.name}_categories", "int32", (BATCH, len(self.categories))),
        )
        return tuple(spec for spec in specs if spec.shape[1])

    def transform(self, table: Table) -> tuple[Tensors, list[CellError]]:
        """Read the cells.

        Returns:
            ``{name}_numbers`` float32 (rows, numbers), NaN where missing; ``{name}_categories``
            int32 (rows, categories), 0 where missing, 1 where unseen; and the cells that could
            not be read, which stand there as gaps.
        """
        tensors: Tensors = {}
        errors: list[CellError] = []
        if self.numbers:
            values = []
            for number in self.numbers:
                cells = table[number.name]
                column, bad = as_floats(cells)
                values.append(column)
                errors += [_error(row, number.name, cells, "a finite number") for row in bad]
            tensors[f"{self.name}_numbers"] = np.stack(values, axis=1)
        if self.categories:
            codes = []
            for category, known in zip(self.categories, self._codes, strict=True):
                cells = table[category.name]
                column_codes, bad = _encode(cells, known)
                codes.append(column_codes)
                errors += [_error(row, category.name, cells, "a category") for row in bad]
            tensors[f"{self.name}_categories"] = np.stack(codes, axis=1)
        return tensors, errors

    def needs(self, tensors: Tensors) -> dict[str, NDArray[np.intp]]:
        """Return nothing: every row is as wide as the others."""
        return {}

    @cached_property
    def _codes(self) -> list[dict[str, int]]:
        return [
            {key: code for code, key in enumerate(category.known, start=FIRST_KNOWN)}
            for category in self.categories
        ]


def _measure(name: str, cells: Sequence[object]) -> Number:
    values, _ = as_floats(cells)
    values = values[~np.isnan(values)]
    if not len(values):
        return Number(name, 0.0, 1.0)
    mean = values.mean(dtype=np.float64)
    with np.errstate(over="ignore"):
        # As float32, because the graph divides by it: 1e-60 is 0 there, and 1e39 infinite.
        deviation = float(np.float32(values.std(dtype=np.float64)))
    return Number(name, float(mean), deviation if 0 < deviation < np.inf else 1.0)


def _collect(name: str, cells: Sequence[object], least: int, most: int) -> Category:
    counts: Counter[str] = Counter()
    for cell in cells:
        if not is_gap(cell):
            try:
                counts[category_key(cell)] += 1
            except ValueError:  # this row fails in transform, where its error is reported
                continue
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    return Category(name, tuple(sorted(key for key, count in frequent if count >= least)))


def _encode(cells: Sequence[object], known: dict[str, int]) -> tuple[NDArray[np.int32], list[int]]:
    codes: list[int] = []
    bad = []
    for row, cell in enumerate(cells):
        # A known key is no gap and spells itself, so most words need only be looked up.
        code = known.get(cell) if type(cell) is str else None
        if code is None:
            try:
                code = MISSING if is_gap(cell) else known.get(category_key(cell), UNSEEN)
            except ValueError:
                code = MISSING
                bad.append(row)
        codes.append(code)
    return np.array(codes, np.int32), bad


def _error(row: int, column: str, cells: Sequence[object], wanted: str) -> CellError:
    return CellError(row, column, f"{quote(cells[row])} is not {wanted}")
