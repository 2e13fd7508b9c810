"""The one object that answers rows, in training, in a bundle and on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer
from automm_serve.pipeline import Pipeline, Program, find_program
from automm_serve.predicts import Predictions, Predicts
from automm_serve.processors import Processor
from automm_serve.sessions import Session
from automm_serve.tensors import (
    Axis,
    CellError,
    Table,
    Tensors,
    TensorSpec,
    concat_tensors,
    take_rows,
)

CHUNK = 256
"""Rows whose tensors are held at a time: 256 pictures of 224 x 224 are 38 MB."""

Watch: TypeAlias = Callable[[str, float], None]
"""Is told the name of a stage and the seconds that it took."""


class LocalPredictor(Predicts):
    """A pipeline with its sessions.

    Args:
        pipeline: What to do.
        sessions: Graph name -> the session that runs it.
        batch_size: Most rows in one run of a graph.

    Attributes:
        watch: Where it is set, told the time of every stage: ``<processor>``, ``<graph>``,
            ``answer``.
    """

    def __init__(
        self, pipeline: Pipeline, sessions: Mapping[str, Session], batch_size: int = 32
    ) -> None:
        self.pipeline = pipeline
        self.sessions = dict(sessions)
        self.batch_size = batch_size
        self.watch: Watch | None = None
        self._processors = {processor.name: processor for processor in pipeline.processors}

    @property
    def answers(self) -> Mapping[str, AnyAnswer]:
        """Program name -> what its answers mean."""
        return {name: program.answer for name, program in self.pipeline.programs.items()}

    def run(self, table: Table, program: str = "predict") -> Predictions:
        """Answer every row: conform, transform, run the graphs, decode.

        A row with a cell that cannot be read has gaps for an answer; its neighbours do not see it.

        Args:
            table: Of any length.
            program: One of ``pipeline.programs``.

        Raises:
            SchemaError: The table has not the columns of the model, or there is no such program.
        """
        plan = find_program(self.pipeline.programs, program)
        full, warnings = self.pipeline.schema.conform(table)
        rows = len(next(iter(full.values()), []))
        columns: dict[str, list[object]] = {column.name: [] for column in plan.answer.columns}
        errors: list[CellError] = []
        for start in range(0, rows, CHUNK):
            chunk = (
                take_rows(full, range(start, min(start + CHUNK, rows))) if rows > CHUNK else full
            )
            answers, faults = self._answer(chunk, plan)
            for name, cells in columns.items():
                cells += answers[name]
            errors += [CellError(start + e.row, e.column, e.what) for e in faults]
        return Predictions(columns, errors, warnings)

    def close(self) -> None:
        """Close the sessions."""
        for session in self.sessions.values():
            session.close()

    def _answer(self, table: Table, plan: Program) -> tuple[Table, list[CellError]]:
        rows = len(next(iter(table.values()), []))
        processors = [self._processors[name] for name in plan.processors]
        tensors: Tensors = {}
        errors: list[CellError] = []
        for processor in processors:
            with self._timed(processor.name):
                found, faults = processor.transform(table)
            tensors |= found
            errors += faults
        errors = sorted({error.row: error for error in reversed(errors)}.values(), key=_row)
        failed = {error.row for error in errors}
        good = [row for row in range(rows) if row not in failed]
        if not good:
            return {column.name: [None] * rows for column in plan.answer.columns}, errors
        if failed:
            tensors = {name: tensor[good] for name, tensor in tensors.items()}
        tensors = self._run_graphs(tensors, plan, processors)
        with self._timed("answer"):
            answers = plan.answer.decode({name: tensors[name] for name in plan.answer.reads})
        return _spread(answers, good, rows) if failed else answers, errors

    def _run_graphs(
        self, tensors: Tensors, plan: Program, processors: Sequence[Processor]
    ) -> Tensors:
        """Run rows of like length together: padding costs more than batching gains on a CPU."""
        specs = {spec.name: spec for processor in processors for spec in processor.specs()}
        needs: dict[str, NDArray[np.intp]] = {}
        for processor in processors:
            needs |= processor.needs(tensors)
        axes = _axes([*specs.values(), *self._inputs(plan)])
        groups = list(_groups(tensors, axes, needs, self.batch_size))
        parts = [self._run_steps(_cut(tensors, specs, *group), plan) for group in groups]
        if len(parts) == 1:
            return tensors | parts[0]
        order = np.argsort(np.concatenate([rows for rows, _ in groups]))
        joined = concat_tensors(parts)
        return tensors | {name: tensor[order] for name, tensor in joined.items()}

    def _inputs(self, plan: Program) -> Iterator[TensorSpec]:
        for step in plan.steps:
            yield from self.sessions[step.graph].inputs

    def _run_steps(self, feed: Tensors, plan: Program) -> Tensors:
        made: Tensors = {}
        for step in plan.steps:
            session = self.sessions[step.graph]
            known = feed | made
            given = {s.name: known[step.inputs.get(s.name, s.name)] for s in session.inputs}
            with self._timed(step.graph):
                found = session.run(given)
            made |= {step.outputs.get(name, name): tensor for name, tensor in found.items()}
        return made

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        if self.watch is None:
            yield
            return
        start = perf_counter()
        yield
        self.watch(stage, perf_counter() - start)


def _row(error: CellError) -> int:
    return error.row


def _axes(specs: Sequence[TensorSpec]) -> dict[str, NDArray[np.intp]]:
    """The sizes of each varying axis: the fewest that a processor or a session names."""
    found: dict[str, tuple[int, ...]] = {}
    for spec in specs:
        for axis in spec.shape:
            if isinstance(axis, Axis) and axis.sizes:
                known = found.setdefault(axis.name, axis.sizes)
                if len(axis.sizes) < len(known):
                    found[axis.name] = axis.sizes
    return {name: np.asarray(sizes) for name, sizes in found.items()}


def _groups(
    tensors: Tensors,
    axes: Mapping[str, NDArray[np.intp]],
    needs: Mapping[str, NDArray[np.intp]],
    batch_size: int,
) -> Iterator[tuple[NDArray[np.intp], dict[str, int]]]:
    """Rows that run together, and the size of each varying axis for them."""
    rows = len(next(iter(tensors.values())))
    padded = [sizes[np.searchsorted(sizes, needs[name])] for name, sizes in axes.items()]
    keys = np.stack([np.zeros(rows, np.intp), *padded], axis=1)
    for key in np.unique(keys, axis=0) if rows > 1 else keys:
        members = np.flatnonzero((keys == key).all(axis=1))
        sizes = dict(zip(axes, key[1:].tolist(), strict=True))
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size], sizes


def _cut(
    tensors: Tensors,
    specs: Mapping[str, TensorSpec],
    rows: NDArray[np.intp],
    sizes: Mapping[str, int],
) -> Tensors:
    """These rows, each varying axis cut to the size that they need."""
    cut: Tensors = {}
    for name, tensor in tensors.items():
        chosen = tensor if len(rows) == len(tensor) else tensor[rows]
        shape = specs[name].shape if name in specs else ()
        for number, axis in enumerate(shape):
            if isinstance(axis, Axis) and axis.name in sizes:
                window = (slice(None),) * number + (slice(sizes[axis.name]),)
                chosen = np.ascontiguousarray(chosen[window])  # a no-op where nothing is cut
        cut[name] = chosen
    return cut


def _spread(answers: Table, good: list[int], rows: int) -> dict[str, list[object]]:
    """Put the answers of the good rows at their places; the others are gaps."""
    spread: dict[str, list[object]] = {name: [None] * rows for name in answers}
    for name, cells in answers.items():
        for row, cell in zip(good, cells, strict=True):
            spread[name][row] = cell
    return spread
