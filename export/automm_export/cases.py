"""Feeds to compare a graph on: real rows, in many batches, lengths and patterns of gaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from automm_serve.pipeline import Pipeline
from automm_serve.processors import TextProcessor
from automm_serve.tensors import Axis, Table, Tensors, TensorSpec, count_rows

BATCHES = (1, 2, 7, 32)
TRACED_BATCH, TRACED_LENGTH = 3, 7  # neither 0 nor 1, which torch freezes, nor compared below
ROWS = max(BATCHES)
_NO_GAPS, _SOME_GAPS = "as they are", "a third of the cells missing"


class Case(NamedTuple):
    """A feed, and in words what is special about it."""

    name: str
    feed: Tensors


class Cases:
    """Makes feeds of a pipeline's processors.

    Args:
        pipeline: Whose processors read the rows.
        rows: Real ones, which are repeated as needed; where there are none, all cells are gaps.
    """

    def __init__(self, pipeline: Pipeline, rows: Table) -> None:
        self._pipeline = pipeline
        self._specs = tuple(s for processor in pipeline.processors for s in processor.specs())
        self._table = _lengthen(pipeline, _repeat(pipeline, rows))

    def traced(self) -> Tensors:
        """Return the feed that the export follows; no case has its batch or its length."""
        sizes = {
            axis.name: max(2, min(TRACED_LENGTH, axis.sizes[-1] - 1)) for axis in _axes(self._specs)
        }
        return self._fit(self._transform(self._table), TRACED_BATCH, sizes)

    def control(self, batch: int = 4) -> Tensors:
        """Return a feed in which every slot counts: a picture that is not there has no effect."""
        sizes = {axis.name: axis.sizes[0] for axis in _axes(self._specs)}
        feed = self._fit(self._transform(self._table), batch, sizes)
        for spec in self._specs:
            if spec.name.endswith("_valid"):
                feed[spec.name] = np.ones_like(feed[spec.name])
        return feed

    def __iter__(self) -> Iterator[Case]:
        """Yield every batch, every length and every pattern of gaps, each at least once.

        Not their product: with real encoders that takes minutes, most of them in 32 long rows.
        """
        patterns = {name: self._transform(table) for name, table in self._patterns()}
        axes = list(_axes(self._specs))
        steps = range(max((len(axis.sizes) for axis in axes), default=1))
        grid = [(batch, 0, _NO_GAPS) for batch in BATCHES]
        grid += [(2, step, name) for step in steps for name in (_NO_GAPS, _SOME_GAPS)]
        grid += [(2, 0, name) for name in patterns] + [(7, 0, _SOME_GAPS)]
        for batch, step, name in dict.fromkeys(grid):
            sizes = {axis.name: axis.sizes[min(step, len(axis.sizes) - 1)] for axis in axes}
            words = "".join(f", {axis} {size}" for axis, size in sizes.items())
            yield Case(f"{batch} rows{words}, {name}", self._fit(patterns[name], batch, sizes))

    def _patterns(self) -> Iterator[tuple[str, Table]]:
        yield _NO_GAPS, self._table
        draw = np.random.default_rng(0)
        yield (
            _SOME_GAPS,
            {
                name: [None if draw.random() < 1 / 3 else cell for cell in cells]
                for name, cells in self._table.items()
            },
        )
        for processor in self._pipeline.processors:
            gone = dict.fromkeys(processor.columns, [None] * ROWS)
            yield f"nothing for {processor.name}", {**self._table, **gone}
        yield "all cells missing", dict.fromkeys(self._table, [None] * ROWS)

    def _transform(self, table: Table) -> Tensors:
        """Cells that cannot be read stand in the tensors as gaps, which will do here."""
        tensors: Tensors = {}
        for processor in self._pipeline.processors:
            tensors |= processor.transform(table)[0]
        return tensors

    def _fit(self, tensors: Tensors, batch: int, sizes: dict[str, int]) -> Tensors:
        """The first rows, each varying axis cut or padded to its size."""
        fitted = {}
        for spec in self._specs:
            array = tensors[spec.name][:batch]
            for number, axis in enumerate(spec.shape):
                if isinstance(axis, Axis) and axis.name in sizes:
                    array = _resize(array, number, sizes[axis.name])
            fitted[spec.name] = np.ascontiguousarray(array)
        return fitted


def _axes(specs: Sequence[TensorSpec]) -> Iterator[Axis]:
    """Each axis that varies but the batch, once."""
    found = {axis: None for spec in specs for axis in spec.shape if isinstance(axis, Axis)}
    yield from (axis for axis in found if axis.sizes)


def _resize(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    more = size - array.shape[axis]
    if more <= 0:
        return array[(slice(None),) * axis + (slice(size),)]
    width = [(0, 0)] * array.ndim
    width[axis] = (0, more)
    return np.pad(array, width, mode="edge")  # the last id of a short row is its padding


def _repeat(pipeline: Pipeline, rows: Table) -> dict[str, list[object]]:
    full, _ = pipeline.schema.conform(rows)
    count = count_rows(full)
    return {
        name: [cells[i % count] for i in range(ROWS)] if count else [None] * ROWS
        for name, cells in full.items()
    }


def _lengthen(pipeline: Pipeline, table: dict[str, list[object]]) -> dict[str, list[object]]:
    """Every second row gets texts that fill the longest length, so that all positions are used."""
    for processor in pipeline.processors:
        if isinstance(processor, TextProcessor):
            for column in processor.columns:
                cells = table[column]
                table[column] = [
                    f"{cell or 'a'} " * processor.limit if row % 2 else cell
                    for row, cell in enumerate(cells)
                ]
    return table
