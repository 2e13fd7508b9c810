"""Answers to score, and their scores by scikit-learn, written out here once more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automm_serve.metrics import METRICS


def answers(classes: int, rows: int = 200, seed: int = 0) -> Any:
    """Truth, predictions, probabilities (float64), some of them equal, none of them certain."""
    draw = np.random.default_rng(seed)
    raw = draw.integers(1, 12, (rows, classes)).astype(np.float64)
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    truth = draw.integers(0, classes, rows)
    return truth, probabilities.argmax(axis=1), probabilities, range(classes)


def reference(name: str, truth: Any, prediction: Any, probabilities: Any, classes: Any) -> Any:
    """The score by scikit-learn, written out here once more."""
    import sklearn.metrics as sk

    positive = probabilities[:, 1]
    labels = list(classes)
    plain = {
        "accuracy": sk.accuracy_score,
        "acc": sk.accuracy_score,
        "balanced_accuracy": sk.balanced_accuracy_score,
        "mcc": sk.matthews_corrcoef,
    }
    if name in plain:
        return plain[name](truth, prediction)
    if name == "quadratic_kappa":
        return sk.cohen_kappa_score(truth, prediction, labels=labels, weights="quadratic")
    if name in ("pac", "pac_score"):
        entropy = pytest.importorskip("scipy.stats").entropy
        least = np.exp(-entropy(np.bincount(truth, minlength=len(labels)) / len(truth)))
        reached = np.exp(-sk.log_loss(truth, probabilities, labels=labels))
        return (reached - least) / (1 - least) if least < 1 else np.nan
    if name == "coverage":
        return _coverage_by_hand(truth, positive)
    if name in ("log_loss", "nll"):
        return sk.log_loss(truth, probabilities, labels=labels)
    if name == "roc_auc":
        return sk.roc_auc_score(truth, positive)
    if name == "average_precision":
        return sk.average_precision_score(truth, positive)
    if name.startswith("roc_auc_"):
        way, _, average = name.removeprefix("roc_auc_").partition("_")
        return sk.roc_auc_score(
            truth, probabilities, multi_class=way, average=average or "macro", labels=labels
        )
    family, _, average = name.partition("_")
    function = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    return function[family](truth, prediction, average=average or "binary", zero_division=0)


def _coverage_by_hand(truth: Any, positive: Any) -> float:
    """Row by row, as the peer's documentation of its two thresholds reads."""
    found = 0.0
    for sure, right, share in (
        ([p >= 0.97 for p in positive], [t == 1 for t in truth], 0.97),
        ([p <= 1 - 0.99 for p in positive], [t == 0 for t in truth], 0.99),
    ):
        hits = [ok for ok, counts in zip(right, sure, strict=True) if counts]
        if hits and sum(hits) / len(hits) >= share:
            found += len(hits) / len(truth)
    return found


def of(problem_type: str) -> list[str]:
    return [name for name, one in METRICS.items() if problem_type in one.problem_types]


NUMBERS = {
    "r2": "r2_score",
    "mse": "mean_squared_error",
    "mean_squared_error": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "root_mean_squared_error": "root_mean_squared_error",
    "mae": "mean_absolute_error",
    "mean_absolute_error": "mean_absolute_error",
    "median_absolute_error": "median_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mean_absolute_percentage_error": "mean_absolute_percentage_error",
}


def values(kind: str) -> Any:
    draw = np.random.default_rng(0)
    truth = draw.normal(10, 3, 150).round(1)  # rounded: ties
    prediction = (truth + draw.normal(0, 2, 150)).round(1)
    match kind:
        case "zeros":
            truth[::7] = 0
        case "constant truth":
            truth[:] = 4
        case "constant answer":
            prediction[:] = 4
        case "constant both":
            truth[:] = prediction[:] = 4
        case "one row":
            return truth[:1], prediction[:1]
    return truth, prediction


KINDS = ["ordinary", "zeros", "constant truth", "constant answer", "constant both", "one row"]
