"""Fits the linear model beside the network, and foretells each training row by what others teach.

A training row must not bring what a model says that has learnt from it: that is closer to its label
than what any other row will get, and the network would learn too little. So the rows are cut into
folds, and each is foretold by what the others teach (cross-fitting, as in stacking; Wolpert, 1992).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from automm.config.schema import OptimConfig
from automm.data.rows import Rows
from automm.models.wide import FORETOLD, FORMS, NumbersPart, Part, TokensPart, Wide
from automm.training import devices
from automm.training.calibrate import FEWEST, softmax, to_logits
from automm.training.linear import FOLDS, Floats, Learner, Logistic, Ridge, cross_fit
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.tensors import BATCH, Tensors, TensorSpec

MOST_ROWS = 5000
"""To learn from; others are foretold by what these teach."""

MOST_WORK = 1_000_000
"""What the rows bring, times logits: what a step of the fit costs. Of more, fewer rows are read."""

PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
"""On the squares of the weights; the first are found the fastest."""

_CHOICES = (
    ("bounded",),
    ("bent",),
    ("bounded", "distance"),
    ("bent", "bent distance"),
)
"""Forms of the numbers that are tried."""

_AT_ONCE = 1024
_SHARES = np.linspace(0.0, 1.0, 21)
_SAME = 1e-6
"""Losses no further apart are alike; of those the network's largest share is taken."""


