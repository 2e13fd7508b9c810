"""What a trained predictor gives to its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from automm.report.html import Facts, write_report
from automm.report.html.evidence import gather
from automm_serve.errors import ConfigError
from automm_serve.metrics import Metric, find_metric
from automm_serve.predicts import Predicts
from automm_serve.tensors import Table

if TYPE_CHECKING:  # the record's file imports torch
    from automm.saved import Saved

SHARE_OF_TIME = 0.05
"""Of the fit, that answering rows for the page may take."""


def report_predictor(
    predictor: Predicts,
    saved: Saved,
    table: Table,
    path: Path,
    *,
    what: str = "validation rows",
    own_metric: Metric | None = None,
) -> Path:
    """Write a predictor's page.

    Args:
        predictor: Answers rows.
        saved: What is known of it.
        table: Rows with the label: those that it was validated on, or others.
        path: Of the file.
        what: What the rows are.
        own_metric: The metric that training chose by, where it was a function.

    Returns:
        The path.
    """
    record, trained = saved.record, saved.trained
    summary = record.summary
    answer = predictor.answers["predict"]
    budget = max(1.0, SHARE_OF_TIME * summary.seconds.get("all", 0.0))
    evidence = gather(predictor.run, answer, table, what=what, budget_s=budget)
    kind = trained.pipeline.problem_type
    metric = own_metric or _metric(summary.metric, kind)
    facts = Facts(
        problem_type=kind,
        metric=summary.metric,
        greater_is_better=metric.greater_is_better,
        score=summary.score,
        trivial=summary.trivial,
        linear=summary.linear,
        advice=advice(summary.beats_trivial, summary.beats_linear),
        scores=summary.scores,
        history=summary.history,
        seconds=summary.seconds,
        counts={
            "training rows": summary.rows["train"],
            "validation rows": summary.rows["valid"],
            "weights": sum(p.numel() for p in trained.model.parameters()),
        },
        reasons=record.reasons,
        notes=list(getattr(summary, "notes", ())),
        kinds={
            column.name: column.kind
            for column in trained.pipeline.schema.columns
            if column.name in evidence.table  # rows given later may lack one that may be absent
        },
        made_by=record.made_by,
        stopped=summary.stopped,
        slice_by=metric,
        temperature=summary.temperature,
        decision=summary.decision,
        search=summary.search,
    )
    settings: dict[str, Any] = msgspec.to_builtins(trained.config)
    return write_report(path, facts, evidence, settings)


def advice(beats_trivial: bool, beats_linear: bool | None) -> str:
    """Return what to do where a rival is as good; the empty text where none is."""
    if not beats_trivial:
        return (
            "No: it has learnt nothing that shows. Look at the columns below, train longer, or "
            "change optim.lr."
        )
    if beats_linear is False:
        return (
            "No: a linear model is as good. Train longer (optim.max_epochs), on more rows, or with "
            "a larger preset; or take a linear model, which costs less."
        )
    return ""


def _metric(name: str, kind: str) -> Metric:
    """The metric by name; of a user's function that is gone, at least its name."""
    try:
        return find_metric(name, kind)
    except ConfigError:
        default = {"binary": "accuracy", "multiclass": "accuracy", "regression": "rmse"}[kind]
        return find_metric(default, kind)
