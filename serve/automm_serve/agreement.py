"""Do two answers to the same rows agree? The one home of the tolerances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.manifest import ColumnParity, Manifest, Where
from automm_serve.schema import Column
from automm_serve.tensors import Table

RELATIVE = 1e-5
"""Of the scale of what is compared: 1 for probabilities, the deviation of a label, and 1 or the
largest component for vectors."""

LEAST_RELATIVE = 1e-2
"""What a precision beside fp32 may differ by at the least. It was measured on a CPU: a device that
computes in sixteen bits, and not only keeps them, differs by two or three times as much."""


def compare_answers(
    where: Where,
    program: str,
    answer: AnyAnswer,
    expected: Table,
    found: Table,
    relative: float = RELATIVE,
) -> tuple[ColumnParity, ...]:
    """Compare column by column the answers that one program gave at two places.

    Args:
        where: Who gave ``found``.
        program: That was asked.
        answer: Its codec, which knows the scale.
        expected: The columns of torch.
        found: The columns of the other; as many rows.
        relative: What they may differ by, of the scale: ``relative_of`` a precision.

    Returns:
        One comparison a column; it ``holds`` where the answers agree. A gap on one side alone is
        an infinite difference.
    """
    compared = []
    for column in answer.columns:
        pair = (expected[column.name], found[column.name])
        ties = 0
        if column.kind == "vector":
            difference, tolerance = _compare_vectors(*pair, relative)
        elif column.kind == "number":
            difference, tolerance = _compare_numbers(answer, *pair, relative)
        else:
            difference, ties = _compare_words(answer, column, expected, found, relative)
            tolerance = 0.0
        rows = len(pair[0])
        compared.append(
            ColumnParity(where, program, column.name, rows, difference, tolerance, ties)
        )
    return tuple(compared)


def relative_of(manifest: Manifest, precision: str) -> float:
    """Return what answers of a precision may differ by from those of fp32, of their scale.

    What was measured on the tuning rows, doubled: the rows compared are others.

    Args:
        manifest: Of the bundle.
        precision: Key of a file of its graphs.
    """
    figures = manifest.precisions.get(precision)
    return RELATIVE if figures is None else max(LEAST_RELATIVE, 2 * figures.difference)


def value_tolerance(
    deviation: float, values: NDArray[np.floating], relative: float = RELATIVE
) -> NDArray[np.float64]:
    """Return what a label's values may differ by: its deviation counts, and float32's grain."""
    grain = 4 * np.spacing(np.abs(values).astype(np.float32)).astype(np.float64)
    tolerance: NDArray[np.float64] = relative * deviation + grain
    return tolerance


def vector_tolerance(vectors: NDArray[np.floating], relative: float = RELATIVE) -> float:
    """Return what a component may differ by: features have no unit, so their size counts."""
    return relative * max(1.0, float(np.abs(vectors).max(initial=0.0)))


def _compare_vectors(
    expected: Sequence[object], found: Sequence[object], relative: float
) -> tuple[float, float]:
    both = [
        (np.asarray(e, np.float64), np.asarray(f, np.float64))
        for e, f in zip(expected, found, strict=True)
        if e is not None and f is not None
    ]
    one_sided = any((e is None) != (f is None) for e, f in zip(expected, found, strict=True))
    if one_sided or any(e.shape != f.shape for e, f in both):
        return float("inf"), relative
    if not both:
        return 0.0, relative
    left, right = (np.stack(side) for side in zip(*both, strict=True))
    return _largest(np.abs(left - right)), vector_tolerance(left, relative)


def _compare_numbers(
    answer: AnyAnswer, expected: Sequence[object], found: Sequence[object], relative: float
) -> tuple[float, float]:
    """The difference of the row that comes nearest to its tolerance, or exceeds it most."""
    deviation = answer.deviation if isinstance(answer, ValuesAnswer) else 1.0
    left, right = _numbers(expected), _numbers(found)
    if (np.isnan(left) != np.isnan(right)).any():
        return float("inf"), relative * deviation
    kept = ~np.isnan(left)
    if not kept.any():
        return 0.0, relative * deviation
    difference = np.abs(left - right)[kept]
    tolerance = value_tolerance(deviation, left[kept], relative)
    worst = int(np.argmax(difference / tolerance))
    return float(difference[worst]), float(tolerance[worst])


def _compare_words(
    answer: AnyAnswer, column: Column, expected: Table, found: Table, relative: float
) -> tuple[float, int]:
    """The share of rows with other words, and the rows that are excused as ties."""
    pairs = list(zip(expected[column.name], found[column.name], strict=True))
    other = [row for row, (e, f) in enumerate(pairs) if e != f]
    ties = 0
    if isinstance(answer, ClassesAnswer):
        vectors = expected[answer.probabilities_column]
        ties = sum(_is_tie(answer, vectors[row], pairs[row][1], relative) for row in other)
    return (len(other) - ties) / max(1, len(pairs)), ties


def _is_tie(answer: ClassesAnswer, probabilities: object, found: object, relative: float) -> bool:
    """The class that the other place chose is as probable here as the best one, or at the edge."""
    if probabilities is None or found not in answer.classes:
        return False
    vector = np.asarray(probabilities, np.float64)
    if len(vector) == 2:
        return bool(abs(vector[1] - answer.threshold) <= relative)
    chosen = vector[answer.classes.index(found)]
    return bool(vector.max() - chosen <= 2 * relative)


def _numbers(cells: Sequence[object]) -> NDArray[np.float64]:
    return np.array([np.nan if cell is None else cell for cell in cells], np.float64)


def _largest(differences: NDArray[np.floating]) -> float:
    """The largest one; infinite where something is not a number, lest it compare as small."""
    largest = float(differences.max(initial=0.0))
    return largest if np.isfinite(largest) else float("inf")
