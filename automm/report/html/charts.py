"""Small charts as SVG; their colours are classes of ``style``, so that light and dark both fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automm.report.html.markup import Markup, el

WIDTH, HEIGHT = 640, 260
BARS = 480
_MOST = 1e150
"""Beyond it numbers are drawn alike: differences of larger ones overflow."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 34


def bars(rows: Sequence[tuple[str, float, str]], *, ours: str) -> Markup:
    """Return bars beside each other's names, the value at each end; one is ours.

    Args:
        rows: Name, value, the value as text. Values may be negative or NaN.
        ours: Name of the bar that stands out.
    """
    rows = [(name, _bounded(value), text) for name, value, text in rows]
    known = [value for _, value, _ in rows if math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    span = (high - low) or 1.0
    start, room, step = 112, BARS - 112 - 76, 34
    zero = start + room * (0 - low) / span
    parts: list[Markup] = []
    for i, (name, value, text) in enumerate(rows):
        y = i * step
        parts.append(el("text", name, x=start - 10, y=y + 20, text_anchor="end", class_="name"))
        end = zero
        if math.isfinite(value):
            end = start + room * (value - low) / span
            left, width = min(zero, end), max(1.5, abs(end - zero))
            kind = "mark ours" if name == ours else "mark rival"
            parts.append(
                el("rect", x=_n(left), y=y + 6, width=_n(width), height=20, rx=3, class_=kind)
            )
        at = max(zero, end) + 8
        parts.append(el("text", text, x=_n(at), y=y + 21, class_="value"))
    return _svg(parts, BARS, len(rows) * step, "Scores side by side", snug=True)


def lines(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_label: str, y_label: str
) -> Markup:
    """Return lines over one pair of axes.

    Args:
        series: Name and points of each line, by growing x; values that are not finite are left out.
        x_label: Under the axis.
        y_label: Above the axis.
    """
    clean = [
        (name, [(x, _bounded(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)])
        for name, points in series
    ]
    points = [point for _, some in clean for point in some]
    if not points:
        return el("p", "There is nothing to draw.", class_="quiet")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    place = _Place(min(0.0, *xs), max(xs), min(ys), max(ys))
    parts = place.frame(x_label, y_label)
    for i, (name, some) in enumerate(clean):
        text = " ".join(f"{_n(place.x(x))},{_n(place.y(y))}" for x, y in some)
        parts.append(el("polyline", points=text, class_=f"line s{i}"))
        parts += [
            el("circle", el("title", f"{name}: {y:.4g} at {x:g}"), cx=_n(place.x(x)),
               cy=_n(place.y(y)), r=3, class_=f"dot s{i}")
            for x, y in some[-200:]
        ]  # fmt: skip
    return _svg(parts, WIDTH, HEIGHT, f"{y_label} by {x_label}")


def scatter(x: NDArray[np.float64], y: NDArray[np.float64], x_label: str, y_label: str) -> Markup:
    """Return points, and the diagonal on which they should lie."""
    x, y = np.clip(x, -_MOST, _MOST), np.clip(y, -_MOST, _MOST)
    low = float(min(x.min(), y.min()))
    high = float(max(x.max(), y.max()))
    place = _Place(low, high, low, high, height=400)
    parts = place.frame(x_label, y_label)
    a, b = (place.x(low), place.y(low)), (place.x(high), place.y(high))
    parts.append(el("line", x1=_n(a[0]), y1=_n(a[1]), x2=_n(b[0]), y2=_n(b[1]), class_="ideal"))
    parts += [
        el("circle", el("title", f"truth {p:.6g}, answer {q:.6g}"), cx=_n(place.x(p)),
           cy=_n(place.y(q)), r=3.5, class_="point")
        for p, q in zip(x.tolist(), y.tolist(), strict=True)
    ]  # fmt: skip
    return _svg(parts, WIDTH, 400, f"{y_label} by {x_label}")


def reliability(points: Sequence[tuple[float, float, int]], x_label: str, y_label: str) -> Markup:
    """Return dots from 0 to 1 on both axes, the larger the more rows, and their diagonal.

    Args:
        points: Confidence, accuracy, rows.
        x_label: Under the axis.
        y_label: Above the axis.
    """
    place = _Place(0.0, 1.0, 0.0, 1.0, height=320)
    parts = place.frame(x_label, y_label)
    ends = {"x1": place.x(0), "y1": place.y(0), "x2": place.x(1), "y2": place.y(1)}
    parts.append(el("line", class_="ideal", **{key: _n(value) for key, value in ends.items()}))
    most = max(rows for *_, rows in points)
    parts += [
        el("circle", el("title", f"{rows:,} rows: {x:.0%} sure, {y:.0%} right"), cx=_n(place.x(x)),
           cy=_n(place.y(y)), r=_n(3 + 9 * math.sqrt(rows / most)), class_="point")
        for x, y, rows in points
    ]  # fmt: skip
    return _svg(parts, WIDTH, 320, f"{y_label} by {x_label}")


class _Place:
    """Numbers -> places in the drawing."""

    def __init__(
        self, low_x: float, high_x: float, low_y: float, high_y: float, height: int = HEIGHT
    ) -> None:
        self.ticks_x, self.ticks_y = _ticks(low_x, high_x), _ticks(low_y, high_y)
        self.low_x, self.high_x = min(low_x, self.ticks_x[0]), max(high_x, self.ticks_x[-1])
        self.low_y, self.high_y = min(low_y, self.ticks_y[0]), max(high_y, self.ticks_y[-1])
        self.height = height

    def x(self, value: float) -> float:
        share = (value - self.low_x) / ((self.high_x - self.low_x) or 1)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low_y) / ((self.high_y - self.low_y) or 1)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def frame(self, x_label: str, y_label: str) -> list[Markup]:
        bottom, right = self.height - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for value in self.ticks_y:
            y = _n(self.y(value))
            parts.append(el("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid"))
            parts.append(
                el("text", f"{value:g}", x=_LEFT - 8, y=self.y(value) + 4, text_anchor="end",
                   class_="tick")
            )  # fmt: skip
        for value in self.ticks_x:
            parts.append(
                el("text", f"{value:g}", x=_n(self.x(value)), y=bottom + 16, text_anchor="middle",
                   class_="tick")
            )  # fmt: skip
        parts.append(
            el("text", x_label, x=right, y=self.height - 4, text_anchor="end", class_="axis")
        )
        parts.append(el("text", y_label, x=_LEFT, y=_TOP - 4, class_="axis"))
        return parts


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from just below to just above."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _svg(
    parts: Sequence[Markup], width: int, height: int, title: str, *, snug: bool = False
) -> Markup:
    drawing = el(
        "svg", el("title", title), parts,
        viewBox=f"0 0 {width} {height}", role="img", xmlns="http://www.w3.org/2000/svg",
        class_="snug" if snug else None,
    )  # fmt: skip
    return el("div", drawing, class_="wide")  # on a narrow screen it is moved, not shrunk


def _bounded(value: float) -> float:
    return value if math.isnan(value) else min(max(value, -_MOST), _MOST)


def _n(number: float) -> str:
    return f"{number:.1f}"
