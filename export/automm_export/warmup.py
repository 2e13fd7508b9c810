"""Rows that warm a server up: one of each length that occurs, golden ones where there are any."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from automm_serve.pipeline import Pipeline
from automm_serve.processors import TextProcessor
from automm_serve.tensors import Axis, Table, count_rows
from automm_serve.wire import encode_row


def warmup_rows(pipeline: Pipeline, golden: Table) -> list[bytes]:
    """Return JSON rows: the first golden row of each length, invented ones for other lengths.

    Args:
        pipeline: Whose processors say how long a row is.
        golden: Rows that can be read; may be none, for rows are somebody's.
    """
    rows: dict[tuple[int, ...], bytes] = {}
    lengths = _lengths(pipeline, golden) if count_rows(golden) else []
    for row, key in enumerate(lengths):
        if key not in rows:
            cells = {name: column[row] for name, column in golden.items()}
            rows[key] = encode_row(pipeline.schema, cells)
    invented = _invent(pipeline)
    for row, key in enumerate(_lengths(pipeline, invented)):
        cells = {name: column[row] for name, column in invented.items()}
        rows.setdefault(key, msgspec.json.encode(cells))
    return [rows[key] for key in sorted(rows)]


def padded_sizes(pipeline: Pipeline, table: Table) -> dict[str, list[int]]:
    """Return, for each axis that varies, the padded size of each row of a table."""
    padded = {}
    for processor in pipeline.processors:
        axes: Mapping[str, tuple[int, ...]] = {
            axis.name: axis.sizes
            for spec in processor.specs()
            for axis in spec.shape
            if isinstance(axis, Axis)
        }
        needs = processor.needs(processor.transform(table)[0])
        for name, needed in sorted(needs.items()):
            sizes = np.asarray(axes[name])
            padded[name] = sizes[np.searchsorted(sizes, needed)].tolist()
    return padded


def _lengths(pipeline: Pipeline, table: Table) -> list[tuple[int, ...]]:
    """The padded sizes row by row."""
    padded = padded_sizes(pipeline, table)
    return list(zip(*padded.values(), strict=True)) if padded else [()] * count_rows(table)


def _invent(pipeline: Pipeline) -> dict[str, list[object]]:
    """A row for each length, its texts so long that together they fill it; all else is a gap."""
    texts = [p for p in pipeline.processors if isinstance(p, TextProcessor)]
    sizes = [axis.sizes for p in texts for axis in p.specs()[0].shape if isinstance(axis, Axis)]
    words = sorted({size for of_axis in sizes for size in of_axis}) or [0]
    table: dict[str, list[object]] = {
        column.name: [None] * len(words) for column in pipeline.schema.columns
    }
    for processor in texts:
        for column in processor.columns:
            # A word is a token at least: three quarters lie between this length and the last.
            share = [3 * size // 4 // len(processor.columns) for size in words]
            table[column] = ["a " * count for count in share]
    return table
