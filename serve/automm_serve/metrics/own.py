"""Metrics of a user's own: a function, a scorer as AutoGluon makes them, or an entry point.

A function takes ``(truth, prediction, probabilities, classes)`` as every metric here does, and may
say by attributes ``name``, ``greater_is_better`` (True), ``problem_types`` (all) and ``needs`` what
it is. A distribution offers its metrics by the entry-point group ``automm.metrics``, name ->
function; they are then usable by name, in training, on a bundle and through a server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

import numpy as np

from automm_serve.errors import ConfigError
from automm_serve.metrics.metric import CLASSES, NUMBERS, Array, Metric, Score

GROUP = "automm.metrics"

MetricLike: TypeAlias = str | Metric | Callable[..., Any]
"""Name of a metric, or one of a user's own."""


def own_metrics() -> dict[str, EntryPoint]:
    """Return the entry points of other distributions by name; none is loaded."""
    return {point.name: point for point in entry_points(group=GROUP)}


def as_metric(scorer: object, name: str | None = None) -> Metric:
    """Return a user's function or scorer as a metric.

    Args:
        scorer: A ``Metric``, a function as every metric here, or a scorer with AutoGluon's
            attributes (``needs_proba``, ``needs_threshold``, ``sign``).
        name: What it is called; its own name where None.

    Raises:
        ConfigError: It cannot be called, or has no name.
    """
    if isinstance(scorer, Metric):
        return scorer
    called = name or getattr(scorer, "name", None) or getattr(scorer, "__name__", None)
    if not callable(scorer) or not isinstance(called, str):
        raise ConfigError(
            where=f"metric {scorer!r}",
            what="it is neither a name nor a function with one",
            mend="Pass a name, or a function of (truth, prediction, probabilities, classes)",
        )
    if hasattr(scorer, "needs_proba") and hasattr(scorer, "sign"):
        return _of_autogluon(scorer, called)
    return Metric(
        called,
        scorer,
        tuple(getattr(scorer, "problem_types", (*CLASSES, *NUMBERS))),
        greater_is_better=bool(getattr(scorer, "greater_is_better", True)),
        needs=getattr(scorer, "needs", "prediction"),
        meaning="of a user's own",
    )


def _of_autogluon(scorer: Any, name: str) -> Metric:
    """A scorer of ``autogluon.core.metrics.make_scorer``; what it flips is flipped back."""
    asks = bool(scorer.needs_proba or getattr(scorer, "needs_threshold", False))

    def compute(
        truth: Array, prediction: Array, probabilities: Array, classes: Sequence[object]
    ) -> float:
        given = prediction
        if asks and len(classes):
            given = probabilities[:, 1] if len(classes) == 2 else probabilities
        return float(scorer(truth, np.asarray(given)) * scorer.sign)

    function: Score = compute
    return Metric(
        name,
        function,
        (*CLASSES, *NUMBERS),
        greater_is_better=scorer.sign > 0,
        needs="probabilities" if asks else "prediction",
        meaning="of a user's own",
    )
