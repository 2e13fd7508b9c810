"""Runs a precision on real rows, from raw row to answer, and says what it costs beside fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import TypeAlias

import numpy as np

from automm_export.exportable import Exportable
from automm_export.precision.yardstick import AgreementYardstick, MetricYardstick, Yardstick
from automm_serve.agreement import RELATIVE, compare_answers
from automm_serve.answers import AnyAnswer
from automm_serve.errors import ConfigError
from automm_serve.pipeline import Pipeline
from automm_serve.predictor import LocalPredictor
from automm_serve.sessions import Session
from automm_serve.tensors import (
    Table,
    Tensors,
    TensorSpec,
    concat_tables,
    count_rows,
    take_rows,
)

MOST_ROWS = 1000
"""Labelled rows that are used of those given: each precision answers all of them several times."""

ALONE_ROWS = 64
"""Rows that are asked one by one and in odd batches too."""

SAMPLE_ROWS = 8
"""Rows that torch answers in fp16: convolutions take it a second each on a CPU."""

PROGRAM = "predict"
_BATCHES = (32, 7, 1)

Sessions: TypeAlias = Callable[[], Mapping[str, Session]]
"""Opens the graphs in some precision."""


class Judge:
    """The rows to judge on, and what fp32 answers to them.

    Args:
        model: Its pipeline and rows, as ``prepare`` returned them.
        fp32: Opens the graphs in fp32.

    Attributes:
        yardstick: What answers are compared by.

    Raises:
        ConfigError: There are no rows.
    """

    def __init__(self, model: Exportable, fp32: Sessions) -> None:
        self._pipeline = model.pipeline
        answer = model.pipeline.programs[PROGRAM].answer
        with _predictor(self._pipeline, fp32) as predictor:
            rows = _labelled_rows(answer, model.tuning)
            table, expected = _answered(predictor, rows)
            yardstick: Yardstick | None = None
            why = "there are no rows with a label"
            if count_rows(table):
                label = answer.columns[0].name
                yardstick = MetricYardstick(model.metric, answer, table[label], expected)
                if not np.isfinite(yardstick.fp32):
                    yardstick = None
                    why = "the metric is not defined on the rows with a label"
            if yardstick is None:
                table, expected = _answered(
                    predictor, concat_tables([model.golden, model.calibration])
                )
                if not count_rows(table):
                    raise ConfigError(
                        where="precisions",
                        what="there are no rows to measure what they cost",
                        mend="Pass rows with their label (--tuning-data)",
                    )
                yardstick = AgreementYardstick(answer, expected, why)
            self.yardstick = yardstick
            schema = model.pipeline.schema
            self._table, _ = schema.conform(table)
            # The golden rows are what a bundle is checked by later, in any precision.
            near = concat_tables([model.golden, self._table])
            self._near = take_rows(near, range(min(ALONE_ROWS, count_rows(near))))
            programs = model.pipeline.programs
            self._expected = {
                name: (
                    predictor.run(self._table, name).columns,
                    predictor.run(self._near, name).columns,
                )
                for name in programs
            }

    def answers(self, sessions: Sessions) -> Table:
        """Return the columns that a precision answers to the rows that are judged."""
        with _predictor(self._pipeline, sessions) as predictor:
            return predictor.run(self._table, PROGRAM).columns

    def difference(self, sessions: Sessions) -> float:
        """Return the largest difference from fp32 of an answer, in the unit of ``RELATIVE``.

        Every program answers all rows in batches, and some of them alone and in smaller batches,
        because a precision may give a row another answer in other company.
        """
        worst = 0.0
        with _predictor(self._pipeline, sessions) as predictor:
            for name, (all_rows, near) in self._expected.items():
                predictor.batch_size = max(_BATCHES)
                found = predictor.run(self._table, name).columns
                worst = max(worst, self._differ(name, all_rows, found))
                for size in _BATCHES:
                    predictor.batch_size = size
                    found = predictor.run(self._near, name).columns
                    worst = max(worst, self._differ(name, near, found))
        return worst

    def sample(self, sessions: Sessions) -> float:
        """Return the same on a few rows alone, for a session that is slow."""
        rows = range(min(SAMPLE_ROWS, count_rows(self._near)))
        table = take_rows(self._near, rows)
        with _predictor(self._pipeline, sessions) as predictor:
            return max(
                self._differ(name, take_rows(near, rows), predictor.run(table, name).columns)
                for name, (_, near) in self._expected.items()
            )

    def _differ(self, name: str, expected: Table, found: Table) -> float:
        answer = self._pipeline.programs[name].answer
        kinds = {column.name: column.kind for column in answer.columns}
        compared = compare_answers("onnxruntime", name, answer, expected, found)
        return max(
            (
                RELATIVE * one.difference / one.tolerance
                for one in compared
                if kinds[one.column] in ("vector", "number")  # words differ where these do
            ),
            default=0.0,
        )


def record_feeds(
    pipeline: Pipeline, table: Table, sessions: Sessions, rows: int
) -> dict[str, list[Tensors]]:
    """Return graph -> what it is fed when a table is asked.

    Args:
        pipeline: Whose processors read the table.
        table: Best the calibration rows.
        sessions: That run meanwhile, since a graph may read what another one gives.
        rows: Most of one feed.
    """
    recorders = {name: _Recorder(session) for name, session in sessions().items()}
    predictor = LocalPredictor(pipeline, recorders, rows)
    for program in pipeline.programs:
        unfed = {step.graph for step in pipeline.programs[program].steps}
        if any(not recorders[graph].feeds for graph in unfed):
            predictor.run(table, program)
    predictor.close()
    return {name: recorder.feeds for name, recorder in recorders.items()}


class _Recorder:
    """A session that remembers what it was fed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs: tuple[TensorSpec, ...] = session.inputs
        self.outputs: tuple[TensorSpec, ...] = session.outputs
        self.feeds: list[Tensors] = []

    def run(self, feed: Tensors) -> Tensors:
        self.feeds.append({spec.name: feed[spec.name] for spec in self.inputs})
        return self._session.run(feed)

    def close(self) -> None:
        self._session.close()


