"""What a search has tried, and what came of it: kept while it runs, and in the predictor after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from automm.config.search import Range, SearchSpace

Status = Literal["running", "finished", "stopped", "failed"]


class Validation(Struct, frozen=True):
    """A validation of a trial.

    Attributes:
        epoch: After so many, a fraction.
        score: By the metric; None where it was no number.
    """

    epoch: float
    score: float | None


class Trial(Struct, frozen=True, kw_only=True):
    """One fit of a search.

    Attributes:
        number: From 1 on.
        settings: What it was tried with, by key.
        status: ``stopped``: the scheduler ended it, and it has no predictor.
        score: Of its predictor, where it has finished; else the best so far, None before any.
        epochs: That it has learnt for.
        seconds: It took.
        history: Its validations.
        what: Why it has failed.
    """

    number: int
    settings: dict[str, Any]
    status: Status = "running"
    score: float | None = None
    epochs: float = 0.0
    seconds: float = 0.0
    history: tuple[Validation, ...] = ()
    what: str = ""


class SearchSummary(Struct, frozen=True, kw_only=True):
    """How a search went.

    Attributes:
        metric: What trials were compared by.
        greater_is_better: Of it.
        searcher: ``bayes`` or ``random``.
        scheduler: ``ASHA`` or ``FIFO``.
        ranges: Setting -> what it was varied over.
        trials: All of them.
        best: Number of the one that became the predictor.
        seconds: Of the whole.
    """

    metric: str
    greater_is_better: bool
    searcher: str
    scheduler: str
    ranges: dict[str, Range]
    trials: tuple[Trial, ...]
    best: int
    seconds: float


def summarize(
    space: SearchSpace,
    trials: Sequence[Trial],
    metric: str,
    *,
    greater_is_better: bool,
    seconds: float,
) -> SearchSummary:
    """Return the record of a search of which at least one trial has finished."""
    return SearchSummary(
        metric=metric,
        greater_is_better=greater_is_better,
        searcher=space.searcher,
        scheduler=space.scheduler,
        ranges=dict(space.ranges),
        trials=tuple(trials),
        best=rank(trials, greater_is_better=greater_is_better)[0].number,
        seconds=round(seconds, 2),
    )


def rank(trials: Sequence[Trial], *, greater_is_better: bool) -> list[Trial]:
    """Return the trials that have finished, the best first; of equal ones, the earlier first."""
    done = [trial for trial in trials if trial.status == "finished"]
    return sorted(done, key=lambda one: -goodness(one.score, greater_is_better=greater_is_better))


def goodness(score: float | None, *, greater_is_better: bool) -> float:
    """Return a score such that more is better; what is no number is worst."""
    if score is None or not math.isfinite(score):
        return -math.inf
    return score if greater_is_better else -score
