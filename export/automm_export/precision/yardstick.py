"""What a precision costs: a metric on labelled rows, or without labels, agreement with fp32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.errors import ConfigError
from automm_serve.metrics import DEFAULT_METRICS, find_metric, problem_type_of, score
from automm_serve.tensors import Table, take_rows

DRAWS = 500
INTERVAL = (2.5, 97.5)


class Loss(NamedTuple):
    """What a precision costs on some rows.

    Attributes:
        value: The metric of this precision.
        drop: How much worse than fp32; see ``PrecisionFigures``.
    """

    value: float
    drop: float


class Yardstick(ABC):
    """Compares answers with those of fp32 to the same rows.

    Attributes:
        metric: Its name.
        unit: Of the drop: ``points`` or ``%``.
        fp32: The metric of fp32.
        rows: Compared.
        notes: What a user must know of it.
    """

    metric: str
    unit: str
    fp32: float
    rows: int
    notes: tuple[str, ...] = ()

    def compare(self, found: Table) -> Loss:
        """Return what answers cost; the columns of the program, as many rows as of fp32."""
        value = self._value(found, None)
        return Loss(value, self._drop(self.fp32, value))

    def interval(self, found: Table, seed: int = 0) -> tuple[float, float]:
        """Return the 95 % bootstrap interval of the drop; rows are drawn in pairs with fp32's."""
        draw = np.random.default_rng(seed)
        drops = []
        for _ in range(DRAWS):
            rows = draw.integers(0, self.rows, self.rows).tolist()
            drops.append(self._drop(self._reference(rows), self._value(found, rows)))
        kept = [drop for drop in drops if np.isfinite(drop)]
        if not kept:  # no draw has the metric
            drop = self.compare(found).drop
            return drop, drop
        low, high = np.percentile(kept, INTERVAL)
        return float(low), float(high)

    @abstractmethod
    def _value(self, found: Table, rows: Sequence[int] | None) -> float:
        """The metric of answers, on all rows or on some."""

    @abstractmethod
    def _reference(self, rows: Sequence[int]) -> float:
        """The metric of fp32 on some rows."""

    @abstractmethod
    def _drop(self, fp32: float, value: float) -> float:
        """How much worse."""


class MetricYardstick(Yardstick):
    """A metric on rows with a label.

    Args:
        metric: Its name; the problem's first where empty.
        answer: What the answers mean.
        truth: The label's cells, all of them known.
        expected: The answers of fp32.
    """

    def __init__(
        self, metric: str, answer: AnyAnswer, truth: Sequence[object], expected: Table
    ) -> None:
        kind = problem_type_of(answer)
        try:
            self._metric = find_metric(metric or DEFAULT_METRICS[kind], kind)
        except ConfigError:  # a function of the trainer's own, which no folder holds
            self._metric = find_metric(DEFAULT_METRICS[kind], kind)
            self.notes = (f"metric {metric!r} is not known here",)
        self._answer, self._truth, self._expected = answer, list(truth), expected
        self.metric = self._metric.name
        self.unit = "points" if self._metric.greater_is_better else "%"
        self.rows = len(self._truth)
        self.fp32 = self._value(expected, None)

    def _value(self, found: Table, rows: Sequence[int] | None) -> float:
        truth = self._truth if rows is None else [self._truth[row] for row in rows]
        part = found if rows is None else take_rows(found, rows)
        return score(self._metric.name, self._answer, truth, part)[self._metric.name]

    def _reference(self, rows: Sequence[int]) -> float:
        return self._value(self._expected, rows)

    def _drop(self, fp32: float, value: float) -> float:
        """Points of a share; per cent of an error, which is without bound where fp32 has none."""
        if self._metric.greater_is_better:
            return 100 * (fp32 - value)
        if fp32 == value:
            return 0.0
        return 100 * (value - fp32) / fp32 if fp32 > 0 else float("inf")


class AgreementYardstick(Yardstick):
    """How near answers are to those of fp32, where nobody knows the true ones.

    Args:
        answer: What the answers mean.
        expected: The answers of fp32.
        why: There is no metric.
    """

    def __init__(self, answer: AnyAnswer, expected: Table, why: str) -> None:
        self._answer, self._expected = answer, expected
        self._column = answer.columns[0].name
        self._is_share = isinstance(answer, ClassesAnswer)
        self.metric = "agreement" if self._is_share else "rms_difference"
        self.unit = "points" if self._is_share else "%"
        self.rows = len(expected[self._column])
        self.fp32 = 1.0 if self._is_share else 0.0
        unit = "rows answered as by fp32" if self._is_share else "difference from fp32"
        self.notes = (f"{why}: judged by {unit}, not by a metric",)

    def _value(self, found: Table, rows: Sequence[int] | None) -> float:
        chosen = range(self.rows) if rows is None else rows
        pairs = [(self._expected[self._column][row], found[self._column][row]) for row in chosen]
        if self._is_share:
            return float(np.mean([expected == cell for expected, cell in pairs]))
        left, right = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
        if isinstance(self._answer, ValuesAnswer):
            scale = self._answer.deviation
        else:
            scale = float(np.sqrt(np.mean(left**2))) or 1.0
        return float(np.sqrt(np.mean((left - right) ** 2))) / scale

    def _reference(self, rows: Sequence[int]) -> float:
        return self.fp32

    def _drop(self, fp32: float, value: float) -> float:
        """Points of the share, or per cent of the label's deviation or of the vectors' size."""
        return 100 * abs(fp32 - value)