def fit_wide(wide: Wide, rows: Rows, answer: AnyAnswer, optim: OptimConfig, seed: int) -> bool:
    """Fit the linear model, and let each row bring what the others foretell of it.

    The same rows give the same in every process and after a resume: no clock is asked.

    Args:
        wide: Its weights are set.
        rows: To learn from.
        answer: What is to be answered.
        optim: Says what an example of each class weighs.
        seed: For the choice of the rows, and for the folds.

    Returns:
        Whether it foretells more than the label's mean or shares do; else nothing is changed.
    """
    width = len(wide.bias)
    order = np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS]
    basis = _Basis(wide, rows, order)
    count = min(len(order), MOST_WORK * len(order) // max(1, basis.cells.nnz * width))
    order, cells = order[:count], basis.cells[:count]
    is_classes = isinstance(answer, ClassesAnswer)
    truth = rows.targets["classes" if is_classes else "targets"][order].ravel()
    if count < max(FOLDS, 3 * width) or len(np.unique(truth)) < 2:
        return False  # of fewer than three rows a logit little can be learnt
    learner: Learner = Logistic(_weigh(optim, truth), width) if is_classes else Ridge()
    found = _choose(learner, basis, cells, truth)
    if found is None:
        return False
    weights = np.zeros((cells.shape[1], width))
    weights[found.columns], bias = learner.fit(
        cells[:, found.columns], truth, np.arange(count), found.penalty
    )
    basis.put(weights, bias)
    every = _foretell(wide, rows)
    every[order] = found.foretold
    rows.keep(TensorSpec(FORETOLD, "float32", (BATCH, width)), every)
    return True


def settle_share(wide: Wide, valid: Rows, answer: AnyAnswer, tensors: Tensors) -> Tensors:
    """Fit how much of the network there is beside the linear model.

    The network may have learnt what holds for the training rows alone.

    Args:
        wide: Its share is set.
        valid: Rows to choose by.
        answer: What is answered.
        tensors: What the graph says of these rows at share 1.

    Returns:
        What it says at the share that is set.
    """
    if len(valid) < FEWEST:
        return tensors
    name = answer.reads[0]
    alone = _foretell(wide, valid).astype(np.float64)
    if isinstance(answer, ClassesAnswer):
        both = to_logits(tensors[name])
        learner: Learner = Logistic(np.ones(len(valid)), alone.shape[1])
        truth = valid.targets["classes"]
    else:
        assert isinstance(answer, ValuesAnswer)
        both = (tensors[name].astype(np.float64) - answer.mean) / answer.deviation
        learner, truth = Ridge(), valid.targets["targets"].ravel()
    losses = np.array([learner.loss(alone + s * (both - alone), truth) for s in _SHARES])
    share = float(_SHARES[losses <= losses.min() + _SAME].max())
    (share,) = devices.share([share])
    wide.share.fill_(share)
    if share == 1:
        return tensors
    mixed = alone + share * (both - alone)
    if isinstance(answer, ClassesAnswer):
        return {**tensors, name: softmax(mixed).astype(np.float32)}
    return {**tensors, name: (mixed * answer.deviation + answer.mean).astype(np.float32)}


class _Found(NamedTuple):
    """What foretells the folds best.

    Attributes:
        loss: Of what is foretold.
        penalty: On the squares of the weights.
        columns: Of the basis that are in.
        foretold: The logits, (rows, width).
    """

    loss: float
    penalty: float
    columns: NDArray[np.intp]
    foretold: Floats


def _choose(learner: Learner, basis: _Basis, cells: Any, truth: NDArray[Any]) -> _Found | None:
    """Choose the penalty, then the form of the numbers; None where a guess is as good."""
    best = None
    least = learner.loss(learner.guess(truth), truth)
    for forms in _CHOICES if basis.has_numbers else _CHOICES[:1]:
        columns = basis.columns(forms)
        # The other forms are about as many and as large: the penalty that suits one suits them.
        for penalty in PENALTIES if best is None else (best.penalty,):
            said = cross_fit(learner, cells[:, columns], truth, penalty)
            loss = learner.loss(said, truth)
            if loss < least:
                least, best = loss, _Found(loss, penalty, columns, said)
            elif best is not None:
                break
    return best


class _Basis:
    """What rows bring, a column for each place of a linear model that occurs among them.

    Attributes:
        cells: Sparse, float64 (rows, columns).
    """

    def __init__(self, wide: Wide, rows: Rows, order: NDArray[np.intp]) -> None:
        from scipy import sparse

        self._wide = wide
        self._used: list[NDArray[np.intp]] = []
        self._scales: list[Floats] = []
        forms: list[NDArray[np.intp]] = []  # of the numbers; -1 for what has none
        tensors = rows.kept(_names(wide, rows), order)
        blocks = []
        for part in wide.parts.values():
            assert isinstance(part, Part)
            places = part.places(tensors).numpy()
            starts = np.arange(0, places.size + 1, places.shape[1])
            amounts = part.amounts(tensors).numpy().astype(np.float64)
            shape = (len(places), len(part.weight))
            block = sparse.csr_matrix((amounts.ravel(), places.ravel(), starts), shape=shape)
            block.sum_duplicates()
            block.eliminate_zeros()
            used = np.unique(block.indices)
            block = block[:, used]
            scales = _rarity(block) if isinstance(part, TokensPart) else np.ones(len(used))
            blocks.append(block @ sparse.diags(scales))
            self._used.append(used)
            self._scales.append(scales)
            none = np.full(len(used), -1)
            forms.append(part.form_of(used) if isinstance(part, NumbersPart) else none)
        self.cells = sparse.hstack(blocks).tocsr()
        self._forms = np.concatenate(forms)

    @property
    def has_numbers(self) -> bool:
        """Whether there is anything to choose a form for."""
        return bool((self._forms >= 0).any())

    def columns(self, forms: Collection[str]) -> NDArray[np.intp]:
        """Return the columns of these forms, and those that have none."""
        wanted = [-1, *(FORMS.index(form) for form in forms)]
        return np.flatnonzero(np.isin(self._forms, wanted))

    def put(self, weights: Floats, bias: Floats) -> None:
        """Put weights (columns, width) and bias (width,) into the linear model."""
        at = 0
        self._wide.bias.copy_(torch.from_numpy(bias))
        for part, used, scales in zip(
            self._wide.parts.values(), self._used, self._scales, strict=True
        ):
            assert isinstance(part, Part)
            fitted = weights[at : at + len(used)] * scales[:, None]
            part.weight.zero_()
            part.weight[torch.from_numpy(used)] = torch.from_numpy(fitted).float()
            at += len(used)


def _rarity(block: Any) -> Floats:
    """Inverse document frequency of each column, such that a row's length is 1 in the mean."""
    rows = block.shape[0]
    counts = np.bincount(block.indices, minlength=block.shape[1])
    found = np.log((1 + rows) / (1 + counts))
    lengths = block.multiply(block) @ np.square(found)
    return np.asarray(found / max(1e-6, float(np.sqrt(np.mean(lengths)))))


def _names(wide: Wide, rows: Rows) -> list[str]:
    """The tensors that it reads."""
    read = {key.rpartition("_")[0] for key in wide.parts}
    return [s.name for p in rows.processors if p.name in read for s in p.specs()]


def _foretell(wide: Wide, rows: Rows) -> NDArray[np.float32]:
    """What the linear model says of all rows, (rows, width)."""
    names = _names(wide, rows)
    found = np.empty((len(rows), len(wide.bias)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), _AT_ONCE):
            chosen = np.arange(start, min(start + _AT_ONCE, len(rows)))
            found[chosen] = wide(rows.kept(names, chosen)).numpy()
    return found


def _weigh(optim: OptimConfig, truth: NDArray[np.int64]) -> Floats:
    """What the loss says that each row weighs."""
    given = optim.focal_loss.alpha if optim.loss_func == "focal_loss" else optim.class_weights
    if not isinstance(given, tuple):
        return np.ones(len(truth))
    return np.array(given)[truth]
