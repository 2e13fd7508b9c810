"""Two lengths at most for a GPU: each one costs a warm-up, a tuned shape and a CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automm_export.warmup import padded_sizes
from automm_serve.pipeline import Pipeline
from automm_serve.tensors import Axis, Table, count_rows


def gpu_lengths(pipeline: Pipeline, rows: Table) -> dict[str, tuple[int, ...]]:
    """Return, for each axis that varies, the sizes that rows are padded to on a GPU.

    The largest one, because every row must fit; and the one that, beside it, leaves the least
    padding over the rows given.

    Args:
        pipeline: Whose processors say how long a row is.
        rows: As a user has them; the middle size is taken where there are none.
    """
    axes = {
        axis.name: axis.sizes
        for processor in pipeline.processors
        for spec in processor.specs()
        for axis in spec.shape
        if isinstance(axis, Axis) and axis.sizes
    }
    needed = padded_sizes(pipeline, rows) if count_rows(rows) else {}
    return {name: choose_lengths(sizes, needed.get(name, ())) for name, sizes in axes.items()}


def choose_lengths(sizes: Sequence[int], needed: Sequence[int]) -> tuple[int, ...]:
    """Return one or two of the sizes, ascending, the largest among them.

    Args:
        sizes: Ascending.
        needed: The size that each row needs.
    """
    largest = sizes[-1]
    rows = np.asarray(needed) if len(needed) else np.asarray([sizes[(len(sizes) - 1) // 2]])
    costs = {size: int(np.where(rows <= size, size, largest).sum()) for size in sizes}
    best = min(sizes, key=lambda size: (costs[size], -size))
    return tuple(sorted({best, largest}))
