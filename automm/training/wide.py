"""Fits the linear model beside the network, and foretells each training row by what others teach.

A training row must not bring what a model says that has learnt from it: that is closer to its label
than what any other row will get, and the network would learn too little. So the rows are cut into
folds, and each is foretold by what the others teach (cross-fitting, as in stacking; Wolpert, 1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from automm.config.schema import OptimConfig
from automm.data.rows import Rows
from automm.models.wide import FORETOLD, Wide
from automm.training import devices
from automm.training.basis import Basis, names_read
from automm.training.calibrate import FEWEST, softmax, to_logits
from automm.training.linear import FOLDS, Floats, Learner, Logistic, Ridge, cross_fit
from automm_serve.answers import AnyAnswer, ClassesAnswer, ValuesAnswer
from automm_serve.tensors import BATCH, Tensors, TensorSpec

MOST_ROWS = 5000
"""To learn from; others are foretold by what these teach."""

MOST_WORK = 500_000
"""What the rows bring, times logits. Of more, fewer rows are read: a step of the fit costs that."""

MOST_FITTED = 100_000
"""Weights that are fitted; of more, what occurs in the fewest rows is left out. That, too."""

PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
"""On the squares of the weights; the first are found the fastest."""

_FORMS = ("bounded",), ("bent",), ("bounded", "distance"), ("bent", "bent distance")
"""Of numbers; the first is tried with each penalty."""

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
    basis = Basis(wide, rows, order)
    count = min(len(order), MOST_WORK * len(order) // max(1, basis.cells.nnz * width))
    if count < len(order):
        order = order[:count]
        basis = Basis(wide, rows, order)
    basis.keep(MOST_FITTED // width)
    is_classes = isinstance(answer, ClassesAnswer)
    truth = rows.targets["classes" if is_classes else "targets"][order].ravel()
    if count < max(FOLDS, 3 * width) or len(np.unique(truth)) < 2:
        return False  # of fewer than three rows a logit little can be learnt
    learner: Learner = Logistic(_weigh(optim, truth), width) if is_classes else Ridge()
    found = _choose(learner, basis, truth)
    if found is None:
        return False
    columns = basis.columns(found.forms)
    chosen = basis.cells[:, columns]
    basis.put(columns, *learner.fit(chosen, truth, np.arange(count), found.penalty))
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
        forms: Of the numbers.
        foretold: The logits, (rows, width).
    """

    loss: float
    penalty: float
    forms: tuple[str, ...]
    foretold: Floats


def _choose(learner: Learner, basis: Basis, truth: NDArray[Any]) -> _Found | None:
    """Choose the penalty, then the form of the numbers; None where a guess is as good."""
    guess = _Found(learner.loss(learner.guess(truth), truth), 0.0, _FORMS[0], np.empty(0))

    def attempt(best: _Found, forms: tuple[str, ...], penalties: Sequence[float]) -> _Found:
        """The best of these penalties, or what was better before."""
        cells = basis.cells[:, basis.columns(forms)]
        before = np.inf
        for penalty in penalties if cells.shape[1] else ():
            said = cross_fit(learner, cells, truth, penalty)
            loss = learner.loss(said, truth)
            if loss < best.loss:
                best = _Found(loss, penalty, forms, said)
            if loss >= before:
                break
            before = loss
        return best

    best = attempt(guess, _FORMS[0], PENALTIES)
    # Other forms are as many and as large, so that the penalty suits them too.
    for forms in _FORMS[1:] if basis.has_numbers else ():
        best = attempt(best, forms, PENALTIES if best is guess else (best.penalty,))
    return None if best is guess else best


def _foretell(wide: Wide, rows: Rows) -> NDArray[np.float32]:
    """What the linear model says of all rows, (rows, width)."""
    names = names_read(wide, rows)
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
