"""The sections of the page, in the order in which a reader asks: is it any good, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct

from automm.data.column import ColumnReason
from automm.report import search as trials
from automm.report.html import charts
from automm.report.html.evidence import Evidence
from automm.report.html.markup import Markup, el, join
from automm.report.html.rows import worst_rows
from automm.report.html.slices import slice_rows
from automm.report.html.style import STYLE
from automm.report.html.sureness import sureness
from automm.search.record import SearchSummary
from automm_serve.answers import ClassesAnswer
from automm_serve.metrics import MetricLike

if TYPE_CHECKING:  # its file imports torch
    from automm.training.calibrate import Decision, Temperature

MOST_CLASSES = 20
"""In the confusion matrix: those with the most rows."""

OURS = "this predictor"


class Facts(Struct, frozen=True, kw_only=True):
    """What training said.

    Attributes:
        problem_type: Of the label.
        metric: What the best state was chosen by.
        greater_is_better: Of it.
        score: Of the predictor; of its rivals, None where there is none.
        trivial: That answers the classes' shares or the mean.
        linear: A linear model.
        advice: What to do where a rival is as good.
        scores: Other metrics.
        history: One entry for each validation.
        seconds: Part of the fit -> seconds.
        counts: Rows to train and to validate, and others; weights.
        reasons: What each column was taken for.
        notes: What was said in the course of the fit.
        kinds: Column that goes in -> ``image``, ``text``, ``number``, ``category``.
        made_by: Release.
        stopped: Why training ended.
        slice_by: The metric of slices, where it is no name.
        temperature: How probabilities were calibrated.
        decision: How the threshold between two classes was chosen.
        search: How settings were found, where that was by a search.
    """

    problem_type: str
    metric: str
    greater_is_better: bool
    score: float
    trivial: float
    linear: float | None
    advice: str
    scores: Mapping[str, float]
    history: Sequence[Mapping[str, float]]
    seconds: Mapping[str, float]
    counts: Mapping[str, int]
    reasons: Sequence[ColumnReason]
    notes: Sequence[str]
    kinds: dict[str, str]
    made_by: str
    stopped: str
    slice_by: MetricLike | None = None
    temperature: Temperature | None = None
    decision: Decision | None = None
    search: SearchSummary | None = None


def build_page(facts: Facts, evidence: Evidence, settings: Mapping[str, Any]) -> str:
    """Return the whole page."""
    title = f"{evidence.label}: {facts.problem_type}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # Nothing is fetched and nothing runs, whatever a cell holds.
        el("meta", http_equiv="Content-Security-Policy",
           content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
        el("title", title),
        Markup(f"<style>{STYLE}</style>"),
    )  # fmt: skip
    counts = ", ".join(f"{count:,} {name}" for name, count in facts.counts.items())
    body = el(
        "body",
        el(
            "main",
            el("h1", title),
            el("p", f"{counts}; {facts.seconds.get('all', math.nan):.0f} s; automm-edge "
               f"{facts.made_by}", class_="quiet"),
            _section("Is it worth its cost?", _comparison(facts)),
            _section("The data, as it was understood", _data(facts)),
            _section("How it learnt", _curve(facts)),
            _section("How its settings were found", _search(facts.search))
            if facts.search else None,
            _section(
                "What it confuses" if isinstance(evidence.answer, ClassesAnswer)
                else "Truth and answer",
                _from(evidence), _errors(evidence),
            ),
            _section("How sure it is", _from(evidence),
                     sureness(evidence, facts.temperature, facts.decision))
            if isinstance(evidence.answer, ClassesAnswer) else None,
            _section("The worst answers", _from(evidence), worst_rows(evidence, facts.kinds)),
            _section(f"{facts.metric} on parts of the rows", _from(evidence),
                     _slices(facts, evidence)),
            _section("Time", _times(facts)),
            _section("Settings", _settings(settings)),
        ),
    )  # fmt: skip
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _section(title: str, *parts: Markup | None) -> Markup:
    return el("section", el("h2", title), [part for part in parts if part is not None])


def _from(evidence: Evidence) -> Markup:
    """Where the figures come from: all rows, or a sample of them."""
    what = f"{evidence.rows:,} of {evidence.of:,} {evidence.what}"
    if evidence.rows == evidence.of:
        what = f"all {evidence.of:,} {evidence.what}"
    if evidence.left_out:
        what += f"; {evidence.left_out:,} have no answer or no label"
    return el("p", f"From {what}.", class_="note")


def _comparison(facts: Facts) -> Markup:
    rivals = [("trivial", facts.trivial), ("linear model", facts.linear), (OURS, facts.score)]
    shown = [(name, score, f"{score:.4g}") for name, score in rivals if score is not None]
    better = "more is better" if facts.greater_is_better else "less is better"
    verdict = el("p", facts.advice, class_="verdict bad") if facts.advice else el(
        "p",
        "Yes: it is better than "
        + ("both rivals." if facts.linear is not None else "the trivial predictor; there is no "
           "linear model to compare with."),
        class_="verdict good",
    )  # fmt: skip
    meanings = (
        "Trivial answers what is most frequent, or the mean. The linear model is TF-IDF, one-hot "
        "and standardised numbers with logistic or ridge regression; pictures it does not see."
    )
    return join(
        [
            verdict,
            charts.bars(shown, ours=OURS),
            el("p", f"{facts.metric} on the validation rows, {better}. {meanings}", class_="note"),
            _table(
                ("metric", "this predictor"),
                [(name, f"{score:.6g}") for name, score in facts.scores.items()],
                numbers=(1,),
            ),
        ]
    )


def _data(facts: Facts) -> Markup:
    rows = []
    for one in facts.reasons:
        kind = el("span", one.kind or "ignored", class_="chip")
        form = f" {one.subtype}" if one.subtype else ""
        why = [f"{one.rule}: {one.reason}" if one.rule else one.reason]
        if one.notice:
            why.append(el("div", one.notice, class_="warn"))
        size = one.counts.get("rows", 0) or math.nan
        missing = one.counts.get("missing", 0)
        cells = (
            el("td", one.name), el("td", kind, form),
            el("td", _missing(missing, size), class_="number"),
            el("td", f"{one.counts.get('distinct', 0):.0f}", class_="number"),
            el("td", why, class_="why"),
        )  # fmt: skip
        rows.append(el("tr", cells, class_=None if one.kind else "ignored"))
    notes = [el("li", note) for note in facts.notes]
    return join(
        [
            _rows(("column", "taken for", "missing", "distinct", "why"), rows, numbers=(2, 3)),
            el("ul", notes) if notes else None,
        ]
    )


def _missing(count: float, rows: float) -> str:
    if not count:
        return "0"
    share = count / rows
    return f"{count:.0f} ({'<1%' if share < 0.01 else format(share, '.0%')})"


def _curve(facts: Facts) -> Markup:
    scored = [(e["epoch"], e[facts.metric]) for e in facts.history if facts.metric in e]
    losses = [(e["epoch"], e["loss"]) for e in facts.history if "loss" in e]
    parts: list[Markup] = [charts.lines([(facts.metric, scored)], "epoch", facts.metric)]
    if losses:
        parts.append(charts.lines([("training loss", losses)], "epoch", "training loss"))
    stopped = {
        "max_epochs": "It ran through all its epochs.",
        "max_steps": "It ran through all its steps.",
        "patience": "It stopped as the score got no better.",
        "time_limit": "It stopped as its time was over.",
        "interrupted": "It was interrupted; the best state so far was kept.",
        "not_finite": "It stopped as a loss was not finite; the last good state was kept.",
    }.get(facts.stopped, f"It stopped: {facts.stopped}.")
    best = max if facts.greater_is_better else min
    if scored:
        epoch = best((point for point in scored if math.isfinite(point[1])),
                     key=lambda point: point[1], default=scored[-1])[0]  # fmt: skip
        stopped += f" The best single validation was after {epoch:g} epochs."
    return join([*parts, el("p", stopped, class_="note")])


def _search(found: SearchSummary) -> Markup:
    table = _table(trials.header(found), trials.rows(found), numbers=(1, 2, 3))
    return join([table, el("p", trials.title(found), class_="note")])


def _errors(evidence: Evidence) -> Markup:
    if not evidence.rows:
        return el("p", "There are no rows.", class_="quiet")
    if not isinstance(evidence.answer, ClassesAnswer):
        return charts.scatter(evidence.truth, evidence.prediction, "truth", "answer")
    return _matrix(evidence, evidence.answer)


def _matrix(evidence: Evidence, answer: ClassesAnswer) -> Markup:
    """Rows are the truth; a cell's shade is its share of the row."""
    count = len(answer.classes)
    found = np.zeros((count, count), int)
    np.add.at(found, (evidence.truth, evidence.prediction), 1)
    weight = found.sum(axis=1) + found.sum(axis=0)
    shown = sorted(np.argsort(-weight, kind="stable")[:MOST_CLASSES].tolist())
    head = el("tr", el("th"), [el("th", _name(answer, i), title=_name(answer, i)) for i in shown])
    rows = []
    for i in shown:
        total = int(found[i].sum())
        cells = [_cell(int(found[i, j]), total, right=i == j) for j in shown]
        rows.append(el("tr", el("th", f"{_name(answer, i)} ({total})", class_="row"), cells))
    note = "A row is a true class with its number of rows, a column what was answered."
    if count > MOST_CLASSES:
        note += f" The {MOST_CLASSES} most frequent of {count} classes."
    return join(
        [
            el("div", el("table", head, rows, class_="matrix"), class_="wide"),
            el("p", note, class_="note"),
        ]
    )


