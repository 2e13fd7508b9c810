"""Where the linear model beside the deep one begins: at the weights that fit the rows best.

Steps of a size that suits a network are too small for a weight that few rows touch. Numbers are
fitted with the categories, then left to the network: without them a category would be given what a
number says better, and the network would first have to take it away again.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from automm.config.schema import OptimConfig
from automm.data.rows import Rows
from automm.models.fused import FusedModel
from automm.models.wide import Wide
from automm_serve.answers import AnyAnswer, ClassesAnswer
from automm_serve.processors.tabular import TabularProcessor
from automm_serve.tensors import take_rows

MOST_ROWS = 5000
MOST_WORK = 1_000_000
"""Cells of the rows times logits: what a step of the fit costs. Of more, fewer rows are read."""

MOST_WEIGHTS = 500_000
"""Of more, the fit would need more time and memory than it is worth; they begin at 0."""

HELD_OUT = 0.2
"""Of the rows, by which the penalty is chosen."""

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""On the squares of the weights."""

FARTHEST = 3.0
"""Deviations from the mean beyond which numbers are alike here: one far row bends a line."""

_ITERATIONS = 100


def start_wide(
    model: FusedModel, rows: Rows, answer: AnyAnswer, optim: OptimConfig, seed: int
) -> None:
    """Fit the linear part of a model by itself, if it has one, and put its weights in.

    It stays at 0 where it foretells held-out rows no better than the numbers alone do, or than the
    label's mean or shares.

    Args:
        model: Before its first step.
        rows: To learn from.
        answer: What is to be answered.
        optim: Says what an example of each class weighs.
        seed: For the choice of the rows.
    """
    count = _rows_to_read(model, rows)
    order = np.random.default_rng(seed).permutation(len(rows))[:count]
    held = int(HELD_OUT * len(order))
    if not held:
        return
    is_classes = isinstance(answer, ClassesAnswer)
    truth = rows.targets["classes" if is_classes else "targets"][order].ravel()
    if len(np.unique(truth[held:])) < 2:
        return
    numbers, basis = _basis(model, rows, order)
    weights = _weigh(optim, truth) if is_classes else np.ones(len(truth))
    kind: type[_Classes | _Numbers] = _Classes if is_classes else _Numbers
    best, penalty = kind.guess(truth, weights, held), None
    for columns in (numbers, basis):
        for one in PENALTIES if columns.shape[1] else ():
            fitted = kind(columns[held:], truth[held:], weights[held:], one)
            score = fitted.score(columns[:held], truth[:held], weights[:held])
            if score > best:
                best, penalty = score, one if columns is basis else None
    if penalty is not None:
        fitted = kind(basis, truth, weights, penalty)
        _put(model, *fitted.logits(model.head.out_features))


