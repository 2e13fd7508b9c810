"""Metrics of classes: of the answers, and of their probabilities.

What is reported by default needs numpy alone; the rest comes from scikit-learn when it is asked
for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automm_serve.metrics.metric import CLASSES, Array, Metric, Score, spelled
from automm_serve.metrics.numbers import ranks
from automm_serve.optional import require

CERTAIN_YES, CERTAIN_NO = 0.97, 0.99
"""How probable class 1, and class 0, must be for an answer that ``coverage`` counts; and in what
share of the rows such answers must be right."""

PAC_EPS = 3e-8
"""``pac`` clips probabilities here, and not at the smallest number of their type."""

ONE_CLASS = "where the truth has one class alone"


def _accuracy(truth: Array, prediction: Array, *_: object) -> float:
    return float(np.mean(truth == prediction))


def _log_loss(truth: Array, _: Array, probabilities: Array, classes: Sequence[object]) -> float:
    """Clipped as far as the type tells apart: a certain wrong answer costs 15.9 in float32."""
    least = np.finfo(probabilities.dtype).eps
    chosen = np.clip(probabilities[np.arange(len(truth)), truth], least, 1 - least)
    return float(-np.log(chosen.astype(np.float64)).mean())


def _roc_auc(truth: Array, _: Array, probabilities: Array, classes: Sequence[object]) -> float:
    """The share of pairs of both classes that stand in the right order; ties count half."""
    positive = truth == 1
    pairs = float(positive.sum()) * float((~positive).sum())
    if not pairs:
        return float("nan")
    count = float(positive.sum())
    return float((ranks(probabilities[:, 1])[positive].sum() - count * (count + 1) / 2) / pairs)


def _pac(truth: Array, _: Array, probabilities: Array, classes: Sequence[object]) -> float:
    """Guyon et al., 2015, "Design of the 2015 ChaLearn AutoML challenge": ``exp(-loss)``, scaled.

    0 is what the classes' shares reach, 1 is certain and right.
    """
    shares = np.bincount(truth, minlength=len(classes)) / len(truth)
    if (shares == 1).any():  # the shares reach 1 as well
        return float("nan")
    wide = probabilities.astype(np.float64)
    if len(classes) > 2:
        wide = wide / np.maximum(wide.sum(axis=1, keepdims=True), PAC_EPS)
        chosen = wide[np.arange(len(truth)), truth]
    else:  # of class 1 alone: the other is what is left
        chosen = np.where(truth == 1, wide[:, 1], 1 - wide[:, 1])
    reached = np.exp(np.log(np.clip(chosen, PAC_EPS, 1 - PAC_EPS)).mean())
    present = shares[shares > 0]
    least = np.exp((present * np.log(present)).sum())
    return float((reached - least) / (1 - least))


def _coverage(truth: Array, _: Array, probabilities: Array, classes: Sequence[object]) -> float:
    """The share of rows whose answer is nearly certain, if such answers are as good as they say."""
    positive = probabilities[:, 1].astype(np.float64)
    parts = (
        (truth[positive >= CERTAIN_YES] == 1, CERTAIN_YES),
        (truth[positive <= 1 - CERTAIN_NO] == 0, CERTAIN_NO),
    )
    return sum(
        len(right) / len(truth) for right, share in parts if len(right) and right.mean() >= share
    )


def _quadratic_kappa(truth: Array, prediction: Array, _: Array, classes: Sequence[object]) -> float:
    """How far off a wrong class is goes by its place among all classes, absent ones too."""
    sklearn = require("sklearn.metrics", purpose="metric quadratic_kappa")
    if len(np.union1d(truth, prediction)) < 2:
        return float("nan")
    labels = np.arange(len(classes))
    return float(sklearn.cohen_kappa_score(truth, prediction, labels=labels, weights="quadratic"))


def _of_predictions(function: str, **options: object) -> Score:
    """A function of scikit-learn over classes."""

    def compute(truth: Array, prediction: Array, *_: object) -> float:
        sklearn = require("sklearn.metrics", purpose=f"metric {function}")
        return float(getattr(sklearn, function)(truth, prediction, **options))

    return compute


def _of_probabilities(function: str, **options: object) -> Score:
    """A function of scikit-learn over probabilities: of class 1 alone where there are two."""

    def compute(truth: Array, _: Array, probabilities: Array, classes: Sequence[object]) -> float:
        sklearn = require("sklearn.metrics", purpose=f"metric {function}")
        if len(np.unique(truth)) < 2:
            return float("nan")
        if len(classes) == 2:
            return float(getattr(sklearn, function)(truth, probabilities[:, 1], **options))
        wide: NDArray[np.float64] = probabilities.astype(np.float64)  # unscaled: ties stay ties
        labels = np.arange(len(classes))
        return float(getattr(sklearn, function)(truth, wide, labels=labels, **options))

    return compute


_MEANINGS = {
    "precision": "share of the rows answered with a class that have it",
    "recall": "share of the rows of a class that are answered with it",
    "f1": "harmonic mean of precision and recall",
}
_AVERAGES = {
    "macro": "mean over the classes",
    "micro": "of all rows together",
    "weighted": "mean over the classes, weighed by their rows",
}


def _averaged(name: str) -> list[Metric]:
    """A metric of one class, and its averages over all."""
    options: dict[str, object] = {"zero_division": 0}
    function, meaning = f"{name}_score", _MEANINGS[name]
    plain = Metric(
        name,
        _of_predictions(function, **options),
        ("binary",),
        meaning=f"{meaning}; of the second class",
    )
    return [
        plain,
        *(
            Metric(
                f"{name}_{average}",
                _of_predictions(function, average=average, **options),
                CLASSES,
                meaning=f"{meaning}; {how}",
            )
            for average, how in _AVERAGES.items()
        ),
    ]


def _roc_over_classes() -> list[Metric]:
    """One class against one, and one against the rest."""
    ways = {
        "ovo": ("each class against each other one", ("macro", "weighted")),
        "ovr": ("each class against the rest", ("macro", "micro", "weighted")),
    }
    found = []
    for way, (meaning, averages) in ways.items():
        for name, average in [(way, "macro"), *((f"{way}_{one}", one) for one in averages)]:
            # A class without rows has weight 0 or no share in what is summed up over all.
            whole = way == "ovo" or average != "macro"
            found.append(
                Metric(
                    f"roc_auc_{name}",
                    _of_probabilities("roc_auc_score", multi_class=way, average=average),
                    ("multiclass",),
                    needs="probabilities",
                    meaning=f"area under the ROC curve, {meaning}; {_AVERAGES[average]}",
                    undefined=ONE_CLASS if whole else "where a class has no rows",
                )
            )
    return found


CLASS_METRICS: tuple[Metric, ...] = (
    *spelled(("accuracy", "acc"), _accuracy, CLASSES, meaning="share of right answers"),
    Metric(
        "balanced_accuracy",
        _of_predictions("balanced_accuracy_score"),
        CLASSES,
        meaning="mean over the classes of the share of right answers",
    ),
    Metric(
        "mcc",
        _of_predictions("matthews_corrcoef"),
        CLASSES,
        meaning="Matthews' correlation of truth and answer; 0 where one of them is constant",
    ),
    Metric(
        "quadratic_kappa",
        _quadratic_kappa,
        CLASSES,
        meaning="Cohen's kappa, a wrong class weighed by the square of its distance in "
        "`class_labels`",
        undefined="where truth and answers are one and the same class",
    ),
    *spelled(
        ("log_loss", "nll"),
        _log_loss,
        CLASSES,
        greater_is_better=False,
        needs="probabilities",
        meaning="mean of -log of the true class's probability",
    ),
    *spelled(
        ("pac", "pac_score"),
        _pac,
        CLASSES,
        needs="probabilities",
        meaning="exp(-log-loss), scaled: 0 is what the classes' shares reach, 1 is perfect",
        undefined=ONE_CLASS,
    ),
    Metric(
        "roc_auc",
        _roc_auc,
        ("binary",),
        needs="probabilities",
        meaning="share of pairs of both classes that are in the right order",
        undefined=ONE_CLASS,
    ),
    Metric(
        "average_precision",
        _of_probabilities("average_precision_score"),
        ("binary",),
        needs="probabilities",
        meaning="area under the precision-recall curve, as a sum of steps",
        undefined=ONE_CLASS,
    ),
    Metric(
        "coverage",
        _coverage,
        ("binary",),
        needs="probabilities",
        meaning="share of rows answered with a probability of at least 0.97 (second class) or "
        "0.99 (first); each side counts only where as large a share of it is right",
    ),
    *_averaged("precision"),
    *_averaged("recall"),
    *_averaged("f1"),
    *_roc_over_classes(),
)
