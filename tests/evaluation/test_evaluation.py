"""An evaluation counts right, says what it counted, and refuses data that is not the run's."""

import csv
import json
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_attn import evaluate
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.evaluation import evaluation, report_data
from keras_attn.inference import loading
from keras_attn.metrics.scores import read_scores
from keras_attn.training.runs import open_run
from keras_attn.utils import files


@pytest.fixture(scope="module", autouse=True)
def opened_once(tiny_run):
    """All tests share the recognizer of `tiny_run`, of which their runs are copies."""
    load = loading.load_recognizer
    recognizer = load(tiny_run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loading,
            "load_recognizer",
            lambda path, changes=None: (
                load(path, changes) if changes or not open_run(path).finished() else recognizer
            ),
        )
        yield


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of `tiny_run` that a test may write to."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def data(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


def change(path, **values):
    files.write_json(path, files.read_json(path) | values)


def test_the_numbers_are_those_counted_by_hand(run, tiny_data):
    seen = []
    found = evaluate(run, progress=lambda *event: seen.append(event))
    with open(tiny_data / "split.csv", newline="") as file:
        test = [row["id"] for row in csv.DictReader(file) if row["subset"] == "test"]
    scores = read_scores(run / "evaluation" / "test" / "scores.npz")
    assert sorted(scores.ids) == sorted(test)
    assert (scores.model, scores.input, scores.subset) == ("structured_attention", "rgb", "test")
    assert seen == [(i + 1, len(test), key) for i, key in enumerate(scores.ids)]

    # 12 frames in windows of 5 every 3: starts 0, 3, 6, 7.
    assert scores.votes.sum(1).tolist() == [4] * len(test)
    recognizer = loading.load_recognizer(run)
    source = evaluation.open_source(tiny_data, open_run(run).recipe)
    right = 0
    for i, video in enumerate(source.subsets["test"]):
        clips = recognizer.ask(**evaluation._inputs(recognizer, source, video))[
            "clip_probabilities"
        ]
        votes = np.bincount(clips.argmax(1), minlength=4)
        np.testing.assert_allclose(scores.probabilities[i], clips.mean(0), atol=1e-6)
        np.testing.assert_allclose(scores.logits[i], np.log(clips).mean(0), atol=1e-5)
        assert scores.votes[i].tolist() == votes.tolist()
        mean = clips.mean(0)
        best = max(range(4), key=lambda k, votes=votes, mean=mean: (votes[k], mean[k]))
        assert scores.predicted[i] == best
        truth = video.id.split("/")[0]
        assert scores.class_names[scores.labels[i]] == truth
        right += scores.class_names[best] == truth
    assert found.summary.correct == right
    assert found.summary.accuracy == pytest.approx(right / len(test))
    assert found.summary.videos == len(test)


def test_the_report_holds_names_numbers_and_pictures(run):
    found = evaluate(run, examples=2)
    page = found.report.read_text(encoding="utf-8")
    assert found.report == run / "evaluation" / "test" / "report.html"
    for text in ("left", "right", "up", "down", "structured_attention", "clips.frames"):
        assert text in page
    pictures = page.count("data:image/jpeg;base64,")
    wrong = found.summary.videos - found.summary.correct
    assert pictures == min(2, found.summary.correct) + min(2, wrong)
    metrics = files.read_json(run / "evaluation" / "test" / "metrics.json")
    assert metrics["metrics"]["correct"] == found.summary.correct
    assert f"{found.summary.correct} of {found.summary.videos} videos right" in found.lines()[0]
    assert json.loads(json.dumps(found.as_dict()))["confusion"]


def test_a_report_without_frames_says_why_it_has_no_pictures(run, monkeypatch):
    def read_index(data, rows):
        raise DataError("records: gone")

    monkeypatch.setattr(report_data, "records", SimpleNamespace(read_index=read_index))
    page = evaluate(run, examples=2).report.read_text(encoding="utf-8")
    assert "No pictures, because the frames" in page and "records: gone" in page
    assert "data:image/jpeg" not in page


def test_the_data_table_adds_up(run, tiny_data):
    evaluate(run, examples=0)
    rows = files.read_json(run / "evaluation" / "test" / "metrics.json")["data"]
    with open(tiny_data / "manifest.csv", newline="") as file:
        assert sum(row["videos"] for row in rows) == len(list(csv.DictReader(file)))