def _rows_to_read(model: FusedModel, rows: Rows) -> int:
    """Of fewer than three a logit little can be learnt."""
    parts, logits = _parts(model), model.head.out_features
    if not parts or sum(part.embedding.weight.numel() for part in parts) > MOST_WEIGHTS:
        return 0
    columns = sum(len(p.categories) + len(p.numbers) for p in _processors(model, rows))
    count = min(len(rows), MOST_ROWS, MOST_WORK // (columns * logits))
    return count if count >= 3 * logits else 0


def _parts(model: FusedModel) -> list[Wide]:
    return [part for part in model.wide.values() if isinstance(part, Wide)]


def _processors(model: FusedModel, rows: Rows) -> list[TabularProcessor]:
    found = [p for p in rows.processors if p.name in model.wide]
    return [p for p in found if isinstance(p, TabularProcessor)]


def _basis(model: FusedModel, rows: Rows, order: NDArray[np.intp]) -> tuple[Any, Any]:
    """Return the numbers alone, and behind a column for each weight: sparse, (rows, columns)."""
    from scipy import sparse

    table = take_rows(rows.table, order.tolist())
    weights, numbers = [], [sparse.csr_matrix((len(order), 0), dtype=np.float32)]
    for processor in _processors(model, rows):
        wide = model.wide[processor.name]
        assert isinstance(wide, Wide)
        tensors = rows.transform(processor, table)
        places = wide.places(tensors).numpy()
        starts = np.arange(0, places.size + 1, places.shape[1])
        shape = (len(places), wide.embedding.num_embeddings)
        ones = np.ones(places.size, np.float32)
        weights.append(sparse.csr_matrix((ones, places.ravel(), starts), shape=shape))
        if processor.numbers:
            numbers.append(sparse.csr_matrix(_standardise(processor, tensors)))
    beside = sparse.hstack(numbers).tocsr()
    return beside, sparse.hstack([*weights, beside]).tocsr()


def _standardise(processor: TabularProcessor, tensors: dict[str, Tensor]) -> NDArray[np.float32]:
    """A gap is the mean."""
    means = np.array([number.mean for number in processor.numbers])
    deviations = np.array([number.deviation for number in processor.numbers])
    scaled = (tensors[f"{processor.name}_numbers"].numpy() - means) / deviations
    scaled = np.nan_to_num(scaled.clip(-FARTHEST, FARTHEST), nan=0.0)
    return np.asarray(scaled, np.float32)


def _weigh(optim: OptimConfig, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the loss says that each row weighs."""
    given = optim.focal_loss.alpha if optim.loss_func == "focal_loss" else optim.class_weights
    if not isinstance(given, tuple):
        return np.ones(len(truth))
    return np.array(given)[truth]


class _Numbers:
    """Ridge regression; its score is minus the squared error."""

    def __init__(
        self, basis: Any, truth: NDArray[Any], weights: NDArray[np.float64], penalty: float
    ) -> None:
        from sklearn.linear_model import Ridge

        self._model = Ridge(alpha=penalty).fit(basis, truth, weights)

    @staticmethod
    def guess(truth: NDArray[Any], weights: NDArray[np.float64], held: int) -> float:
        """The score of what knows the label alone."""
        return -float(np.square(truth[:held] - truth[held:].mean()).mean())

    def score(self, basis: Any, truth: NDArray[Any], weights: NDArray[np.float64]) -> float:
        return -float(np.square(self._model.predict(basis) - truth).mean())

    def logits(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (columns, 1) and bias (1,)."""
        return self._model.coef_[:, None], np.array([self._model.intercept_])


class _Classes:
    """Logistic regression; its score is the mean logarithm of what it gave to the true class."""

    def __init__(
        self, basis: Any, truth: NDArray[Any], weights: NDArray[np.float64], penalty: float
    ) -> None:
        from sklearn.linear_model import LogisticRegression

        self._rows = len(truth)
        self._model = LogisticRegression(C=1 / penalty, max_iter=_ITERATIONS)
        with warnings.catch_warnings(action="ignore"):  # that it could go on learning
            self._model.fit(basis, truth, weights)

    @staticmethod
    def guess(truth: NDArray[Any], weights: NDArray[np.float64], held: int) -> float:
        """The score of what knows the label alone."""
        classes, places = np.unique(truth[held:], return_inverse=True)
        counts = np.bincount(places, weights[held:])
        shares = np.tile(counts / counts.sum(), (held, 1))
        return _likelihood(shares, classes, truth[:held], weights[:held])

    def score(self, basis: Any, truth: NDArray[Any], weights: NDArray[np.float64]) -> float:
        shares = self._model.predict_proba(basis)
        return _likelihood(shares, self._model.classes_, truth, weights)

    def logits(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (columns, classes) and bias (classes,) of all classes.

        One that is not among the rows has no weights, and begins as likely as one row of them.
        """
        found, intercept = self._model.coef_.T, self._model.intercept_
        if found.shape[1] == 1:  # of two classes the second's logit is given alone
            halves = np.array([-0.5, 0.5])
            found, intercept = found * halves, intercept * halves
        unseen = np.logaddexp.reduce(intercept) - np.log(self._rows)
        weights, bias = np.zeros((len(found), count)), np.full(count, unseen)
        weights[:, self._model.classes_], bias[self._model.classes_] = found, intercept
        return weights, bias


def _likelihood(
    shares: NDArray[Any],
    classes: NDArray[Any],
    truth: NDArray[Any],
    weights: NDArray[np.float64],
) -> float:
    """The weighted mean over the rows whose class is among those."""
    known = np.isin(truth, classes)
    if not known.any():
        return 0.0
    said = shares[known, np.searchsorted(classes, truth[known])]
    return float(np.average(np.log(np.maximum(said, 1e-12)), weights=weights[known]))


def _put(model: FusedModel, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    at = 0  # what the numbers have stands behind, and is left
    with torch.no_grad():
        for part in _parts(model):
            weight = part.embedding.weight
            weight.copy_(torch.from_numpy(weights[at : at + len(weight)]))
            at += len(weight)
        model.head.bias.add_(torch.from_numpy(bias))
