"""Rows that train: every cell is read once, so that an epoch costs only the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from automm.tasks.base import Batch
from automm_serve.answers import AnyAnswer
from automm_serve.errors import DataError
from automm_serve.processors import AnyProcessor
from automm_serve.tensors import (
    Axis,
    CellError,
    Table,
    Tensors,
    TensorSpec,
    count_rows,
    take_rows,
)

MOST_BAD = 0.1
"""Share of rows with unreadable cells beyond which training stops: that is no accident."""

_CHUNK = 256
_LISTED = 5


class Rows:
    """The good rows of a table as tensors; pictures beyond the memory given are decoded anew.

    Args:
        table: With all columns of the processors, and the label.
        processors: Their tensors are kept, but for those in ``again``.
        kept: Tensors of all rows.
        again: Processors that transform a batch's rows when it is asked for.
        targets: Of all rows.
        gaps: For each processor, the tensors of a row in which all its cells are missing.
        teacher: What a teacher says of all rows.
    """

    def __init__(
        self,
        table: Table,
        processors: Sequence[AnyProcessor],
        kept: Tensors,
        again: Sequence[AnyProcessor],
        targets: Tensors,
        gaps: dict[str, Tensors],
        teacher: Tensors | None = None,
    ) -> None:
        self.table = table
        self.processors = tuple(processors)
        self.targets = targets
        self._kept = kept
        self._again = tuple(again)
        self._gaps = gaps
        self._teacher = teacher or {}
        self._specs = {s.name: s for p in processors for s in p.specs()}
        self._needs: dict[str, NDArray[np.intp]] = {}
        for processor in processors:
            if processor not in self._again:
                self._needs |= processor.needs(kept)

    def __len__(self) -> int:
        return count_rows(self.table)

    @property
    def lengths(self) -> NDArray[np.intp]:
        """What each row needs of the axes that vary, summed; 0 where none does."""
        none = np.zeros(len(self), np.intp)
        return sum(self._needs.values(), start=none)

    def keep(self, spec: TensorSpec, tensor: NDArray[np.generic]) -> None:
        """Bring one more tensor of all rows with every batch."""
        self._specs[spec.name] = spec
        self._kept[spec.name] = tensor

    def drop(self, name: str) -> None:
        """Bring a tensor no more that was kept."""
        del self._specs[name], self._kept[name]

    def cut(
        self, spec: TensorSpec, tensor: NDArray[np.generic], rows: Sequence[int]
    ) -> NDArray[np.generic]:
        """Cut each varying axis of a tensor of these rows to the longest of them."""
        return _cut(spec, tensor, self._needs, rows)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Return these rows, each varying axis cut to the longest of them."""
        tensors = {
            name: _cut(self._specs[name], tensor[rows], self._needs, rows)
            for name, tensor in self._kept.items()
        }
        if self._again:
            part = take_rows(self.table, list(rows))
            for processor in self._again:
                tensors |= processor.transform(part)[0]
        targets = {name: target[rows] for name, target in self.targets.items()}
        teacher = {name: said[rows] for name, said in self._teacher.items()}
        return Batch(_torch(tensors), _torch(targets), _torch(teacher))

    def kept(self, names: Sequence[str], rows: NDArray[np.intp]) -> dict[str, torch.Tensor]:
        """Return tensors of these rows that are kept, each varying axis cut to the longest row."""
        places = rows.tolist()
        return _torch(
            {n: _cut(self._specs[n], self._kept[n][rows], self._needs, places) for n in names}
        )

    def taught(self, teacher: Tensors, unread: Collection[int] = ()) -> Rows:
        """Return them with what a teacher says of each, without the rows that it cannot read."""
        good = [row for row in range(len(self)) if row not in unread]
        return Rows(
            take_rows(self.table, good),
            self.processors,
            {name: tensor[good] for name, tensor in self._kept.items()},
            self._again,
            {name: target[good] for name, target in self.targets.items()},
            self._gaps,
            {name: said[good] for name, said in teacher.items()},
        )

    def transform(self, processor: AnyProcessor, table: Table) -> dict[str, torch.Tensor]:
        """Return the tensors of other cells, each varying axis cut to the longest row.

        Cells that cannot be read stand there as gaps.
        """
        tensors = processor.transform(table)[0]
        needs = processor.needs(tensors)
        rows = range(count_rows(table))
        return _torch(
            {n: _cut(self._specs[n], tensor, needs, rows) for n, tensor in tensors.items()}
        )

    def without(self, batch: Batch, dropped: dict[str, NDArray[np.bool_]]) -> Batch:
        """Return the batch as if all cells of a processor were missing in some of its rows."""
        tensors = dict(batch.tensors)
        for name, rows in dropped.items():
            for key, gap in self._gaps[name].items():
                tensors[key] = _blank(tensors[key], torch.from_numpy(rows), torch.from_numpy(gap))
        return batch._replace(tensors=tensors)


