"""Rows as the page shows them: the worst answers, their cells, small pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from automm.report.html.evidence import Evidence
from automm.report.html.markup import Markup, el
from automm_serve.answers import ClassesAnswer
from automm_serve.cells import is_gap
from automm_serve.pictures import encoded, pictures_of, to_pixels

MOST_WORST = 12
ALMOST_CERTAIN = 0.05
"""Cost of a class that is answered rightly with 95 per cent: below it there is nothing to see."""

MOST_PICTURES = 3
MOST_LETTERS = 240
THUMB = 96
"""Pixels of a small picture's longer side."""


def worst_rows(evidence: Evidence, kinds: dict[str, str]) -> Markup:
    """Return the rows whose answers are furthest off, worst first, each with its cells."""
    order = np.argsort(-evidence.cost, kind="stable")[:MOST_WORST]
    least = ALMOST_CERTAIN if isinstance(evidence.answer, ClassesAnswer) else 0.0
    cards = [_card(evidence, int(row), kinds) for row in order if evidence.cost[row] > least]
    if not cards:
        return el("p", "Every answer is right, and nearly certain.", class_="quiet")
    return el("div", cards, class_="worst")


def _card(evidence: Evidence, row: int, kinds: dict[str, str]) -> Markup:
    pictures: list[Markup] = []
    cells: list[Markup] = []
    for name, kind in kinds.items():
        cell = evidence.table[name][row]
        if kind == "image":
            found = thumbnails(cell)
            pictures += found[: MOST_PICTURES - len(pictures)]
            if not found:
                cells += [el("dt", name), el("dd", "no picture", class_="quiet")]
            continue
        shown = el("dd", "missing", class_="quiet") if is_gap(cell) else el("dd", shorten(cell))
        cells += [el("dt", name), shown]
    return el(
        "article",
        el("h3", _heading(evidence, row)),
        el("div", pictures, class_="thumbs") if pictures else None,
        el("dl", cells, class_="cells"),
    )


def _heading(evidence: Evidence, row: int) -> list[Markup | str]:
    truth = shorten(evidence.labels[row])
    if isinstance(evidence.answer, ClassesAnswer):
        guess = evidence.answer.classes[int(evidence.prediction[row])]
        sure = float(evidence.probabilities[row, int(evidence.prediction[row])])
        own = float(evidence.probabilities[row, int(evidence.truth[row])])
        if evidence.prediction[row] == evidence.truth[row]:
            return [f"{truth}, answered rightly at {own:.2f}"]
        return [
            f"{truth} ({own:.2f}), answered ",
            el("span", f"{guess} ({sure:.2f})", class_="warn"),
        ]
    guess = evidence.prediction[row]
    return [f"{truth}, answered ", el("span", f"{guess:.6g}", class_="warn"),
            f" ({guess - evidence.truth[row]:+.4g})"]  # fmt: skip


def thumbnails(cell: object) -> list[Markup]:
    """Return a cell's pictures as small ones inside the page; those that cannot be read are out."""
    found = []
    try:
        pictures = pictures_of(cell)[:MOST_PICTURES]
    except ValueError:
        return []
    for picture in pictures:
        try:
            with Image.open(io.BytesIO(encoded(picture))) as opened:
                width, height = opened.size
            scale = THUMB / max(width, height, 1)
            size = max(1, round(height * scale)), max(1, round(width * scale))
            pixels = to_pixels(picture, *size)
        except (ValueError, OSError):
            continue
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
        text = base64.b64encode(file.getvalue()).decode()
        found.append(el("img", src=f"data:image/jpeg;base64,{text}", alt="picture of the row"))
    return found


def shorten(cell: object) -> str:
    """Return a cell as text, cut where it is long."""
    text = f"{cell:.6g}" if isinstance(cell, float | np.floating) else str(cell)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
