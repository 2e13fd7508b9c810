"""Metrics of numbers; numpy is enough for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from automm_serve.metrics.metric import NUMBERS, Array, Metric, spelled


def _mse(truth: Array, prediction: Array, *_: object) -> float:
    return float(np.mean((truth - prediction) ** 2))


def _rmse(truth: Array, prediction: Array, *_: object) -> float:
    return float(np.sqrt(np.mean((truth - prediction) ** 2)))


def _mae(truth: Array, prediction: Array, *_: object) -> float:
    return float(np.mean(np.abs(truth - prediction)))


def _median_error(truth: Array, prediction: Array, *_: object) -> float:
    return float(np.median(np.abs(truth - prediction)))


def _mape(truth: Array, prediction: Array, *_: object) -> float:
    """A share, not per cent; a truth of 0 weighs as the smallest number does."""
    scale = np.maximum(np.abs(truth), np.finfo(np.float64).eps)
    return float(np.mean(np.abs(truth - prediction) / scale))


def _smape(truth: Array, prediction: Array, *_: object) -> float:
    """From 0 to 1; where both are 0 there is no error."""
    scale = np.maximum(np.abs(truth) + np.abs(prediction), np.finfo(np.float64).eps)
    return float(np.mean(np.abs(truth - prediction) / scale))


def _r2(truth: Array, prediction: Array, *_: object) -> float:
    if len(truth) < 2:
        return float("nan")
    error = float(np.sum((truth - prediction) ** 2))
    spread = float(np.sum((truth - truth.mean()) ** 2))
    if not spread:  # as scikit-learn: a constant truth is met or not
        return float(not error)
    return 1 - error / spread


def _pearson(truth: Array, prediction: Array, *_: object) -> float:
    if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(prediction) == 0:
        return float("nan")
    return float(np.clip(np.corrcoef(truth, prediction)[0, 1], -1, 1))


def _spearman(truth: Array, prediction: Array, *_: object) -> float:
    return _pearson(ranks(truth), ranks(prediction))


def ranks(values: Array) -> NDArray[np.float64]:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    found: NDArray[np.float64] = (last - (count - 1) / 2)[place.reshape(-1)]
    return found


_CONSTANT = "where truth or answers are constant, or there is one row"

NUMBER_METRICS: tuple[Metric, ...] = (
    Metric(
        "r2",
        _r2,
        NUMBERS,
        meaning="share of the truth's variance that is explained",
        undefined="where there is one row",
    ),
    Metric("pearsonr", _pearson, NUMBERS, meaning="correlation", undefined=_CONSTANT),
    Metric("spearmanr", _spearman, NUMBERS, meaning="correlation of ranks", undefined=_CONSTANT),
    *(
        metric
        for names, function, meaning in (
            (("rmse", "root_mean_squared_error"), _rmse, "root of the mean squared error"),
            (("mse", "mean_squared_error"), _mse, "mean squared error"),
            (("mae", "mean_absolute_error"), _mae, "mean absolute error"),
            (("median_absolute_error",), _median_error, "median of the absolute errors"),
            (
                ("mape", "mean_absolute_percentage_error"),
                _mape,
                "mean error as a share of the truth (1 is 100 per cent)",
            ),
            (
                ("smape", "symmetric_mean_absolute_percentage_error"),
                _smape,
                "mean error as a share of the truth's and the answer's sizes together, 0 to 1",
            ),
        )
        for metric in spelled(names, function, NUMBERS, greater_is_better=False, meaning=meaning)
    ),
)