def prepare_rows(
    what: str,
    table: Table,
    processors: Sequence[AnyProcessor],
    answer: AnyAnswer,
    cache_bytes: int,
) -> tuple[Rows, list[CellError]]:
    """Transform whole columns; leave out the rows with a cell that cannot be read.

    Args:
        what: Name of the table, for the message.
        table: As ``Schema.conform`` gave it, with the label.
        processors: Fitted.
        answer: Codec of the label.
        cache_bytes: For decoded pictures; those beyond are decoded when a batch needs them.

    Returns:
        The good rows, and the cells for which the others were left out.

    Raises:
        DataError: More than a tenth of the rows are bad, or none is left.
    """
    again = [p for p in processors if _size(p, count_rows(table)) > cache_bytes]
    kept: Tensors = {}
    errors: list[CellError] = []
    for processor in processors:
        if processor in again:
            errors += [error for _, found in _chunks(processor, table) for error in found]
        else:
            tensors, found = processor.transform(table)
            kept |= tensors
            errors += found
    targets, unlabelled = answer.encode(table, kept)
    errors += unlabelled
    bad = {error.row for error in errors}
    check_share(what, bad, count_rows(table), errors)
    if bad:
        good = [row for row in range(count_rows(table)) if row not in bad]
        table = take_rows(table, good)
        kept = {name: tensor[good] for name, tensor in kept.items()}
        targets = {name: target[good] for name, target in targets.items()}
    gaps = {p.name: p.transform({column: [None] for column in p.columns})[0] for p in processors}
    return Rows(table, processors, kept, again, targets, gaps), errors


def like_lengths(
    lengths: NDArray[np.intp], size: int, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Yield shuffled batches of rows of like length: padding is computed, and learns nothing.

    Rows are shuffled, sorted within stretches of sixteen batches, and the batches are shuffled.
    """
    order = generator.permutation(len(lengths))
    stretch = 16 * size
    batches: list[list[int]] = []
    for start in range(0, len(order), stretch):
        part = order[start : start + stretch]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + size].tolist() for i in range(0, len(part), size)]
    for number in generator.permutation(len(batches)):
        yield batches[number]


def _cut(
    spec: TensorSpec,
    tensor: NDArray[np.generic],
    needs: Mapping[str, NDArray[np.intp]],
    rows: Sequence[int],
) -> NDArray[np.generic]:
    """Cut each varying axis of a tensor of these rows to the longest of them."""
    for number, axis in enumerate(spec.shape):
        if isinstance(axis, Axis) and axis.name in needs:
            longest = int(needs[axis.name][rows].max())
            tensor = tensor[(slice(None),) * number + (slice(longest),)]
    return tensor


def _size(processor: AnyProcessor, rows: int) -> int:
    """Bytes of its pictures; other tensors are small beside the table itself."""
    sizes = [spec.shape[1:] for spec in processor.specs() if spec.dtype == "uint8"]
    return sum(rows * int(np.prod([s for s in shape if isinstance(s, int)])) for shape in sizes)


def _chunks(processor: AnyProcessor, table: Table) -> Iterator[tuple[int, list[CellError]]]:
    """Read all cells once for their errors, and let the tensors go."""
    for start in range(0, count_rows(table), _CHUNK):
        part = take_rows(table, range(start, min(start + _CHUNK, count_rows(table))))
        _, errors = processor.transform(part)
        yield start, [CellError(start + e.row, e.column, e.what) for e in errors]


def check_share(what: str, bad: set[int], rows: int, errors: Sequence[CellError]) -> None:
    """Refuse a table of whose rows more than a tenth are bad, or all.

    Raises:
        DataError: It is one.
    """
    if rows and len(bad) <= MOST_BAD * rows and len(bad) < rows:
        return
    by_column: dict[str, list[CellError]] = defaultdict(list)
    for error in errors:
        by_column[error.column].append(error)
    listed = "; ".join(
        f"column {column!r}: {len(found)} cells, such as row {found[0].row}: {found[0].what}"
        for column, found in list(by_column.items())[:_LISTED]
    )
    raise DataError(
        where=what,
        what=f"{len(bad)} of {rows} rows cannot be used" + (f" ({listed})" if listed else ""),
        mend="Mend or drop those rows; training leaves out a tenth at most",
    )


def _torch(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in tensors.items()}


def _blank(tensor: torch.Tensor, rows: torch.Tensor, gap: torch.Tensor) -> torch.Tensor:
    """Put the gap into these rows; a gap is as short as can be, what follows it is padding."""
    filled = torch.zeros_like(tensor[:1])
    window = tuple(slice(min(a, b)) for a, b in zip(filled.shape, gap.shape, strict=True))
    filled[window] = gap[window]
    shape = (-1, *(1,) * (tensor.dim() - 1))
    return torch.where(rows.to(tensor.device).reshape(shape), filled, tensor)
