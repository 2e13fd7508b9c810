"""The metric on parts of the rows: those of one category, those that lack a column."""

from __future__ import annotations

from msgspec import Struct

from automm.report.html.evidence import Evidence
from automm_serve.cells import category_key, is_gap
from automm_serve.metrics import MetricLike, score
from automm_serve.tensors import take_rows

LEAST_ROWS = 5
"""Fewer rows say nothing."""

MOST_VALUES = 8
"""Of a category, the most frequent ones."""


class Slice(Struct, frozen=True):
    """Some of the rows.

    Attributes:
        column: By which they are chosen.
        value: What they have there.
        rows: How many.
        score: Of the metric on them; None where they are too few.
    """

    column: str
    value: str
    rows: int
    score: float | None


def slice_rows(evidence: Evidence, kinds: dict[str, str], metric: MetricLike) -> list[Slice]:
    """Return the metric by the values of each category, and by whether a column is missing.

    Args:
        evidence: The rows.
        kinds: Column -> ``category``, ``text``, ``number`` or ``image``.
        metric: By which.
    """
    found = []
    for name, kind in kinds.items():
        cells = evidence.table[name]
        gaps = [row for row, cell in enumerate(cells) if is_gap(cell)]
        if kind == "category":
            groups: dict[str, list[int]] = {}
            for row, cell in enumerate(cells):
                if not is_gap(cell):
                    groups.setdefault(_key(cell), []).append(row)
            common = sorted(groups.items(), key=lambda item: -len(item[1]))[:MOST_VALUES]
            found += [_slice(evidence, name, value, rows, metric) for value, rows in common]
        if gaps and len(gaps) < len(cells):
            missing = set(gaps)
            there = [row for row in range(len(cells)) if row not in missing]
            found.append(_slice(evidence, name, "missing", gaps, metric))
            if kind != "category":
                found.append(_slice(evidence, name, "there", there, metric))
    return found


def _key(cell: object) -> str:
    try:
        return category_key(cell)
    except ValueError:
        return repr(cell)


def _slice(evidence: Evidence, name: str, value: str, rows: list[int], metric: MetricLike) -> Slice:
    scored = score_rows(evidence, rows, metric) if len(rows) >= LEAST_ROWS else None
    return Slice(name, value, len(rows), scored)


def score_rows(evidence: Evidence, rows: list[int], metric: MetricLike) -> float:
    """Return the metric of some rows; NaN where it is not defined on them."""
    truth = [evidence.labels[row] for row in rows]
    part = take_rows(evidence.columns, rows)
    (found,) = score(metric, evidence.answer, truth, part).values()
    return found
