"""What is fitted on the validation rows when the weights are done: temperature and threshold.

The temperature (Guo et al., 2017, arXiv:1706.04599) is one number that divides the logits: it makes
probabilities say how often an answer is right, and moves no answer. The threshold says from which
probability on the second of two classes is answered. The validation rows have chosen the weights
before, so that both fit them somewhat better than rows that are new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automm.config.schema import OptimConfig
from automm.models.fused import FusedModel
from automm.training import devices
from automm_serve.answers import ClassesAnswer
from automm_serve.decisions import best_threshold, pays
from automm_serve.metrics import Metric, find_metric
from automm_serve.tensors import Tensors

if TYPE_CHECKING:  # it brings Lightning, and what a predictor keeps of this file does not need it
    from automm.training.scoring import Scorer

FEWEST = 50
"""Rows; of fewer, chance has a larger say in the two than the model."""

COOLEST, HOTTEST = 0.1, 10.0
BINS = 15
DECIDES_BY = "f1"
"""What a threshold is fitted for where it is asked for and the metric reads probabilities."""

_SMALLEST = float(np.finfo(np.float32).tiny)
_HALVINGS = 50


class Temperature(Struct, frozen=True, kw_only=True):
    """How the probabilities were calibrated.

    Attributes:
        value: What the logits are divided by; 1 where nothing is gained.
        rows: It was fitted on.
        log_loss_before: Of these rows, at temperature 1.
        log_loss_after: At this one.
        ece_before: Expected calibration error: mean gap of confidence and accuracy over 15 bins.
        ece_after: At this temperature.
    """

    value: float
    rows: int
    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float


class Decision(Struct, frozen=True, kw_only=True):
    """How the threshold between two classes was chosen.

    Attributes:
        threshold: From this probability on the second class is answered.
        metric: That it was chosen by.
        rows: It was fitted on.
        before: The metric at one half.
        after: At the threshold.
    """

    threshold: float
    metric: str
    rows: int
    before: float
    after: float


class Calibrated(NamedTuple):
    """What came of it.

    Attributes:
        tensors: The answers to the validation rows as the graph gives them now.
        temperature: None where it was not asked for.
        decision: Likewise.
    """

    tensors: Tensors
    temperature: Temperature | None = None
    decision: Decision | None = None


def calibrate(
    scorer: Scorer, model: FusedModel, tensors: Tensors, optim: OptimConfig, metric: Metric
) -> Calibrated:
    """Fit what ``optim`` asks for, and put the temperature into the model.

    Args:
        scorer: Holds the validation rows.
        model: Its temperature is set.
        tensors: The graph's answers to these rows, at temperature 1.
        optim: Settings.
        metric: That answers will be judged by.
    """
    answer = scorer.answer
    if not isinstance(answer, ClassesAnswer):
        return Calibrated(tensors)
    codes = scorer.data.valid.targets["classes"]
    probabilities = tensors["probabilities"]
    temperature = None
    if optim.calibrate is not False:
        (value,) = devices.share([fit_temperature(probabilities, codes)])
        cooled = rescale(probabilities, value)
        temperature = Temperature(
            value=value,
            rows=len(codes),
            log_loss_before=log_loss(probabilities, codes),
            log_loss_after=log_loss(cooled, codes),
            ece_before=calibration_error(probabilities, codes),
            ece_after=calibration_error(cooled, codes),
        )
        assert model.temperature is not None
        model.temperature.fill_(value)
        probabilities = cooled
    decision = None
    if len(answer.classes) == 2 and (decider := _decider(optim, metric, len(codes))):
        decision = _decide(probabilities, codes, answer, decider)
    return Calibrated({**tensors, "probabilities": probabilities}, temperature, decision)


def at_its_best(scorer: Scorer, tensors: Tensors, decision: Decision | None) -> Scorer:
    """Return the scorer with the threshold that suits these answers, where one was fitted for it.

    So a rival is compared as the predictor is: each at the threshold that is its best.
    """
    if decision is None or decision.metric != scorer.chosen.name:
        return scorer
    probabilities, codes = tensors["probabilities"], scorer.data.valid.targets["classes"]
    assert isinstance(scorer.answer, ClassesAnswer)
    classes = scorer.answer.classes
    return scorer.at(best_threshold(codes, probabilities, classes, scorer.chosen))


def trivial_score(scorer: Scorer, decision: Decision | None) -> float:
    """Return the score of the predictor that has learned nothing.

    Where a threshold was fitted for the metric, one class for all rows is as good a guess: else a
    model that answers the rarer one everywhere would seem to have learned something by its F1.
    """
    tensors = scorer.trivial()
    best = scorer.of(tensors)
    if decision is not None and decision.metric == scorer.chosen.name:
        for threshold in (0.0, 1.0):
            score = scorer.at(threshold).of(tensors)
            best = score if scorer.is_better(score, best) else best
    return best


def fit_temperature(probabilities: NDArray[np.float32], codes: NDArray[np.int64]) -> float:
    """Return the temperature at which the log-loss is least; 1 where that gains nothing.

    The log-loss is convex in ``1 / temperature``, so that its slope is halved in on. Where no row
    speaks against ever more certain answers, there is no such temperature.

    Args:
        probabilities: float32 (rows, classes), at temperature 1. Their logarithms are the logits,
            but for a number in each row that softmax takes out again.
        codes: int64 (rows,), the true classes.

    Returns:
        One that float32 holds.
    """
    if len(codes) < FEWEST:
        return 1.0
    logits = to_logits(probabilities)
    true = logits[np.arange(len(codes)), codes]

    def slope(inverse: float) -> float:
        return float(((softmax(logits * inverse) * logits).sum(axis=1) - true).mean())

    low, high = 1 / HOTTEST, 1 / COOLEST
    if slope(high) <= 0:
        return 1.0
    if slope(low) >= 0:
        high = low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    found = float(np.float32(2 / (low + high)))
    gains = log_loss(rescale(probabilities, found), codes) < log_loss(probabilities, codes)
    return found if gains else 1.0


def rescale(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return the probabilities that the graph gives at another temperature than 1."""
    if temperature == 1:
        return probabilities
    return softmax(to_logits(probabilities) / temperature).astype(np.float32)


