"""One self-contained page about a run: data, training, evaluation and where the model looked.

The page holds its pictures and charts itself, runs no script and loads nothing from elsewhere.
All text is escaped: class and file names come from whoever made the data set.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from keras_attn.metrics.classification import Summary
from keras_attn.utils import files
from keras_attn.utils.plain import plain
from keras_attn.visualization import report_sections
from keras_attn.visualization.html import render

_PICTURE = re.compile(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+")


@dataclasses.dataclass(frozen=True)
class VideoCard:
    """One video to look at; `picture` is a `data:image/...` address (overlay.jpeg_data_uri)."""

    title: str
    caption: str
    picture: str

    def __post_init__(self):
        if not _PICTURE.fullmatch(self.picture):
            raise ValueError(
                f"the picture of {self.title!r} must be a data:image/jpeg or png address, "
                f"got {self.picture[:40]!r}"
            )


@dataclasses.dataclass(frozen=True)
class Report:
    """The content of the page; a field that is empty has no section."""

    title: str
    subtitle: str = ""
    metrics: Summary | None = None
    notes: Sequence[str] = ()  # what a reader must know to judge the numbers
    data: Sequence[Mapping] = ()  # rows of one table, e.g. subset, found, usable, used, note
    history: Sequence[Mapping] = ()  # rows of history.csv; numbers may still be text
    recipe: Sequence[tuple] = ()  # (field, value, note)
    best: Sequence[VideoCard] = ()
    worst: Sequence[VideoCard] = ()
    environment: Sequence[tuple] = ()  # (name, version or hash)


def write_report(path, report: Report) -> None:
    """Write the page, whole or not at all."""
    views = report_sections.of_metrics(report.metrics)
    views["remarks"] += report.notes
    sections = (
        ("result", "Result", True),
        ("data", "Data", report.data),
        ("training", "Training", report.history),
        ("classes", "Classes", report.metrics),
        ("confusion", "Confusion", report.metrics),
        ("calibration", "Calibration", report.metrics),
        ("examples", "Where it looked", report.best or report.worst),
        ("recipe", "Recipe", report.recipe),
        ("environment", "Environment", report.environment),
    )
    page = render(
        "report.html.j2",
        title=report.title,
        subtitle=report.subtitle,
        contents={key: title for key, title, content in sections if content},
        report=report,
        data=report_sections.of_data(report.data),
        training=report_sections.of_history(report.history) if report.history else {},
        **views,
    )
    # Lone surrogates, which stand for bytes of file names that are not UTF-8, become escapes.
    files.write_atomic(path, page.encode("utf-8", "backslashreplace"))


def report_dict(report: Report) -> dict:
    """The same numbers for `files.write_json`, without the pictures; not finite becomes None."""
    values = plain(dataclasses.asdict(report))
    for card in (*values["best"], *values["worst"]):
        del card["picture"]
    return values
