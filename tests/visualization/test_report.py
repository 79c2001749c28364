"""The report tells every number, escapes every text and needs nothing but itself."""

import dataclasses
import json
import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from keras_attn.metrics import classification
from keras_attn.metrics.scores import Scores, log_probabilities
from keras_attn.utils import files
from keras_attn.visualization import charts
from keras_attn.visualization.report import Report, VideoCard, report_dict, write_report

EVIL = "<script>alert('x')</script>"
PICTURE = "data:image/jpeg;base64,AAAA"


class Page(HTMLParser):
    """The texts, attributes and balance of a page."""

    EMPTY = frozenset({"meta", "br", "img", "line", "circle", "rect", "polyline"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def summary(class_names=(EVIL, "Ski & sail", "Rad fahren", "\udc80odd", "e", "f"), videos=40):
    rng = np.random.default_rng(2)
    classes = len(class_names)
    labels = rng.integers(0, classes - 1, videos)
    probabilities = rng.dirichlet(np.ones(classes), videos)
    probabilities[::2] = 0.5 * probabilities[::2] + 0.5 * np.eye(classes)[labels[::2]]
    return classification.summarize(
        Scores(
            ids=[f"{i}.avi" for i in range(videos)],
            labels=labels,
            class_names=list(class_names),
            probabilities=probabilities,
            logits=log_probabilities(probabilities),
            votes=np.ones((videos, classes), int),
            predicted=probabilities.argmax(1),
            model="sta_cnn",
            input="rgb",
            subset="test",
        ),
        groups=np.arange(videos) % 12,
    )


def full_report(**changes):
    values = {
        "title": f"Run {EVIL}",
        "subtitle": 'subset "test" of ../data',
        "metrics": summary(),
        "notes": [f"note {EVIL}"],
        "data": [
            {"subset": "train", "found": 120, "usable": 118, "used": 117, "note": EVIL},
            {"subset": "test", "found": 44, "usable": 40, "used": 40},
        ],
        "history": [
            {
                "epoch": "1",
                "loss": "2.5",
                "accuracy": "0.25",
                "val_loss": "",
                "val_accuracy": "nan",
            },
            {"epoch": "2", "loss": "1.75", "accuracy": "0.5", "val_loss": "2", "val_accuracy": "1"},
        ],
        "recipe": [("clips.frames", 30, "Quan et al. 2020, §4.3"), ("evil", EVIL, EVIL)],
        "best": [VideoCard(f"best {EVIL}", f"caption {EVIL}", PICTURE)],
        "worst": [VideoCard("worst.avi", 'says "Ski & sail"', PICTURE)],
        "environment": [("keras", "3.15.1"), (EVIL, EVIL)],
    }
    return Report(**values | changes)


def written(tmp_path, report):
    write_report(tmp_path / "report.html", report)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_tells_everything(tmp_path):
    report = full_report()
    text = written(tmp_path, report)
    page = Page(text)
    assert page.open == []
    told = " ".join(page.texts)
    for row in report.metrics.per_class:
        name = row["class"].encode("utf-8", "backslashreplace").decode()
        assert told.count(name) >= 3  # table of classes, row and column of the matrix
    shown = report.metrics
    for share in (shown.accuracy, shown.mean_class_accuracy, shown.top_5, *shown.interval):
        assert f"{100 * share:.1f}%" in told
    assert f"{shown.correct} of 40 videos" in told and f"{shown.calibration_error:.3f}" in told
    for word in ("resampling 12 groups", "rough", "1 of 6 classes have no video", "clips.frames"):
        assert word in told
    for word in ("117", "3.15.1", "caption", "says", "note", "subset", "4 times"):
        assert word in told


def test_every_link_of_the_contents_has_its_section(tmp_path):
    page = Page(written(tmp_path, full_report()))
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    places = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert links == [f"#{place}" for place in places]
    assert len(places) == 9


def test_hostile_names_are_harmless(tmp_path):
    names = (EVIL, '"><img src=x onerror=alert(1)>', "' style='x", "&lt;b&gt;", "e", "f")
    report = full_report(metrics=summary(names))
    page = Page(written(tmp_path, report))
    assert not {"script", "iframe", "object", "link", "form"} & set(page.tags)
    assert page.tags.count("img") == 2
    assert not [a for a in page.attributes if a[1].startswith("on")]
    told = "".join(page.texts)
    for name in names:
        assert told.count(name) >= 3


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    text = written(tmp_path, full_report())
    assert not re.search(r"https?:|url\(|@import|//", text)
    page = Page(text)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "data", "action"):
            assert value.startswith(("data:image/", "#")), (tag, name, value)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in (
        page.attributes
    )
    for foreign in ("https://example.org/x.jpg", "data:text/html;base64,AAAA", PICTURE + '"x'):
        with pytest.raises(ValueError, match="must be a data:image"):
            write_report(
                tmp_path / "b.html", full_report(best=[VideoCard("title", "caption", foreign)])
            )
    assert not (tmp_path / "b.html").exists()


def test_pictures_and_charts_have_words(tmp_path):
    page = Page(written(tmp_path, full_report()))
    words = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(words) == 2 and "worst.avi" in words[1]
    assert page.tags.count("svg") == page.tags.count("desc") == 3
    labels = [v for tag, name, v in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == ["Loss", "Accuracy", "Confidence and correctness"]


def test_empty_parts_are_left_out_and_an_unevaluated_run_says_so(tmp_path):
    page = Page(written(tmp_path, Report(title="only a title")))
    told = " ".join(page.texts)
    assert "This run was not evaluated" in told and "%" not in told.split("}")[-1]
    places = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert places == ["result"]


@pytest.mark.parametrize(("classes", "named", "matrix"), [(30, True, 1), (31, False, 1)])
def test_the_matrix_of_many_classes_is_numbered(tmp_path, classes, named, matrix):
    names = [f"class-{k:03d}" for k in range(classes)]
    report = full_report(metrics=summary(names, 90), history=(), data=())
    text = written(tmp_path, report)
    assert text.count('class="matrix"') == matrix
    cells = re.search(r'<table class="matrix">.*?</table>', text, re.S)[0]
    numbers = [int(n) for n in re.findall(r"<td class=[^>]*>(\d+)</td>", cells)]
    np.testing.assert_array_equal(np.reshape(numbers, (classes, classes)), report.metrics.confusion)
    assert (f"<span>{names[7]}</span>" in cells) is named
    assert (f"7 {names[7]}" in cells) is not named
    assert re.findall(r'<td class="([^"]*)"', cells)[:: classes + 1] == [
        kind for kind in re.findall(r'<td class="([^"]*)"', cells) if "right" in kind
    ]


def test_a_huge_matrix_is_left_out_with_a_word(tmp_path):
    names = [f"class-{k:03d}" for k in range(201)]
    text = written(tmp_path, full_report(metrics=summary(names, 300)))
    assert 'class="matrix"' not in text and "201 classes is too large" in text


def test_certainty_is_not_claimed(tmp_path):
    perfect = dataclasses.replace(summary(), accuracy=1.0, interval=(1.0, 1.0))
    assert "not certainty" in written(tmp_path, full_report(metrics=perfect))
    alone = dataclasses.replace(summary(), interval=None, interval_units=1)
    text = written(tmp_path, full_report(metrics=alone))
    assert "No interval for the accuracy: 1 groups" in text and "no interval" in text


def test_the_same_numbers_go_to_json(tmp_path):
    report = full_report(history=[{"epoch": 1, "loss": float("nan")}])
    files.write_json(tmp_path / "report.json", report_dict(report))
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    again = json.loads(text)
    assert "NaN" not in text and PICTURE not in text
    assert again["history"] == [{"epoch": 1, "loss": None}]
    assert again["metrics"]["confusion"] == report.metrics.confusion.tolist()
    assert again["metrics"]["accuracy"] == report.metrics.accuracy
    assert again["metrics"]["class_names"][3] == "\\udc80odd"
    assert again["worst"] == [{"title": "worst.avi", "caption": 'says "Ski & sail"'}]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.6, 2.9, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (-0.03, 0.08, [-0.05, -0.025, 0, 0.025, 0.05, 0.075, 0.1]),
        (2, 2, [1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6]),
    ],
)
def test_ticks_are_round_and_enclose_the_numbers(low, high, expected):
    found = charts.ticks(low, high)
    assert found[0] <= low and found[-1] >= high
    np.testing.assert_allclose(np.diff(found), found[1] - found[0])
    assert found == pytest.approx(expected)


def test_a_line_passes_through_its_numbers():
    points = [(1, 0.0), (2, None), (3, 0.5), (5, 1.0)]
    text = charts.line_chart("Accuracy", "epoch", [("Training", points)], percent=True)
    drawn = re.search(r'<g class="series0"><polyline points="([^"]*)"', text)[1]
    x, y = np.array([place.split(",") for place in drawn.split()], float).T
    grid = [float(v) for v in re.findall(r'class="grid"[^>]* y1="([\d.]+)"', text)]
    assert len(x) == 3  # the gap
    assert (y[0], y[2]) == (max(grid), min(grid))  # 0% and 100%
    assert y[1] == pytest.approx((y[0] + y[2]) / 2, abs=0.1)
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(0.5, abs=0.01)
    assert "No numbers" in charts.line_chart("Loss", "epoch", [("Training", [(1, None)])])


@pytest.mark.parametrize("first", [0, 1])
def test_epochs_are_drawn_where_they_are(tmp_path, first):
    history = [{"epoch": first + i, "loss": 3.0 - i} for i in range(3)]
    text = written(tmp_path, Report(title="run", history=history))
    drawn = re.search(r'<g class="series0"><polyline points="([^"]*)"', text)[1]
    x = [float(place.split(",")[0]) for place in drawn.split()]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1]) and x[1] > x[0]


def test_one_epoch_can_be_drawn():
    text = charts.line_chart("Loss", "epoch", [("Training", [(1, 2.0)])])
    assert "nan" not in text and "<polyline" in text


def test_a_class_without_videos_has_a_dash(tmp_path):
    text = written(tmp_path, full_report())
    cells = re.search(r'<th scope="row">f</th>(.*?)</tr>', text)[1]
    assert '<td class="number">0</td><td class="number">0</td>' in cells
    assert '<span class="share">–</span>' in cells and 'class="bar"' not in cells


def test_the_style_sheet_is_written_into_the_page_as_it_is(tmp_path):
    style = re.search(r"<style>\n(.*?)</style>", written(tmp_path, Report(title="x")), re.S)[1]
    assert style == resources.files("keras_attn.visualization").joinpath("report.css").read_text()


def test_a_wheel_holds_every_template():
    """setuptools packs no file that is not Python unless a pattern of `package-data` names it."""
    package = resources.files("keras_attn.visualization")
    found = [f"templates/{file.name}" for file in package.joinpath("templates").iterdir()]
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    patterns = declared["tool"]["setuptools"]["package-data"]["keras_attn.visualization"]
    assert {"templates/page.html.j2", "templates/report.html.j2"} <= set(found)
    for name in ("report.css", *found):
        assert any(fnmatch(name, pattern) for pattern in patterns), name
        assert package.joinpath(name).is_file()
