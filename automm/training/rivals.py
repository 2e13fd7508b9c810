"""The rivals that every fit is compared with: the trivial predictor and a linear model.

A network that does not beat TF-IDF, one-hot and standardised numbers has not earned its cost, and
whoever trained it must be told. The linear model is scored and thrown away.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from time import monotonic
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm.data.rows import Rows
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.cells import category_key, is_gap, to_number
from automm_serve.schema import Column, Schema
from automm_serve.tensors import Tensors

SHARE_OF_TIME = 0.1
"""Of the fit; a rival that costs more is no cheap one."""

TRIAL_ROWS = 500
"""That are fitted first, to learn what all rows would cost."""

MOST_WORDS = 20_000
_ITERATIONS = 300
_DENSE = 400
"""Numbers and categories go in as they are up to so many columns of a dense table."""


class Rival(Struct, frozen=True):
    """A linear model's answers to the validation rows.

    Attributes:
        tensors: As the graph would give them: ``probabilities`` or ``values``.
        rows: It was fitted on; fewer than all where the time was short.
        seconds: That it took.
    """

    tensors: Tensors
    rows: int
    seconds: float


def fit_linear(
    schema: Schema, answer: AnyAnswer, train: Rows, valid: Rows, budget_s: float
) -> Rival | None:
    """Fit logistic or ridge regression on what a linear model can read.

    Args:
        schema: Columns; pictures are left out.
        answer: What is to be answered.
        train: Rows to learn from.
        valid: Rows to answer.
        budget_s: Seconds; fewer rows are learnt from where all would take longer.

    Returns:
        Its answers; None where there are pictures alone, or only one class to learn.
    """
    columns = [column for column in schema.columns if column.kind != "image"]
    if not columns:
        return None
    start = monotonic()
    total = len(train)
    order = np.random.default_rng(0).permutation(total)
    some = order[:TRIAL_ROWS]
    fitted = _fit(columns, answer, train, some)
    if fitted is not None and total > TRIAL_ROWS:
        # Costs grow with the rows, and somewhat more for the words that they bring.
        left = budget_s - (monotonic() - start)
        rows = int(TRIAL_ROWS * left / (1.5 * max(1e-3, monotonic() - start)))
        if rows > 2 * TRIAL_ROWS:
            some = order[:rows]
            fitted = _fit(columns, answer, train, some)
    if fitted is None:
        return None
    tensors = _answer(fitted, columns, answer, valid)
    return Rival(tensors, len(some), monotonic() - start)


def _fit(columns: Sequence[Column], answer: AnyAnswer, train: Rows, rows: NDArray[np.int64]) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    frame = _frame(columns, train, rows)
    if isinstance(answer, ClassesAnswer):
        truth = train.targets["classes"][rows]
        if len(np.unique(truth)) < 2:
            return None
        model: Any = LogisticRegression(C=3, max_iter=_ITERATIONS)
    else:
        truth = train.targets["targets"][rows]
        model = Ridge(alpha=1.0)
    pipeline = make_pipeline(_features(columns), model)
    with warnings.catch_warnings(action="ignore"):  # that it could go on learning
        return pipeline.fit(frame, truth)


def _features(columns: Sequence[Column]) -> Any:
    """TF-IDF of one and two words of each text, one-hot categories, standardised numbers."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    places = {kind: [i for i, c in enumerate(columns) if c.kind == kind] for kind in _KINDS}
    parts: list[tuple[str, Any, Any]] = [
        # A pattern that takes single letters and any script, as words of one sign occur.
        (
            f"text{place}",
            TfidfVectorizer(
                ngram_range=(1, 2),
                max_features=MOST_WORDS,
                sublinear_tf=True,
                token_pattern=r"(?u)\b\w+\b|[^\w\s]",
            ),
            place,
        )
        for place in places["text"]
    ]
    if places["category"]:
        encoder = OneHotEncoder(handle_unknown="ignore", max_categories=_DENSE)
        parts.append(("categories", encoder, places["category"]))
    if places["number"]:
        imputer = SimpleImputer(strategy="mean", add_indicator=True, keep_empty_features=True)
        parts.append(("numbers", make_pipeline(imputer, StandardScaler()), places["number"]))
    return ColumnTransformer(parts)


_KINDS = ("text", "category", "number")


def _frame(columns: Sequence[Column], rows: Rows, chosen: NDArray[np.int64]) -> NDArray[np.object_]:
    """The cells as scikit-learn takes them, (rows, columns)."""
    frame = np.empty((len(chosen), len(columns)), object)
    for place, column in enumerate(columns):
        cells = rows.table[column.name]
        frame[:, place] = [_cell(column.kind, cells[row]) for row in chosen]
    return frame


def _cell(kind: str, cell: object) -> object:
    if kind == "number":
        return to_number(cell)
    if is_gap(cell):
        return ""
    return category_key(cell) if kind == "category" else str(cell)


def _answer(fitted: Any, columns: Sequence[Column], answer: AnyAnswer, valid: Rows) -> Tensors:
    frame = _frame(columns, valid, np.arange(len(valid)))
    if isinstance(answer, ClassesAnswer):
        found = np.zeros((len(valid), len(answer.classes)), np.float32)
        found[:, fitted.classes_] = fitted.predict_proba(frame)
        return {"probabilities": found}
    assert isinstance(answer, ValuesAnswer)
    values = fitted.predict(frame)[:, None] * answer.deviation + answer.mean
    return {"values": values.astype(np.float32)}
