"""A search as a table: its trials, the best first."""

from __future__ import annotations

from collections.abc import Iterable

from automm.search.record import SearchSummary, Trial, rank

MOST = 20
"""Trials that are shown."""


def title(found: SearchSummary) -> str:
    """Return what was searched, in a line."""
    count = len(found.trials)
    shown = f", the first {MOST} of them" if count > MOST else ""
    return f"{count} trials ({found.searcher}, {found.scheduler}) in {found.seconds:.0f} s{shown}"


def header(found: SearchSummary) -> tuple[str, ...]:
    """Return the names of the columns."""
    return ("trial", found.metric, "epochs", "s", "", *found.ranges)


def rows(found: SearchSummary) -> list[tuple[str, ...]]:
    """Return a row for each trial: those that have finished by their score, then the others."""
    best = rank(found.trials, greater_is_better=found.greater_is_better)
    others = (trial for trial in found.trials if trial.status != "finished")
    return [_row(found, trial) for trial in [*best, *others][:MOST]]


def _row(found: SearchSummary, trial: Trial) -> tuple[str, ...]:
    score = "" if trial.score is None else f"{trial.score:.4g}"
    state = "best" if trial.number == found.best else trial.status
    values = _values(trial.settings.get(key) for key in found.ranges)
    return (str(trial.number), score, f"{trial.epochs:g}", f"{trial.seconds:.1f}", state, *values)


def _values(values: Iterable[object]) -> list[str]:
    return [f"{one:.3g}" if isinstance(one, float) else str(one) for one in values]
