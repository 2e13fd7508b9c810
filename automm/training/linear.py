"""Linear models that are fitted in one go, of sparse rows: ridge and logistic regression."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from automm.training.calibrate import to_logits

FOLDS = 5
_ITERATIONS = 50

Floats = NDArray[np.float64]


class Learner(Protocol):
    """A linear model that is fitted in one go."""

    def fit(
        self, cells: Any, truth: NDArray[Any], rows: NDArray[np.intp], penalty: float
    ) -> tuple[Floats, Floats]:
        """Return weights (columns, width) and bias (width,) by these rows."""

    def guess(self, truth: NDArray[Any]) -> Floats:
        """Return the logits of what knows the label alone, (rows, width)."""

    def loss(self, logits: Floats, truth: NDArray[Any]) -> float:
        """Return how far logits (rows, width) are off."""


def cross_fit(learner: Learner, cells: Any, truth: NDArray[Any], penalty: float) -> Floats:
    """Foretell each fold by what the others teach. Rows are in no order, so every fifth will do."""
    places = np.arange(len(truth))
    said = []
    for fold in range(FOLDS):
        weights, bias = learner.fit(cells, truth, places[places % FOLDS != fold], penalty)
        said.append(cells[fold::FOLDS] @ weights + bias)
    found = np.empty((len(truth), said[0].shape[1]))
    for fold, part in enumerate(said):
        found[fold::FOLDS] = part
    return found


class Ridge:
    """Ridge regression."""

    def fit(
        self, cells: Any, truth: NDArray[Any], rows: NDArray[np.intp], penalty: float
    ) -> tuple[Floats, Floats]:
        """Return weights (columns, 1) and bias (1,)."""
        from sklearn import linear_model

        model = linear_model.Ridge(alpha=penalty).fit(cells[rows], truth[rows])
        return model.coef_[:, None].astype(float), np.array([model.intercept_], float)

    def guess(self, truth: NDArray[Any]) -> Floats:
        """Return the mean for each row."""
        return np.full((len(truth), 1), float(truth.mean()))

    def loss(self, logits: Floats, truth: NDArray[Any]) -> float:
        """The mean square of the error."""
        return float(np.square(logits[:, 0] - truth).mean())


class Logistic:
    """Logistic regression.

    Args:
        weights: Of the rows, in the loss.
        width: Number of classes.
    """

    def __init__(self, weights: Floats, width: int) -> None:
        self._weights, self._width = weights, width

    def fit(
        self, cells: Any, truth: NDArray[Any], rows: NDArray[np.intp], penalty: float
    ) -> tuple[Floats, Floats]:
        """A class that the rows lack has no weights, and is as likely as one row makes it."""
        from sklearn.linear_model import LogisticRegression

        weights, bias = np.zeros((cells.shape[1], self._width)), np.zeros(self._width)
        if len(np.unique(truth[rows])) < 2:  # in a fold: nothing can be said but that
            bias[truth[rows]] = np.log(len(rows))
            return weights, bias
        model = LogisticRegression(C=1 / penalty, max_iter=_ITERATIONS)
        with warnings.catch_warnings(action="ignore"):  # that it could go on learning
            model.fit(cells[rows], truth[rows], self._weights[rows])
        found, intercept = model.coef_.T, model.intercept_
        if found.shape[1] == 1:  # of two classes the second's logit is given alone
            halves = np.array([-0.5, 0.5])
            found, intercept = found * halves, intercept * halves
        bias[:] = np.logaddexp.reduce(intercept) - np.log(len(rows))
        weights[:, model.classes_], bias[model.classes_] = found, intercept
        return weights, bias

    def guess(self, truth: NDArray[Any]) -> Floats:
        """Return the weighted shares of the classes for each row."""
        counts = np.bincount(truth, self._weights, self._width)
        return np.tile(to_logits(counts / counts.sum()), (len(truth), 1))

    def loss(self, logits: Floats, truth: NDArray[Any]) -> float:
        """The weighted mean of minus the logarithm of what the true class was given."""
        said = logits[np.arange(len(truth)), truth] - np.logaddexp.reduce(logits, axis=1)
        return float(-np.average(said, weights=self._weights))
