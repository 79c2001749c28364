"""Views of an evaluation for the report: the values that its template shows, without markup."""

import math

from keras_attn.metrics.classification import Summary
from keras_attn.visualization import charts
from keras_attn.visualization.html import percent

_LEGIBLE = 30  # classes whose names fit around a confusion matrix
_DRAWABLE = 200  # classes; beyond, the matrix would weigh megabytes and tell nothing
_DEEP = 0.75  # share of a row from which the other color of text is read more easily
_FEW = 20  # groups below which a bootstrap interval is known to be rough


def of_metrics(summary: Summary | None) -> dict:
    """The views of the numbers of an evaluation; without one, a remark that there is none."""
    if summary is None:
        remark = "This run was not evaluated: the page says nothing about accuracy."
        return {"cards": (), "remarks": [remark]}
    return {
        "cards": list(_cards(summary)),
        "remarks": list(_remarks(summary)),
        "classes": sorted(
            summary.per_class, key=lambda row: 2 if row["accuracy"] is None else row["accuracy"]
        ),
        "confusion": _confusion(summary),
        "calibration": _calibration(summary),
    }


def _cards(summary):
    """`(name, figure, note)` of each headline number."""
    spread = "no interval"
    if summary.interval:
        low, high = summary.interval
        spread = f"{100 * summary.interval_level:g}% interval {percent(low)} to {percent(high)}"
    correct = f"{summary.correct} of {summary.videos} videos; {spread}"
    yield "Accuracy", percent(summary.accuracy), correct
    present = len(summary.class_names) - summary.classes_absent
    note = f"every class counts the same; {present} classes"
    yield "Mean class accuracy", percent(summary.mean_class_accuracy), note
    if summary.top_5 is not None:
        note = "the label is among the five most probable classes"
        yield "Top-5 accuracy", percent(summary.top_5), note
    note = "always answering the most frequent class"
    yield "Majority baseline", percent(summary.largest_class_share), note
    note = f"expected calibration error, {summary.calibration_bins} bins; 0 is best"
    yield "Calibration error", f"{summary.calibration_error:.3f}", note


def _remarks(summary):
    units = f"{summary.interval_units} {summary.interval_over}"
    if summary.interval is None:
        yield f"No interval for the accuracy: {units} cannot show how groups differ."
    elif summary.accuracy in (0, 1):
        yield (
            "All videos had the same outcome, so resampling shows no spread. "
            "That is a limit of the method, not certainty."
        )
    else:
        rough = f" With fewer than {_FEW} it is rough and tends to be too narrow."
        yield (
            f"The interval comes from resampling {units} of these videos. It says nothing about "
            "other training runs or other data." + (rough if summary.interval_units < _FEW else "")
        )
    if summary.classes_absent:
        yield (
            f"{summary.classes_absent} of {len(summary.class_names)} classes have no video here "
            "and are left out of the mean class accuracy."
        )


def _confusion(summary):
    names = summary.class_names
    legible = len(names) <= _LEGIBLE
    numbered = names if legible else [f"{i} {name}" for i, name in enumerate(names)]
    counts = summary.confusion if len(names) <= _DRAWABLE else ()
    return {
        "legible": legible,
        "columns": names if legible else range(len(names)),
        "rows": [
            (name, _cells(label, row))
            for label, (name, row) in enumerate(zip(numbered, counts, strict=False))
        ],
        "pairs": [
            (row["truth"], row["answer"], row["times"], row["videos"])
            for row in summary.most_confused
        ],
    }


def _cells(label, counts):
    cells, total = [], max(int(counts.sum()), 1)
    for column, count in enumerate(int(n) for n in counts):
        kinds = {"right": column == label, "zero": not count, "deep": count / total > _DEEP}
        kind = " ".join(name for name, holds in kinds.items() if holds)
        cells.append({"count": count, "share": count / total, "kind": kind})
    return cells


def _calibration(summary):
    bins = [
        (f"{row['low']:.2f} to {row['high']:.2f}", row["videos"])
        + (percent(row["confidence"]), percent(row["accuracy"]))
        for row in summary.reliability
    ]
    return {"chart": charts.reliability_chart(summary.reliability), "bins": bins}


def of_data(rows) -> dict:
    """The table of the data, with the columns that any row has."""
    head = list(dict.fromkeys(key for row in rows for key in row))
    return {
        "head": [key.replace("_", " ").capitalize() for key in head],
        "rows": [[row.get(key) for key in head] for row in rows],
        "numbers": [
            position
            for position, key in enumerate(head)
            if all(isinstance(row.get(key, 0), int) for row in rows)
        ],
    }


def of_history(history) -> dict:
    """The charts and the table of a training."""
    epochs = [_number(row.get("epoch")) for row in history]
    if None in epochs:
        epochs = range(1, len(history) + 1)
    drawn = []
    for key, title, in_percent in (("loss", "Loss", False), ("accuracy", "Accuracy", True)):
        series = [
            (name, [(x, _number(r.get(k))) for x, r in zip(epochs, history, strict=True)])
            for name, k in (("Training", key), ("Validation", f"val_{key}"))
        ]
        drawn.append((title, charts.line_chart(title, "epoch", series, in_percent)))
    head = list(dict.fromkeys(key for row in history for key in row))
    rows = [[_short(row.get(key)) for key in head] for row in history]
    return {"charts": drawn, "head": head, "rows": rows}


def _number(value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _short(value):
    number = _number(value)
    return value if number is None else f"{number:.5g}"
