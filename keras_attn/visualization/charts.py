"""Small charts as inline SVG, coloured by the style sheet of the page that holds them."""

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 480, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 26, 42, 46
_MARKED = 40  # with more points than this the marks would hide the line


def line_chart(
    title: str,
    x_label: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float | None]]]],
    percent: bool = False,
) -> str:
    """Lines over a common x axis; the first is solid with discs, the second dashed with squares.

    `series` holds up to two `(name, [(x, y), ...])`; a y of None or not finite leaves a gap.
    With `percent` the axis goes from 0 to 1 and is labelled in percent.
    """
    series = [(name, [p for p in points if _finite(p[1])]) for name, points in series]
    series = [(name, points) for name, points in series if points]
    if not series:
        return f"<p>No numbers for the chart “{escape(title)}”.</p>"
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    y_ticks = [i / 5 for i in range(6)] if percent else ticks(min(ys), max(ys))
    x_ticks = [x for x in ticks(min(xs), max(xs), 6) if x == int(x) and min(xs) <= x <= max(xs)]
    plane = _Plane(min(xs), max(xs), y_ticks[0], y_ticks[-1])
    parts = [plane.y_axis(y_ticks, percent), plane.x_axis(x_ticks, x_label)]
    for number, (name, points) in enumerate(series):
        parts += [_line(plane, number, points), _legend(number, name)]
    said = "; ".join(f"{name} from {p[0][1]:.4g} to {p[-1][1]:.4g}" for name, p in series)
    return _svg(title, f"{title} over {len(set(xs))} values of {x_label}: {said}.", parts)


def reliability_chart(rows: Sequence[dict]) -> str:
    """Share correct over confidence, one disc a bin, its area the number of videos."""
    title = "Confidence and correctness"
    shares = [i / 5 for i in range(6)]
    plane = _Plane(0, 1, 0, 1)
    parts = [plane.y_axis(shares, True), plane.x_axis(shares, "mean confidence of the bin", True)]
    (x1, y1), (x2, y2) = plane.at(0, 0), plane.at(1, 1)
    parts.append(f'<line class="ideal" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    most = max(row["videos"] for row in rows)
    for row in rows:
        x, y = plane.at(row["confidence"], row["accuracy"])
        radius = 2.5 + 9 * math.sqrt(row["videos"] / most)
        parts.append(f'<circle class="bin" cx="{x}" cy="{y}" r="{radius:.1f}"/>')
    said = f"{len(rows)} bins; on the dashed diagonal, confidence equals the share correct."
    return _svg(title, said, parts)


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
    """Where the numbers lie on the picture."""

    def __init__(self, x_low, x_high, y_low, y_high):
        self.x_low, self.x_span = x_low, (x_high - x_low) or 1
        self.y_low, self.y_span = y_low, y_high - y_low

    def at(self, x, y):
        x = _LEFT + (x - self.x_low) / self.x_span * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - (y - self.y_low) / self.y_span * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    def y_axis(self, values, percent):
        parts = []
        for value in values:
            y = self.at(self.x_low, value)[1]
            label = f"{100 * value:.0f}%" if percent else f"{value:.5g}"
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
            )
            parts.append(f'<text x="{_LEFT - 9}" y="{y + 4}" text-anchor="end">{label}</text>')
        return "".join(parts)

    def x_axis(self, values, label, percent=False):
        base, parts = _HEIGHT - _BOTTOM, []
        for value in values:
            x = self.at(value, self.y_low)[0]
            words = f"{100 * value:.0f}%" if percent else f"{value:g}"
            parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="{base}" y2="{base + 5}"/>')
            parts.append(f'<text x="{x}" y="{base + 19}" text-anchor="middle">{words}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        place = f'x="{middle}" y="{_HEIGHT - 7}" text-anchor="middle"'
        parts.append(f'<text class="axis" {place}>{escape(label)}</text>')
        return "".join(parts)


def _line(plane, number, points):
    places = [plane.at(x, y) for x, y in points]
    path = " ".join(f"{x},{y}" for x, y in places)
    marks = places if len(places) <= _MARKED else places[-1:]
    drawn = "".join(_mark(number, x, y) for x, y in marks)
    return f'<g class="series{number}"><polyline points="{path}"/>{drawn}</g>'


def _mark(number, x, y):
    if number == 0:
        return f'<circle cx="{x}" cy="{y}" r="3"/>'
    return f'<rect x="{round(x - 3, 1)}" y="{round(y - 3, 1)}" width="6" height="6"/>'


def _legend(number, name):
    x, y = _LEFT + 130 * number, 20
    line = f'<polyline points="{x},{y} {x + 30},{y}"/>{_mark(number, x + 15, y)}'
    return (
        f'<g class="series{number}">{line}</g>'
        f'<text class="axis" x="{x + 38}" y="{y + 4}">{escape(name)}</text>'
    )


def _svg(title, description, parts):
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )
