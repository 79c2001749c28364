"""One self-contained page about a run: data, training, evaluation and where the model looked.

The page holds its pictures and charts itself, runs no script and loads nothing from elsewhere.
All text is escaped: class and file names come from whoever made the data set.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from keras_attn import __version__
from keras_attn.metrics.classification import Summary
from keras_attn.utils import files
from keras_attn.visualization import charts, report_sections
from keras_attn.visualization.html import STYLE, table

_PICTURE = re.compile(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+")
# A second lock beside the escaping: the browser itself refuses scripts and foreign addresses.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclasses.dataclass(frozen=True)
class Example:
    """One video to look at; `picture` is a `data:image/...` address (overlay.jpeg_data_uri)."""

    title: str
    caption: str
    picture: str


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything the page tells; a subset that is left empty is left out of the page."""

    title: str
    subtitle: str = ""
    metrics: Summary | None = None
    notes: Sequence[str] = ()  # what a reader must know to judge the numbers
    data: Sequence[Mapping] = ()  # rows of one table, e.g. subset, found, usable, used, note
    history: Sequence[Mapping] = ()  # rows of history.csv; numbers may still be text
    recipe: Sequence[tuple] = ()  # (field, value, note)
    best: Sequence[Example] = ()
    worst: Sequence[Example] = ()
    environment: Sequence[tuple] = ()  # (name, version or hash)


def write_report(path, report: Report) -> None:
    """Write the page, whole or not at all."""
    sections = [
        ("result", "Result", report_sections.result(report.metrics, report.notes)),
        ("data", "Data", _data(report.data)),
        ("training", "Training", _training(report.history)),
        ("classes", "Classes", report_sections.classes(report.metrics)),
        ("confusion", "Confusion", report_sections.confusion(report.metrics)),
        ("calibration", "Calibration", report_sections.calibration(report.metrics)),
        ("examples", "Where it looked", _examples(report.best, report.worst)),
        ("recipe", "Recipe", table(("Setting", "Value", "Note"), report.recipe)),
        ("environment", "Environment", table(("What", "Version"), report.environment)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in sections)
    bodies = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{name}</h2>'
        f"{body}</section>"
        for key, name, body in sections
    )
    title = escape(report.title)
    subtitle = f'<p class="soft">{escape(report.subtitle)}</p>' if report.subtitle else ""
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}</style></head>
<body><div class="page"><header><h1>{title}</h1>{subtitle}</header>
<nav aria-label="Contents"><ol>{links}</ol></nav>
<main>{bodies}</main>
<footer>Written by keras_attn {__version__}. This page is complete in itself: it runs no script
and loads nothing.</footer></div></body></html>
"""
    files.write_atomic(path, _visible(page))


def report_dict(report: Report) -> dict:
    """The same numbers for `files.write_json`, without the pictures; not finite becomes None."""
    plain = _plain(dataclasses.asdict(report))
    for example in (*plain["best"], *plain["worst"]):
        del example["picture"]
    return plain


def _plain(value):
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int | float | None):
        return value
    return _visible(str(value)).decode()


def _visible(text):
    """As UTF-8; lone surrogates, which stand for bytes of file names that are not, as escapes."""
    return text.encode("utf-8", "backslashreplace")


def _data(rows):
    if not rows:
        return ""
    head = list(dict.fromkeys(key for row in rows for key in row))
    numbers = [
        i for i, key in enumerate(head) if all(isinstance(row.get(key, 0), int) for row in rows)
    ]
    cells = [[row.get(key) for key in head] for row in rows]
    return table([key.replace("_", " ").capitalize() for key in head], cells, numbers=numbers)


def _number(value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _training(history):
    if not history:
        return ""
    epochs = [_number(row.get("epoch")) for row in history]
    if None in epochs:
        epochs = range(1, len(history) + 1)
    pictures = []
    for key, title, percent in (("loss", "Loss", False), ("accuracy", "Accuracy", True)):
        series = [
            (name, [(x, _number(r.get(k))) for x, r in zip(epochs, history, strict=True)])
            for name, k in (("Training", key), ("Validation", f"val_{key}"))
        ]
        chart = charts.line_chart(title, "epoch", series, percent)
        pictures.append(f"<figure>{chart}<figcaption>{title} of each epoch</figcaption></figure>")
    head = list(dict.fromkeys(key for row in history for key in row))
    rows = [[_short(row.get(key)) for key in head] for row in history]
    numbers = table(head, rows, numbers=range(len(head)))
    return (
        f'<div class="charts">{"".join(pictures)}</div>'
        f"<details><summary>All {len(history)} epochs in numbers</summary>{numbers}</details>"
    )


def _short(value):
    number = _number(value)
    return value if number is None else f"{number:.5g}"


def _examples(best, worst):
    if not best and not worst:
        return ""
    scale = (
        '<p class="note">Above: frames of the video. Below: the same frames under the attention '
        'of the model. <span class="together">0<span class="heat-scale" role="img" '
        'aria-label="from black over purple and orange to yellow"></span>4 times</span> the '
        "uniform weight or more; the scale is the same in every picture.</p>"
    )
    subsets = [scale]
    for title, examples in (
        ("The videos it did best on", best),
        ("The videos it did worst on", worst),
    ):
        if examples:
            subsets.append(f"<h3>{title}</h3>{''.join(map(_figure, examples))}")
    return "".join(subsets)


def _figure(example):
    if not _PICTURE.fullmatch(example.picture):
        raise ValueError(
            f"the picture of {example.title!r} must be a data:image/jpeg or png address, "
            f"got {example.picture[:40]!r}"
        )
    alternative = f"Frames of {example.title} above, the attention over them below"
    return (
        f'<figure><img loading="lazy" src="{example.picture}" alt="{escape(alternative)}">'
        f"<figcaption><b>{escape(example.title)}</b><br>{escape(example.caption)}</figcaption>"
        "</figure>"
    )
