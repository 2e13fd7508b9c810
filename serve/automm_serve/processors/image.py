"""Columns of pictures -> pixels and the flags of those that are there.

Decoding and resizing are done here; to float, permuting and normalising are the graph's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Self, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm_serve.pictures import pictures_of, to_pixels
from automm_serve.tensors import BATCH, CellError, Table, Tensors, TensorSpec
from automm_serve.threads import thread_budget


class ImageColumn(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of pictures.

    Attributes:
        name: Of the column.
        images: Pictures that are read of each cell; the first ones, where it has more.
    """

    name: str
    images: int = 1

    def __post_init__(self) -> None:
        """Refuse what ``fit`` cannot have made."""
        if self.images < 1:
            raise ValueError(f"column {self.name!r} has no picture in a cell")


_Place: TypeAlias = tuple[int, int, ImageColumn]
"""Row, first slot of axis 1, column."""


class ImageProcessor(Struct, frozen=True, dict=True, tag="image", forbid_unknown_fields=True):
    """Reads columns of pictures.

    Attributes:
        name: Begins the names of the tensors.
        height: Of the pixels that the graph gets.
        width: Of the pixels that the graph gets.
        pictures: The columns, in the order of axis 1.
    """

    name: str
    height: int
    width: int
    pictures: tuple[ImageColumn, ...]

    @classmethod
    def fit(
        cls,
        name: str,
        table: Table,
        columns: Sequence[str],
        height: int,
        width: int,
        *,
        max_images: int = 4,
    ) -> Self:
        """Count the pictures of each column's cells.

        Args:
            name: Of the processor.
            table: The training rows.
            columns: Columns of pictures.
            height: Of the backbone's input, in pixels.
            width: Of the backbone's input, in pixels.
            max_images: Most pictures that are read of a cell.
        """
        return cls(
            name,
            height,
            width,
            tuple(
                ImageColumn(column, min(max_images, max(1, _most_pictures(table[column]))))
                for column in columns
            ),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that ``transform`` reads."""
        return tuple(column.name for column in self.pictures)

    @property
    def images(self) -> int:
        """Pictures a row, the size of axis 1."""
        return sum(column.images for column in self.pictures)

    def specs(self) -> tuple[TensorSpec, ...]:
        """Name the tensors that ``transform`` fills."""
        size = (self.height, self.width, 3)
        return (
            TensorSpec(f"{self.name}_pixels", "uint8", (BATCH, self.images, *size)),
            TensorSpec(f"{self.name}_valid", "float32", (BATCH, self.images)),
        )

    def transform(self, table: Table) -> tuple[Tensors, list[CellError]]:
        """Decode in threads; a column's missing pictures are black, with their flag at 0.

        Returns:
            ``{name}_pixels`` uint8 (rows, images, height, width, 3), RGB; ``{name}_valid``
            float32 (rows, images), 1 where there is a picture; and the cells that cannot be
            read, which stand there as gaps.
        """
        rows = len(table[self.columns[0]])
        pixels = np.zeros((rows, self.images, self.height, self.width, 3), np.uint8)
        valid = np.zeros((rows, self.images), np.float32)
        locks: dict[int, Lock] = {}  # a picture opened lazily may stand in many rows

        def fill(place: _Place) -> CellError | None:
            row, start, column = place
            slots = slice(start, start + column.images)
            try:
                found = pictures_of(table[column.name][row])[: column.images]
                for slot, picture in enumerate(found, start):
                    with locks.setdefault(id(picture), Lock()):
                        pixels[row, slot] = to_pixels(picture, self.height, self.width)
                    valid[row, slot] = 1
            except ValueError as error:
                pixels[row, slots] = 0
                valid[row, slots] = 0
                return CellError(row, column.name, str(error))
            return None

        errors = [error for error in _map(fill, self._places(rows)) if error is not None]
        return {f"{self.name}_pixels": pixels, f"{self.name}_valid": valid}, errors

    def needs(self, tensors: Tensors) -> dict[str, NDArray[np.intp]]:
        """Return nothing: every row has as many pictures as the others."""
        return {}

    def _places(self, rows: int) -> list[_Place]:
        starts = np.cumsum([0, *(column.images for column in self.pictures)]).tolist()
        return [
            (row, start, column)
            for row in range(rows)
            for start, column in zip(starts, self.pictures, strict=False)
        ]


def _most_pictures(cells: Sequence[object]) -> int:
    most = 0
    for cell in cells:
        try:
            most = max(most, len(pictures_of(cell)))
        except ValueError:  # this row fails in transform, where its error is reported
            continue
    return most


def _map(
    fill: Callable[[_Place], CellError | None], places: Sequence[_Place]
) -> list[CellError | None]:
    # One picture alone is decoded sooner than a thread starts.
    threads = min(thread_budget(), len(places)) if len(places) > 1 else 1
    if threads == 1:
        return [fill(place) for place in places]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(fill, places))
