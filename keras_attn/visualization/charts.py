"""Small charts as inline SVG, colored by the style sheet of the page that holds them.

Here is the arithmetic of places and labels; `templates/chart.svg.j2` draws them.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup

from keras_attn.visualization.html import render

_WIDTH, _HEIGHT = 480, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 26, 42, 46
_MAXIMUM_MARKS = 40  # with more points the marks would hide the line


def line_chart(
    title: str,
    x_label: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float | None]]]],
    percent: bool = False,
) -> Markup:
    """Draw lines over a common x axis; the first is solid with discs, the second dashed.

    `series` holds up to two `(name, [(x, y), ...])`; a y of None or not finite leaves a gap.
    With `percent` the axis goes from 0 to 1 and is labeled in percent.
    """
    series = [(name, [p for p in points if _finite(p[1])]) for name, points in series]
    series = [(name, points) for name, points in series if points]
    if not series:
        return Markup("<p>No numbers for the chart “{}”.</p>").format(title)
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    y_ticks = [i / 5 for i in range(6)] if percent else ticks(min(ys), max(ys))
    x_ticks = [x for x in ticks(min(xs), max(xs), 6) if x == int(x) and min(xs) <= x <= max(xs)]
    plane = _Plane(min(xs), max(xs), y_ticks[0], y_ticks[-1])
    lines = [(name, [plane.at(x, y) for x, y in points]) for name, points in series]
    ranges = "; ".join(f"{name} from {p[0][1]:.4g} to {p[-1][1]:.4g}" for name, p in series)
    return _drawn(
        plane,
        title=title,
        description=f"{title} over {len(set(xs))} values of {x_label}: {ranges}.",
        x_label=x_label,
        x_ticks=[(x, f"{x:g}") for x in x_ticks],
        y_ticks=[(y, f"{100 * y:.0f}%" if percent else f"{y:.5g}") for y in y_ticks],
        lines=[
            (name, points, points if len(points) <= _MAXIMUM_MARKS else points[-1:])
            for name, points in lines
        ],
    )


def reliability_chart(rows: Sequence[dict]) -> Markup:
    """Draw accuracy over confidence, one disc per bin, its area the number of videos."""
    plane = _Plane(0, 1, 0, 1)
    shares = [(i / 5, f"{20 * i}%") for i in range(6)]
    most = max(row["videos"] for row in rows)
    return _drawn(
        plane,
        title="Confidence and correctness",
        description=f"{len(rows)} bins; on the dashed diagonal, confidence equals accuracy.",
        x_label="mean confidence of the bin",
        x_ticks=shares,
        y_ticks=shares,
        diagonal=(plane.at(0, 0), plane.at(1, 1)),
        discs=[
            (*plane.at(row["confidence"], row["accuracy"]), 2.5 + 9 * (row["videos"] / most) ** 0.5)
            for row in rows
        ],
    )


def _drawn(plane, *, x_ticks, y_ticks, **values):
    box = {"width": _WIDTH, "height": _HEIGHT, "left": _LEFT, "right": _WIDTH - _RIGHT}
    return render(
        "chart.svg.j2",
        **box,
        base=_HEIGHT - _BOTTOM,
        x_ticks=[(plane.at(x, plane.y_low)[0], label) for x, label in x_ticks],
        y_ticks=[(plane.at(plane.x_low, y)[1], label) for y, label in y_ticks],
        **values,
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers at equal steps that reach from `low` or below to `high` or above."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _finite(value):
    return value is not None and math.isfinite(value)


class _Plane:
    """Maps numbers to places in the picture."""

    def __init__(self, x_low, x_high, y_low, y_high):
        self.x_low, self.x_span = x_low, (x_high - x_low) or 1
        self.y_low, self.y_span = y_low, y_high - y_low

    def at(self, x, y):
        x = _LEFT + (x - self.x_low) / self.x_span * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - (y - self.y_low) / self.y_span * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)
