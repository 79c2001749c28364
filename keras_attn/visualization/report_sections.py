"""The sections of the report that tell how good the model is."""

from html import escape

from keras_attn.metrics.classification import Summary
from keras_attn.visualization import charts
from keras_attn.visualization.html import Markup, captioned, card, percent, table

_LEGIBLE = 30  # classes whose names fit around a confusion matrix
_DRAWABLE = 200  # classes; beyond, the matrix would weigh megabytes and tell nothing
_FEW = 20  # groups below which a bootstrap interval is known to be rough


def result(summary: Summary | None, notes) -> str:
    """The headline numbers, and what must be known to judge them."""
    remarks = list(notes)
    cards = ""
    if summary is None:
        remarks.insert(0, "This run was not evaluated: the page says nothing about accuracy.")
    else:
        remarks = _remarks(summary) + remarks
        cards = f'<dl class="cards">{_cards(summary)}</dl>'
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return cards + (f'<ul class="remarks">{items}</ul>' if items else "")


def _cards(summary):
    spread = "no interval"
    if summary.interval:
        low, high = summary.interval
        level = f"{100 * summary.interval_level:g}%"
        spread = f"{level} interval {percent(low)} to {percent(high)}"
    right = f"{summary.correct} of {summary.videos} videos; {spread}"
    present = len(summary.class_names) - summary.classes_absent
    cards = [
        card("Accuracy", percent(summary.accuracy), right),
        card(
            "Mean class accuracy",
            percent(summary.mean_class_accuracy),
            f"every class counts the same; {present} classes",
        ),
    ]
    if summary.top_5 is not None:
        note = "the label is among the five most probable classes"
        cards.append(card("Top-5 accuracy", percent(summary.top_5), note))
    note = "always answering the most frequent class"
    cards.append(card("To compare", percent(summary.largest_class_share), note))
    note = f"expected calibration error, {summary.calibration_bins} bins; 0 is best"
    cards.append(card("Calibration error", f"{summary.calibration_error:.3f}", note))
    return "".join(cards)


def _remarks(summary):
    remarks = []
    units = f"{summary.interval_units} {summary.interval_over}"
    if summary.interval is None:
        remarks.append(f"No interval for the accuracy: {units} cannot show how groups differ.")
    elif summary.accuracy in (0, 1):
        remarks.append(
            "All videos came out alike, so resampling shows no spread. "
            "That is a limit of the method, not certainty."
        )
    else:
        rough = f" With fewer than {_FEW} it is rough and tends to be too narrow."
        remarks.append(
            f"The interval comes from resampling {units} of these videos. It says nothing about "
            "other training runs or other data." + (rough if summary.interval_units < _FEW else "")
        )
    if summary.classes_absent:
        remarks.append(
            f"{summary.classes_absent} of {len(summary.class_names)} classes have no video here "
            "and are left out of the mean class accuracy."
        )
    return remarks


def classes(summary: Summary | None) -> str:
    """The table of all classes, the weakest first."""
    if summary is None:
        return ""
    ordered = sorted(
        summary.per_class, key=lambda row: 2 if row["accuracy"] is None else row["accuracy"]
    )
    rows = []
    for row in ordered:
        rival = f"{row['confused_with']} ({row['confused']})" if row["confused"] else "–"
        counts = (row["class"], row["videos"], row["correct"], _bar(row["accuracy"]))
        rows.append((*counts, percent(row["precision"]), rival))
    head = ("Class", "Videos", "Correct", "Accuracy", "Precision", "Most confused with")
    caption = (
        "The weakest class first. Accuracy: of the videos of the class, those recognised. "
        "Precision: of the videos called so, those that are. A dash: no video to count."
    )
    return table(head, rows, caption, numbers=(1, 2, 3, 4))


def _bar(share):
    if share is None:
        return None
    bar = f'<span class="bar" aria-hidden="true" style="--share:{100 * share:.0f}%"></span>'
    return Markup(f'{bar}<span class="share">{percent(share)}</span>')


def confusion(summary: Summary | None) -> str:
    """The confusion matrix, and before it the commonest mistakes."""
    if summary is None:
        return ""
    rows = [(r["truth"], r["answer"], r["times"], r["videos"]) for r in summary.most_confused]
    head = ("Truth", "Answer", "Times", "Videos of the class")
    caption = f"The {len(rows)} commonest mistakes."
    pairs = table(head, rows, caption, numbers=(2, 3)) or "<p>No video was mistaken.</p>"
    count = len(summary.class_names)
    if count > _DRAWABLE:
        return pairs + f'<p class="note">The matrix of {count} classes is too large for a page.</p>'
    matrix = _matrix(summary)
    if count > _LEGIBLE:
        summary_line = f"<summary>The matrix of all {count} classes</summary>"
        return f"{pairs}<details>{summary_line}{matrix}</details>"
    return matrix + pairs


def _matrix(summary):
    names = [escape(name) for name in summary.class_names]
    legible = len(names) <= _LEGIBLE
    if not legible:
        names = [f"{number} {name}" for number, name in enumerate(names)]
    tops = (f"<span>{name}</span>" if legible else str(i) for i, name in enumerate(names))
    head = "".join(f'<th scope="col">{top}</th>' for top in tops)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{_matrix_row(label, counts)}</tr>'
        for label, (name, counts) in enumerate(zip(names, summary.confusion, strict=True))
    )
    caption = (
        "Videos by truth (rows) and answer (columns"
        + ("" if legible else ", by the number of the class")
        + "); outlined: right; the deeper, the larger the share of the row."
    )
    return captioned(
        f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>",
        caption,
    )


def _matrix_row(label, counts):
    cells, total = [], max(int(counts.sum()), 1)
    for column, number in enumerate(int(n) for n in counts):
        share = number / total
        kinds = ("right", column == label), ("zero", not number), ("deep", share > 0.5)
        kind = " ".join(name for name, holds in kinds if holds)
        shade = f' style="--share:{100 * share:.0f}%"' if number else ""
        cells.append(f'<td class="{kind}"{shade}>{number}</td>')
    return "".join(cells)


def calibration(summary: Summary | None) -> str:
    """Whether the probabilities can be taken at their word."""
    if summary is None:
        return ""
    rows = [
        (f"{r['low']:.2f} to {r['high']:.2f}", r["videos"])
        + (percent(r["confidence"]), percent(r["accuracy"]))
        for r in summary.reliability
    ]
    head = ("Confidence", "Videos", "Mean confidence", "Correct")
    return (
        "<p>A probability is honest when, of the videos given 70%, seventy in a hundred are right. "
        "Judged here are the mean probabilities of the clips, not the vote. Discs below the "
        "dashed line: too sure; above it: too modest. A larger disc holds more videos.</p>"
        f"<figure>{charts.reliability_chart(summary.reliability)}</figure>"
        f"<details><summary>The bins in numbers</summary>{table(head, rows, numbers=(1, 2, 3))}"
        "</details>"
    )