class _Once:
    """A session that runs a feed once: programs over the same graph ask the same of it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: dict[bytes, Tensors] = {}
        self.inputs: tuple[TensorSpec, ...] = session.inputs
        self.outputs: tuple[TensorSpec, ...] = session.outputs

    def run(self, feed: Tensors) -> Tensors:
        digest = blake2b()
        for spec in self.inputs:
            tensor = np.ascontiguousarray(feed[spec.name])
            digest.update(repr(tensor.shape).encode())
            digest.update(tensor.tobytes())
        key = digest.digest()
        if key not in self._found:
            self._found[key] = self._session.run(feed)
        return self._found[key]

    def close(self) -> None:
        self._found.clear()
        self._session.close()


@contextmanager
def _predictor(pipeline: Pipeline, sessions: Sessions) -> Iterator[LocalPredictor]:
    opened = {name: _Once(session) for name, session in sessions().items()}
    predictor = LocalPredictor(pipeline, opened, max(_BATCHES))
    try:
        yield predictor
    finally:
        predictor.close()


def _labelled_rows(answer: AnyAnswer, table: Table | None) -> dict[str, list[object]]:
    """Rows whose label is known, at most ``MOST_ROWS`` of them, spread over the table."""
    label = answer.columns[0].name
    if table is None or label not in table:
        return {}
    bad = {fault.row for fault in answer.encode({label: table[label]}, {})[1]}
    good = [row for row in range(count_rows(table)) if row not in bad]
    count = min(MOST_ROWS, len(good))
    return take_rows(table, [good[i * len(good) // count] for i in range(count)])


def _answered(predictor: LocalPredictor, table: Table) -> tuple[dict[str, list[object]], Table]:
    """The rows that have an answer, and it: one with an unreadable cell has none anywhere."""
    if not count_rows(table):
        return {}, {}
    found = predictor.run(table, PROGRAM)
    good = [row for row in range(count_rows(table)) if row not in found.failed]
    return take_rows(table, good), take_rows(found.columns, good)
