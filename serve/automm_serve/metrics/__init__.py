"""How good answers are. The same functions score in training, on a bundle and through a server.

Names and meaning are AutoGluon's, and so scikit-learn's. What a default needs is numpy alone, so
that a bundle on a small machine can be evaluated; the rest comes from scikit-learn when it is
asked for. A score that is not defined (one class only, a constant column) is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.cells import to_number
from automm_serve.errors import ConfigError, DataError, near_name
from automm_serve.metrics.classes import CLASS_METRICS
from automm_serve.metrics.metric import Array, Metric, Score
from automm_serve.metrics.numbers import NUMBER_METRICS
from automm_serve.metrics.own import MetricLike, as_metric, own_metrics
from automm_serve.tensors import Table

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "REPORTED_METRICS",
    "Metric",
    "MetricLike",
    "Score",
    "find_metric",
    "problem_type_of",
    "score",
]

METRICS = {metric.name: metric for metric in (*CLASS_METRICS, *NUMBER_METRICS)}
"""Name -> metric; AutoGluon's names."""

DEFAULT_METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "rmse"}
"""Problem type -> the metric of evaluation and of validation where none is given."""

REPORTED_METRICS = {
    "binary": ("roc_auc", "accuracy", "log_loss"),
    "multiclass": ("accuracy", "log_loss"),
    "regression": ("rmse", "mae", "r2"),
}
"""Problem type -> what a report shows; numpy is enough for all of it."""


DIRECT_LOSS = {"binary": "log_loss", "multiclass": "log_loss", "regression": "mse"}
"""Problem type -> what AutoGluon's ``direct_loss`` is: the loss that training lowers."""


def score(
    names: MetricLike | Sequence[MetricLike] | None,
    answer: AnyAnswer,
    truth: Sequence[object],
    predictions: Table,
) -> dict[str, float]:
    """Return each metric of some answers.

    Args:
        names: Of metrics, or functions of one's own; the problem type's default where None.
        answer: What the predictions mean.
        truth: The label's cells; every one is a class or a number that the answer knows.
        predictions: The answer's columns, without the rows that failed.

    Raises:
        ConfigError: There is no such metric for this kind of answer, or a function of one's own
            gave no number.
        DataError: There are no rows, or a cell of the truth cannot be read.
        MissingDependencyError: A metric needs scikit-learn.
    """
    kind = problem_type_of(answer)
    asked = names or DEFAULT_METRICS[kind]
    if isinstance(asked, str) or not isinstance(asked, Sequence):
        asked = [asked]
    metrics = [find_metric(one or DEFAULT_METRICS[kind], kind) for one in asked]
    if not truth:
        raise DataError(where="evaluate", what="there are no rows", mend="Pass rows with a label")
    arrays = _read_answers(answer, truth, predictions)
    return {metric.name: _number(metric, metric.function(*arrays)) for metric in metrics}


def find_metric(metric: MetricLike, problem_type: str) -> Metric:
    """Return a metric by its name, in any case; or a function of one's own as a metric.

    Raises:
        ConfigError: It is unknown, or not for this problem type.
    """
    if not isinstance(metric, str):
        return _fitting(as_metric(metric), problem_type)
    name = metric if metric in METRICS else metric.lower()
    name = DIRECT_LOSS.get(problem_type, name) if name == "direct_loss" else name
    known = [one for one in METRICS if problem_type in METRICS[one].problem_types]
    if name in known:
        return METRICS[name]
    own = {} if name in METRICS else own_metrics()
    if metric in own:
        return _fitting(as_metric(own[metric].load(), metric), problem_type)
    known += sorted(own)
    near = near_name(metric, known)
    raise ConfigError(
        where="metric",
        what=f"{metric!r} is "
        + (f"no metric of {problem_type}" if name in METRICS else "unknown")
        + (f"; {near!r} is near" if near else ""),
        mend=f"Pass one of {', '.join(known)}",
    )


def _fitting(metric: Metric, problem_type: str) -> Metric:
    if problem_type in metric.problem_types:
        return metric
    raise ConfigError(
        where="metric",
        what=f"{metric.name!r} is no metric of {problem_type}",
        mend=f"It says that it is for {', '.join(metric.problem_types)}: pass another one",
    )


def _number(metric: Metric, found: object) -> float:
    try:
        return float(found)  # type: ignore[arg-type]  # a user's function may give anything
    except (TypeError, ValueError):
        raise ConfigError(
            where=f"metric {metric.name!r}",
            what=f"it gave {type(found).__name__}, not a number",
            mend="Let the function return one float",
        ) from None


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
