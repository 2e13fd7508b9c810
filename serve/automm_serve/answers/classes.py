"""Probabilities <-> names of classes."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm_serve.cells import category_key, is_gap, quote
from automm_serve.errors import DataError
from automm_serve.schema import Column
from automm_serve.tensors import CellError, FileTable, Table, Tensors

ClassName = str | int | float | bool
"""A class as the user's table spells it."""

HALF = 0.5
"""The threshold at which the more probable class of two is answered."""


class ClassesAnswer(
    Struct,
    frozen=True,
    dict=True,
    tag="classes",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """One of some classes a row.

    Attributes:
        label: The column that was learned.
        classes: In the order of the probabilities; typed as in the training table.
        threshold: Of two classes, the probability from which on the second one is answered.
    """

    label: str
    classes: tuple[ClassName, ...]
    threshold: float = HALF

    def __post_init__(self) -> None:
        """Refuse what ``fit`` cannot have made."""
        if len(self._codes) != len(self.classes) or len(self.classes) < 2:
            raise ValueError("there must be two classes at least, all different")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold {self.threshold} is no probability")
        if self.threshold != HALF and len(self.classes) != 2:
            raise ValueError("a threshold is between two classes")

    @classmethod
    def fit(cls, label: str, table: Table) -> Self:
        """Collect the classes, sorted: numbers by value, all else by spelling.

        Raises:
            DataError: There are fewer than two.
        """
        found: dict[str, ClassName] = {}
        for cell in table[label]:
            if not is_gap(cell):
                try:
                    found.setdefault(category_key(cell), _plain(cell))
                except ValueError:  # this row fails in encode, where its error is reported
                    continue
        if isinstance(table, FileTable) and table.untyped:
            found = _typed(found)
        if len(found) < 2:
            raise DataError(
                where=f"label {label!r}",
                what=f"it has {len(found)} distinct value: {list(found)}"
                if found
                else "all its cells are missing",
                mend="Pass rows of two classes at least",
            )
        if all(isinstance(name, int | float) for name in found.values()):
            return cls(label, tuple(sorted(found.values(), key=float)))
        return cls(label, tuple(found[key] for key in sorted(found)))

    def with_last(self, name: ClassName) -> Self:
        """Return the answer with one class at the end of the order: of two, the positive one.

        Raises:
            ValueError: It is not one of the classes.
        """
        if category_key(name) not in self._codes:
            raise ValueError(f"{name!r} is not one of the classes")
        last = self.classes[self._codes[category_key(name)]]
        return type(self)(self.label, (*(one for one in self.classes if one is not last), last))

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors that ``decode`` reads."""
        return ("probabilities",)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The class, and the probabilities in the order of ``classes``."""
        return (
            Column(self.label, "text"),
            Column(self.probabilities_column, "vector", width=len(self.classes)),
        )

    @property
    def probabilities_column(self) -> str:
        """Name of the column of probabilities; it gives way to a label of that name."""
        return "probabilities" if self.label != "probabilities" else "class_probabilities"

    def decode(self, tensors: Tensors) -> dict[str, list[object]]:
        """Name the class of each row of float32 (rows, classes), by ``decide``."""
        probabilities = tensors["probabilities"]
        names: list[object] = [self.classes[code] for code in self.decide(probabilities)]
        return {self.label: names, self.probabilities_column: list(probabilities)}

    def decide(
        self, probabilities: NDArray[np.floating], threshold: float | None = None
    ) -> NDArray[np.int64]:
        """Choose a class for each row of (rows, classes), by its code.

        The most probable one; of two the second, where its probability reaches the threshold. So
        0 always answers the second class, and a tie at one half is its, too.

        Args:
            probabilities: Of each class; compared as float32, which is what every graph gives.
            threshold: Between two classes; the answer's own where None.

        Returns:
            int64 (rows,).
        """
        if len(self.classes) != 2:
            chosen: NDArray[np.int64] = probabilities.argmax(axis=1).astype(np.int64)
            return chosen
        least = np.float32(self.threshold if threshold is None else threshold)
        return (probabilities[:, 1].astype(np.float32) >= least).astype(np.int64)

    def encode(self, table: Table, tensors: Tensors) -> tuple[Tensors, list[CellError]]:
        """Return ``classes`` int64 (rows,), -1 where the label is missing or unknown."""
        cells = table[self.label]
        codes = np.full(len(cells), -1, np.int64)
        errors = []
        for row, cell in enumerate(cells):
            with suppress(ValueError):  # it stays -1
                codes[row] = -1 if is_gap(cell) else self._codes.get(category_key(cell), -1)
            if codes[row] < 0:
                what = (
                    "the label is missing"
                    if is_gap(cell)
                    else (f"{quote(cell)} is not one of the classes")
                )
                errors.append(CellError(row, self.label, what))
        return {"classes": codes}, errors

    def revive(self, columns: Table) -> dict[str, list[object]]:
        """Return classes with their types: over the wire each is its key."""
        names: list[object] = [
            None if cell is None else self.classes[self._codes[category_key(cell)]]
            for cell in columns[self.label]
        ]
        return {**{name: list(cells) for name, cells in columns.items()}, self.label: names}

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {category_key(name): code for code, name in enumerate(self.classes)}


def _plain(cell: object) -> ClassName:
    """The Python scalar of a cell, whole floats as integers where that loses nothing."""
    if isinstance(cell, np.floating):
        cell = float(str(cell))  # 0.1 of 32 bits is 0.1, as category_key spells it
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, bytes):
        return cell.decode()
    if isinstance(cell, bool | int | str):
        return cell
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else cell
    return category_key(cell)


def _typed(found: dict[str, ClassName]) -> dict[str, ClassName]:
    """The classes of a file without types, as a typed reader would have read the column."""
    if set(found) <= {"true", "false"}:
        return {key: key == "true" for key in found}
    try:
        numbers: dict[str, ClassName] = {key: _plain(float(key)) for key in found}
        if any(key != category_key(number) for key, number in numbers.items()):  # 007 is a name
            return found
    except ValueError:
        return found
    return numbers
