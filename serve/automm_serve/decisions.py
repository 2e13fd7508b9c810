"""Probabilities -> classes at a threshold: which one is meant, and which one a metric likes best.

A threshold stands between two classes: the second one is answered where its probability reaches it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.answers.classes import HALF
from automm_serve.errors import ConfigError, DataError

if TYPE_CHECKING:
    from automm_serve.metrics.metric import Metric

MOST_TRIED = 200
"""Thresholds; each costs a metric over all rows, and some metrics take a millisecond."""

UNMOVED = ("accuracy", "acc")
"""Metrics of classes that one half already suits, where probabilities are what they say."""


def checked_threshold(answer: AnyAnswer, threshold: float) -> ClassesAnswer:
    """Return the answer as one of two classes that could have this threshold.

    Raises:
        ConfigError: It is no probability, or there are not two classes.
    """
    if not isinstance(answer, ClassesAnswer) or len(answer.classes) != 2:
        raise ConfigError(
            where="decision_threshold",
            what=f"{answer.columns[0].name!r} is not one of two classes",
            mend="Leave it out",
        )
    if not 0 <= threshold <= 1:
        raise ConfigError(
            where="decision_threshold",
            what=f"{threshold} is no probability",
            mend="Pass a number from 0 to 1",
        )
    return answer


def pays(metric: Metric) -> bool:
    """Tell whether another threshold than one half may raise this metric, and is worth it."""
    return metric.needs == "prediction" and metric.name not in UNMOVED


def best_threshold(
    truth: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    classes: Sequence[object],
    metric: Metric,
) -> float:
    """Return the threshold at which a metric of the answers is best; one half, unless another is.

    Tried are one half and what lies in the middle between two rows that are neighbours by
    probability, 200 at most. Each score is averaged with its neighbours' first, over a twentieth of
    what is tried: the highest peak of a jagged curve is luck, a broad hill is found again on other
    rows.

    Args:
        truth: Codes int64 (rows,).
        probabilities: float32 (rows, 2).
        classes: In the order of the codes.
        metric: Of the answers.
    """
    tried = _candidates(probabilities[:, 1])
    sign = 1 if metric.greater_is_better else -1
    with warnings.catch_warnings(action="ignore"):  # of answers that are all of one class
        found = [
            metric.function(truth, _codes(probabilities, one), probabilities, classes)
            for one in tried
        ]
    scores = sign * np.array(found, np.float64)
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    smooth = _smoothed(scores, len(tried) // 40)
    half = int(np.flatnonzero(tried == HALF)[0])
    best = int(np.argmax(smooth))
    # It must beat one half by itself too, not only by its neighbours.
    better = smooth[best] > smooth[half] and scores[best] > scores[half]
    return float(tried[best]) if better else HALF


def named(
    answer: ClassesAnswer, probabilities: object, threshold: float | None = None
) -> list[object]:
    """Return the class of each row of probabilities; None where they are NaN.

    Args:
        answer: Knows the classes, and the threshold where None is given.
        probabilities: As ``predict_proba`` gives them: (rows, classes), in the order of the classes
            or in columns named as these; or (rows,) of the second one of two.
        threshold: See ``decide``.

    Raises:
        DataError: They have another shape.
        ConfigError: The threshold is none for this answer.
    """
    if threshold is not None:
        checked_threshold(answer, threshold)
    table = _table(answer, probabilities)
    known = ~np.isnan(table).any(axis=1)
    codes = np.where(known, answer.decide(table, threshold), -1)
    return [None if code < 0 else answer.classes[code] for code in codes]


def _table(answer: ClassesAnswer, probabilities: Any) -> NDArray[np.float32]:
    names = list(getattr(probabilities, "columns", ()))
    if len(names) == len(answer.classes) and set(names) == set(answer.classes):
        probabilities = probabilities[list(answer.classes)]
    try:
        table = np.asarray(probabilities, np.float32)
    except (TypeError, ValueError):
        table = np.empty((0, 0), np.float32)
    if table.ndim == 1 and len(answer.classes) == 2:
        table = np.stack([1 - table, table], axis=1)
    if table.ndim == 2 and table.shape[1] == len(answer.classes):
        return table
    raise DataError(
        where="predict_from_proba",
        what=f"these are no probabilities of {len(answer.classes)} classes",
        mend="Pass what predict_proba returned",
    )


def _candidates(positive: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ascending, one half among them."""
    distinct = np.unique(positive.astype(np.float32)).astype(np.float64)
    middles = (distinct[1:] + distinct[:-1]) / 2
    if len(middles) > MOST_TRIED:
        middles = middles[np.linspace(0, len(middles) - 1, MOST_TRIED).round().astype(int)]
    return np.unique([*middles, HALF])


def _codes(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    return (probabilities[:, 1] >= np.float32(threshold)).astype(np.int64)


def _smoothed(scores: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Each with the mean of those up to ``reach`` places away on both sides."""
    if not reach:
        return scores
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(scores, reach, mode="edge"), 2 * reach + 1
    )
    means: NDArray[np.float64] = windows.mean(axis=1)
    return means