def test_without_examples_no_picture_is_drawn_and_opencv_is_not_needed(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    found = evaluate(run, examples=0)
    assert "data:image" not in found.report.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="`examples=0`.* needs the module 'cv2'.*pip install"):
        evaluate(run)
    with pytest.raises(UsageError, match="`examples` must be at least 0, got -1"):
        evaluate(run, examples=-1)


def test_every_part_can_be_scored(run):
    subsets = {
        subset: evaluate(run, subset=subset, examples=0)
        for subset in ("train", "validation", "test")
    }
    assert sum(found.summary.videos for found in subsets.values()) == 24
    assert {found.folder.name for found in subsets.values()} == set(subsets)


def test_bounded_logits_are_explained(run):
    calibration = "no probability can exceed 71.1%"  # e / (e + 3 / e), four classes
    assert calibration not in evaluate(run, examples=0).report.read_text(encoding="utf-8")
    recorded = files.read_json(run / "run.json")
    recorded["recipe"]["arguments"]["logit_tanh"] = True
    files.write_json(run / "run.json", recorded)
    assert calibration in evaluate(run, examples=0).report.read_text(encoding="utf-8")


def test_other_data_of_the_same_making_is_scored_with_a_note(run, data):
    own = evaluate(run, examples=0).folder
    before = (own / "metrics.json").read_bytes()
    found = evaluate(run, data=data, examples=0)
    assert re.fullmatch(r"test\+data=data-[0-9a-f]{8}", found.folder.name)
    assert (own / "metrics.json").read_bytes() == before
    twin = shutil.copytree(data, data.parent / "elsewhere" / "data")
    other = evaluate(run, data=twin, examples=0).folder
    assert other != found.folder, "another folder of the same name"
    assert "whether the two share videos was not checked" in found.report.read_text("utf-8")


def test_a_split_made_anew_is_refused(run, data):
    change(run / "run.json", data=str(data.resolve()))
    evaluate(run, examples=0)
    lines = (data / "split.csv").read_text().splitlines(keepends=True)
    swapped = [line.replace(",test", ",x").replace(",train", ",test") for line in lines]
    (data / "split.csv").write_text("".join(line.replace(",x", ",train") for line in swapped))
    with pytest.raises(DataError, match="split.csv: was written again since .* was trained"):
        evaluate(run)


def test_data_made_in_another_way_is_refused(run, data):
    change(data / "records" / "provenance.json", quality=50)
    with pytest.raises(
        DataError, match="created with different settings than those that .* was trained on"
    ):
        evaluate(run, data=data)


def test_other_classes_are_refused(run, data):
    names = (data / "classes.txt").read_text().split()
    (data / "classes.txt").write_text("\n".join(reversed(names)))
    with pytest.raises(DataError, match="its 4 classes are not the 4 that .* was trained on"):
        evaluate(run, data=data)


def test_an_empty_part_is_refused_with_the_parts_there_are(run):
    with pytest.raises(DataError, match=r"no videos in the subset 'tset'; there are .*test \("):
        evaluate(run, subset="tset")


def test_an_unfinished_run_and_missing_data_are_refused(run, tmp_path):
    with pytest.raises(DataError, match="nowhere/manifest.csv: no such file"):
        evaluate(run, data=tmp_path / "nowhere")
    (run / "model.keras").unlink()
    with pytest.raises(UserError, match="is not finished; go on with"):
        evaluate(run)


def test_what_needs_no_training_is_changed_beside_the_plain_evaluation(run):
    plain = evaluate(run, examples=0).folder / "scores.npz"
    before = plain.read_bytes()
    changes = {"clips.stride": "1", "clip_aggregation": "mean"}
    found = evaluate(run, changes=changes, examples=0)
    assert found.folder.name == "test+clip_aggregation=mean+clips.stride=1"
    rows = files.read_json(found.folder / "metrics.json")["recipe"]
    assert any("clips.stride" in str(row) and "trained with 3" in str(row) for row in rows)
    scores = read_scores(found.folder / "scores.npz")
    assert set(scores.votes.sum(1)) == {8} and scores.clip_aggregation == "mean"
    np.testing.assert_array_equal(scores.predicted, scores.probabilities.argmax(1))
    assert read_scores(plain).clip_aggregation == "vote" and plain.read_bytes() == before
    with pytest.raises(UsageError, match="`changes` of clips.frames: needs a training"):
        evaluate(run, changes={"clips.frames": 4})
    with pytest.raises(UsageError, match="has no argument 'test_keep'"):
        evaluate(run, changes={"model.test_keep": 4})
