"""How good answers are. The same functions score in training, on a bundle and through a server.

Names and meaning are AutoGluon's, and so scikit-learn's. What a default needs is numpy alone, so
that a bundle on a small machine can be evaluated; the rest comes from scikit-learn when it is
asked for. A score that is not defined (one class only, a constant column) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.cells import to_number
from automm_serve.errors import ConfigError, DataError, near_name
from automm_serve.optional import require
from automm_serve.tensors import Table

Array: TypeAlias = NDArray[Any]
Score: TypeAlias = Callable[[Array, Array, Array, Sequence[object]], float]
"""``(truth, prediction, probabilities, classes) -> score``. Classes are int64 (rows,), codes in the
order of ``classes``, and probabilities are (rows, classes); numbers are float64 (rows,), and the
last two are empty."""

CLASSES = ("binary", "multiclass")
NUMBERS = ("regression",)

DEFAULT_METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "rmse"}
"""Problem type -> the metric of evaluation and of validation where none is given."""

REPORTED_METRICS = {
    "binary": ("roc_auc", "accuracy", "log_loss"),
    "multiclass": ("accuracy", "log_loss"),
    "regression": ("rmse", "mae", "r2"),
}
"""Problem type -> what a report shows; numpy is enough for all of it."""


class Metric(Struct, frozen=True):
    """One way to compare answers with the truth.

    Attributes:
        name: As users type it.
        function: What computes it.
        problem_types: Those that it is for.
        greater_is_better: False for errors and losses; they are reported as they are, positive.
        needs: What it reads beside the truth: ``prediction`` or ``probabilities``.
    """

    name: str
    function: Score
    problem_types: tuple[str, ...]
    greater_is_better: bool = True
    needs: Literal["prediction", "probabilities"] = "prediction"


def score(
    names: str | Sequence[str] | None,
    answer: AnyAnswer,
    truth: Sequence[object],
    predictions: Table,
) -> dict[str, float]:
    """Return each metric of some answers.

    Args:
        names: Of metrics; the default of the problem type where None.
        answer: What the predictions mean.
        truth: The label's cells; every one is a class or a number that the answer knows.
        predictions: The answer's columns, without the rows that failed.

    Raises:
        ConfigError: There is no such metric for this kind of answer.
        DataError: There are no rows, or a cell of the truth cannot be read.
        MissingDependencyError: A metric needs scikit-learn.
    """
    kind = problem_type_of(answer)
    asked = [names] if isinstance(names, str) else list(names or [DEFAULT_METRICS[kind]])
    metrics = [find_metric(name, kind) for name in asked]
    if not truth:
        raise DataError(where="evaluate", what="there are no rows", mend="Pass rows with a label")
    arrays = _read_answers(answer, truth, predictions)
    return {metric.name: float(metric.function(*arrays)) for metric in metrics}


def find_metric(name: str, problem_type: str) -> Metric:
    """Return a metric by its name.

    Raises:
        ConfigError: It is unknown, or not for this problem type.
    """
    fitting = [one for one in METRICS if problem_type in METRICS[one].problem_types]
    if name in fitting:
        return METRICS[name]
    near = near_name(name, fitting)
    raise ConfigError(
        where="metric",
        what=f"{name!r} is "
        + (f"no metric of {problem_type}" if name in METRICS else "unknown")
        + (f"; {near!r} is near" if near else ""),
        mend=f"Pass one of {', '.join(fitting)}",
    )


def problem_type_of(answer: AnyAnswer) -> str:
    """Return the problem type whose metrics score this answer.

    Raises:
        ConfigError: Such answers have no truth to compare with.
    """
    if isinstance(answer, ClassesAnswer):
        return "binary" if len(answer.classes) == 2 else "multiclass"
    if isinstance(answer, ValuesAnswer):
        return "regression"
    raise ConfigError(
        where="evaluate",
        what=f"there are no metrics for {type(answer).__name__}",
        mend="Evaluate a program that answers with classes or numbers",
    )


def _read_answers(
    answer: AnyAnswer, truth: Sequence[object], predictions: Table
) -> tuple[Array, Array, Array, Sequence[object]]:
    if isinstance(answer, ClassesAnswer):
        codes, faults = answer.encode({answer.label: truth}, {})
        guesses, _ = answer.encode({answer.label: predictions[answer.label]}, {})
        if not faults:
            probabilities = np.array(predictions[answer.probabilities_column])
            return codes["classes"], guesses["classes"], probabilities, answer.classes
        raise _unreadable(answer.label, faults[0].row, faults[0].what)
    label = answer.columns[0].name
    return _numbers(label, truth), _numbers(label, predictions[label]), np.empty(0), ()


def _numbers(label: str, cells: Sequence[object]) -> NDArray[np.float64]:
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            values[row] = to_number(cell)
        except ValueError as error:
            raise _unreadable(label, row, f"{cell!r} is {error}") from None
        if np.isnan(values[row]):
            raise _unreadable(label, row, "it is missing")
    return values


def _unreadable(label: str, row: int, what: str) -> DataError:
    return DataError(
        where=f"label {label!r}, row {row} of those compared",
        what=what,
        mend="Leave rows without a true label out of the evaluation",
    )


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
    return float((_ranks(probabilities[:, 1])[positive].sum() - count * (count + 1) / 2) / pairs)


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
    """From 0 to 2; where both are 0 there is no error."""
    error = np.abs(truth - prediction)
    scale = (np.abs(truth) + np.abs(prediction)) / 2
    return float(np.mean(np.divide(error, scale, out=np.zeros_like(error), where=scale > 0)))


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
    return _pearson(_ranks(truth), _ranks(prediction))


def _ranks(values: Array) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NDArray[np.float64] = (last - (count - 1) / 2)[place.reshape(-1)]
    return ranks


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
        wide = probabilities.astype(np.float64)  # not scaled to 1, which would part ties
        labels = np.arange(len(classes))
        return float(getattr(sklearn, function)(truth, wide, labels=labels, **options))

    return compute


def _averaged(name: str) -> list[Metric]:
    """A metric of one class, and its averages over all."""
    options: dict[str, object] = {"zero_division": 0}
    function = f"{name}_score"
    return [
        Metric(name, _of_predictions(function, **options), ("binary",)),
        *(
            Metric(
                f"{name}_{average}", _of_predictions(function, average=average, **options), CLASSES
            )
            for average in ("macro", "micro", "weighted")
        ),
    ]


def _roc_over_classes() -> list[Metric]:
    """One class against one, and one against the rest."""
    ways = [("ovo", ("macro", "weighted")), ("ovr", ("macro", "micro", "weighted"))]
    found = []
    for way, averages in ways:
        for name, average in [(way, "macro"), *((f"{way}_{one}", one) for one in averages)]:
            function = _of_probabilities("roc_auc_score", multi_class=way, average=average)
            found.append(
                Metric(f"roc_auc_{name}", function, ("multiclass",), needs="probabilities")
            )
    return found


_ALL = (
    Metric("accuracy", _accuracy, CLASSES),
    Metric("acc", _accuracy, CLASSES),
    Metric("balanced_accuracy", _of_predictions("balanced_accuracy_score"), CLASSES),
    Metric("mcc", _of_predictions("matthews_corrcoef"), CLASSES),
    Metric("quadratic_kappa", _of_predictions("cohen_kappa_score", weights="quadratic"), CLASSES),
    Metric("log_loss", _log_loss, CLASSES, greater_is_better=False, needs="probabilities"),
    Metric("nll", _log_loss, CLASSES, greater_is_better=False, needs="probabilities"),
    Metric("roc_auc", _roc_auc, ("binary",), needs="probabilities"),
    Metric(
        "average_precision",
        _of_probabilities("average_precision_score"),
        ("binary",),
        needs="probabilities",
    ),
    *_averaged("precision"),
    *_averaged("recall"),
    *_averaged("f1"),
    *_roc_over_classes(),
    Metric("r2", _r2, NUMBERS),
    Metric("pearsonr", _pearson, NUMBERS),
    Metric("spearmanr", _spearman, NUMBERS),
    *(
        Metric(name, function, NUMBERS, greater_is_better=False)
        for names, function in (
            (("rmse", "root_mean_squared_error"), _rmse),
            (("mse", "mean_squared_error"), _mse),
            (("mae", "mean_absolute_error"), _mae),
            (("median_absolute_error",), _median_error),
            (("mape", "mean_absolute_percentage_error"), _mape),
            (("smape", "symmetric_mean_absolute_percentage_error"), _smape),
        )
        for name in names
    ),
)

METRICS = {metric.name: metric for metric in _ALL}
"""Name -> metric; AutoGluon's names."""