def _cell(count: int, total: int, *, right: bool) -> Markup:
    share = count / total if total else 0.0
    kind = " ".join(["right"] * right + ["strong"] * (share > 0.6))
    return el("td", count or "", class_=kind or None, style=f"--share:{share:.2f}")


def _name(answer: ClassesAnswer, code: int) -> str:
    return str(answer.classes[code])


def _slices(facts: Facts, evidence: Evidence) -> Markup:
    found = slice_rows(evidence, facts.kinds, facts.slice_by or facts.metric)
    if not found:
        return el("p", "No column has categories or gaps.", class_="quiet")
    rows = [
        (one.column, one.value, f"{one.rows:,}",
         "too few rows" if one.score is None
         else "not defined" if math.isnan(one.score) else f"{one.score:.4g}")
        for one in found
    ]  # fmt: skip
    return _table(("column", "is", "rows", facts.metric), rows, numbers=(2, 3))


def _times(facts: Facts) -> Markup:
    names = {"prepare": "reading and preparing rows", "train": "training and validating",
             "average": "averaging, linear model, scores", "all": "all"}  # fmt: skip
    rows = [(names.get(name, name), f"{took:.1f} s") for name, took in facts.seconds.items()]
    return _table(("part", "took"), rows, numbers=(1,))


def _settings(settings: Mapping[str, Any]) -> Markup:
    text = msgspec.json.format(msgspec.json.encode(settings), indent=2).decode()
    return el("details", el("summary", "Every setting of the run"), el("pre", text))


def _table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: tuple[int, ...] = ()
) -> Markup:
    lines = [
        el("tr", [el("td", cell, class_="number" if i in numbers else None)
                  for i, cell in enumerate(row)])
        for row in rows
    ]  # fmt: skip
    return _rows(header, lines, numbers)


def _rows(header: Sequence[str], lines: Sequence[Markup], numbers: tuple[int, ...] = ()) -> Markup:
    head = [el("th", name, class_="number" if i in numbers else None)
            for i, name in enumerate(header)]  # fmt: skip
    return el("div", el("table", el("tr", head), lines), class_="wide")