def log_loss(probabilities: NDArray[np.float32], codes: NDArray[np.int64]) -> float:
    """Return the metric ``log_loss``."""
    return float(find_metric("log_loss", "multiclass").function(codes, codes, probabilities, ()))


def calibration_error(probabilities: NDArray[np.float32], codes: NDArray[np.int64]) -> float:
    """Return the gap of confidence and accuracy, a mean over bins weighed by their rows."""
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == codes
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=right - sure, minlength=BINS)
    return float(np.abs(gaps).sum() / len(codes))


def _decider(optim: OptimConfig, metric: Metric, rows: int) -> Metric | None:
    """The metric to choose a threshold by; None where none is to be chosen."""
    wanted = optim.calibrate_decision_threshold
    if wanted is False or (wanted == "auto" and (rows < FEWEST or not pays(metric))):
        return None
    return metric if metric.needs == "prediction" else find_metric(DECIDES_BY, "binary")


def _decide(
    probabilities: NDArray[np.float32],
    codes: NDArray[np.int64],
    answer: ClassesAnswer,
    metric: Metric,
) -> Decision:
    def score(threshold: float) -> float:
        guesses = answer.decide(probabilities, threshold)
        return float(metric.function(codes, guesses, probabilities, answer.classes))

    found = best_threshold(codes, probabilities, answer.classes, metric)
    (threshold,) = devices.share([found])
    return Decision(
        threshold=threshold,
        metric=metric.name,
        rows=len(codes),
        before=score(answer.threshold),
        after=score(threshold),
    )


def to_logits(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return logits (rows, classes) that give these probabilities at temperature 1."""
    logits: NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    return logits


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities (rows, classes) that these logits give."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares
