"""Fusing score files: each kind against loops, what is searched, and what is refused."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from score_files import answering, reordered, some_scores, streams

from keras_attn import fuse
from keras_attn.cli.parser import main
from keras_attn.errors import DataError, UsageError
from keras_attn.metrics.fusion_weights import fused_scores
from keras_attn.metrics.scores import read_scores, write_scores


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def files(rng, tmp_path):
    """Write streams to score files; returns their paths."""

    def write(found, folder="test"):
        paths = [tmp_path / folder / f"{i}.npz" for i in range(len(found))]
        for path, scores in zip(paths, found, strict=True):
            write_scores(path, scores)
        return paths

    return write


def softmax(row):
    exponentials = [np.exp(x - max(row)) for x in row]
    return [x / sum(exponentials) for x in exponentials]


def fused_by_hand(kind, rows, weights):
    """One video: its probabilities or logits in each stream -> the fused probabilities."""
    total = [0.0] * len(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        row = list(row)
        if kind == "l2":
            mean = sum(row) / len(row)
            norm = sum((x - mean) ** 2 for x in row) ** 0.5
            row = [(x - mean) / norm for x in row]
        total = [t + weight * x for t, x in zip(total, row, strict=True)]
    return total if kind == "probabilities" else softmax(total)


@pytest.mark.parametrize("kind", ["probabilities", "logits", "l2"])
def test_each_kind_is_a_weighted_sum(rng, files, tmp_path, kind):
    found = streams(rng, ("rgb", "flow", "rgb"))
    paths = files([found[0], reordered(found[1], rng.permutation(23)), found[2]])
    out = tmp_path / "fused.npz"
    summary = fuse(paths, weights=[2, 1, 5], kind=kind, out=out)
    assert summary.weights == (0.25, 0.125, 0.625)
    assert (summary.kind, summary.origin, summary.out) == (kind, "given", out)
    fused = read_scores(out)
    assert (fused.ids, fused.class_names) == (found[0].ids, found[0].class_names)
    name = "probabilities" if kind == "probabilities" else "logits"
    for i in range(23):
        rows = [getattr(scores, name)[i] for scores in found]
        expected = fused_by_hand(kind, rows, (0.25, 0.125, 0.625))
        np.testing.assert_allclose(fused.probabilities[i], expected, atol=1e-12)
        assert fused.predicted[i] == np.argmax(expected)
        assert fused.votes[i].tolist() == [int(k == fused.predicted[i]) for k in range(6)]
    # The logits of the file give its probabilities, so that it can be fused once more.
    np.testing.assert_allclose(
        answering(fused, fused.logits).probabilities, fused.probabilities, atol=1e-12
    )
    assert (fused.input, fused.subset) == ("fused", "test")
    assert fused.model == "sta_cnn (rgb) + sta_cnn (flow) + sta_cnn (rgb)"


@pytest.mark.parametrize(
    "inputs",
    [
        ["rgb", "rgb"],
        ["rgb", "warped_flow"],
        ["rgb_and_flow", "flow"],
        ["rgb", "flow", "flow"],
        ["trajectories", "trajectories"],
        ["rgb", "rgb", "trajectories"],
    ],
)
def test_where_no_paper_has_weights_they_must_be_given(rng, files, inputs):
    paths = files(streams(rng, inputs))
    with pytest.raises(UsageError, match="no paper has weights for the inputs .*`weights`"):
        fuse(paths)
    assert fuse(paths, weights=[1] * len(inputs)).weights == pytest.approx(
        [1 / len(inputs)] * len(inputs)
    )


def test_the_kind_is_l2_with_trajectories_and_probabilities_without(rng, files):
    assert fuse(files(streams(rng))).kind == "probabilities"
    paths = files(streams(rng, ("rgb", "trajectories")))
    assert fuse(paths).kind == "l2"
    assert fuse(paths, kind="logits").kind == "logits"


def test_the_gain_is_counted(rng, files):
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    base = some_scores(rng, 8, 3, labels=labels)

    def stream(answers, strength, name):
        # As in a vote: the answer of the stream is not always that of its mean probabilities.
        logits = strength * np.eye(3)[answers]
        return dataclasses.replace(answering(base, logits, input=name), predicted=np.array(answers))

    rgb = stream([0, 1, 2, 0, 2, 2, 1, 2], 1.0, "rgb")  # five right
    flow = stream([0, 2, 2, 1, 1, 0, 0, 2], 2.0, "flow")  # four right, and surer
    found = fuse(files([rgb, flow]))
    assert [stream.accuracy for stream in found.streams] == [5 / 8, 4 / 8]
    # Truth 0 is answered by RGB in two of three, truth 1 in one of three, truth 2 in both.
    assert found.streams[0].mean_class_accuracy == pytest.approx((2 / 3 + 1 / 3 + 1) / 3)
    assert found.best.name == "0.npz"
    # Flow prevails everywhere: right in 0, 2, 4, 6; of RGB's 0, 1, 2, 3, 5 it misses 1, 3, 5.
    assert (found.accuracy, found.corrected, found.newly_wrong) == (4 / 8, 2, 3)
    assert found.mean_class_accuracy == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3)
    lines = "\n".join(found.lines())
    assert "0.npz: sta_cnn on rgb, weight 0.400, accuracy 62.5%" in lines
    assert "fused probabilities of 8 videos (test), weights by default: accuracy 50.0%" in lines
    assert "2 videos corrected and 3 newly wrong compared with" in lines


def planted(rng, weights, videos=400, **changes):
    """Streams that answer rightly together by these weights, and hardly by others."""
    found = streams(rng, ("rgb", "flow", "warped_flow"), videos, **changes)
    fused = fused_scores(found, weights, "logits")
    return [dataclasses.replace(scores, labels=fused.predicted) for scores in found]


def test_a_search_finds_planted_weights_on_the_validation_subset_alone(rng, files):
    weights = (0.25, 0.7, 0.05)
    validation = planted(rng, weights, ids=[f"v{i}" for i in range(400)], subset="validation")
    test = planted(rng, (0.6, 0.1, 0.3))
    paths, search = files(test), files(validation, "validation")
    found = fuse(paths, search=search, kind="logits")
    assert found.weights == pytest.approx(weights, abs=1e-12)
    assert (found.origin, found.search_accuracy) == ("search", 1)
    assert found.accuracy < 0.9
    assert "found by a search (accuracy 100.0% on the validation subset)" in found.lines()[3]
    # No file of the test subset had a say: others of it give the same weights.
    again = fuse(files(streams(rng, [s.input for s in test], 400)), search=search, kind="logits")
    assert again.weights == found.weights


def drop_a_class(scores):
    return dataclasses.replace(scores, class_names=[*scores.class_names[:-1], "other"])


def drop_a_video(scores):
    return reordered(scores, range(1, 23))


def relabel(scores):
    labels = scores.labels.copy()
    labels[4] = (labels[4] + 1) % 5
    return dataclasses.replace(scores, labels=labels)


@pytest.mark.parametrize(
    "change, message",
    [
        (drop_a_class, r"1.npz: its class 5 is 'other', that of .*0.npz is 'class 5'"),
        (drop_a_video, r"1.npz: lacks 1 of the 23 videos of .*0.npz, as Ski/é 0.avi"),
        (relabel, r"1.npz: labels Ski/é 4.avi as class \d, .*0.npz as class \d"),
        (
            lambda s: dataclasses.replace(s, subset="train"),
            r"holds the train subset, .* the test subset",
        ),
    ],
)
def test_files_that_do_not_match_are_refused(rng, files, change, message):
    one, other = streams(rng)
    with pytest.raises(DataError, match=message):
        fuse(files([one, change(other)]))
    if change is drop_a_video:  # whichever of the two lacks it
        with pytest.raises(DataError, match="0.npz: lacks 1 of the 23 videos of .*1.npz"):
            fuse(files([change(one), other]))


def test_calls_that_cannot_work_are_refused(rng, files, tmp_path):
    paths = files(streams(rng))
    out = tmp_path / "fused.npz"
    for arguments, message in [
        ((paths[:1],), "takes two score files or more, got 1"),
        (([paths[0], tmp_path / "test" / ".." / "test" / "0.npz"],), "0.npz: is given twice"),
        ((paths, {"weights": [1]}), "`weights` takes one number for each, 2 here, got 1"),
        ((paths, {"weights": [1, -1]}), "not negative and not all 0, got 1 -1"),
        ((paths, {"weights": [0, 0]}), "not negative and not all 0, got 0 0"),
        ((paths, {"weights": [1, np.nan]}), "must be finite"),
        ((paths, {"kind": "mean"}), "`kind` must be one of probabilities, logits, l2, got 'mean'"),
        ((paths, {"weights": [1, 2], "search": paths}), "not both"),
        ((paths, {"out": paths[1]}), "1.npz is one of the files being fused"),
    ]:
        options = arguments[1] if len(arguments) > 1 else {}
        with pytest.raises(UsageError, match=message):
            fuse(arguments[0], **{"out": out, **options})
    assert not out.exists()


def test_a_search_on_other_than_validation_videos_is_refused(rng, files):
    found = streams(rng)
    paths = files(found)
    ids = [f"v{i}" for i in range(23)]
    validation = [dataclasses.replace(s, subset="validation", ids=ids) for s in found]
    for search, message in [
        (validation[:1], "`search` takes 2 files, one per stream, got 1"),
        ([dataclasses.replace(s, ids=ids) for s in found], "holds the test subset; .*validation"),
        (validation[::-1], "0.npz: is of sta_cnn on flow, in the place of .*sta_cnn on rgb"),
        ([dataclasses.replace(s, ids=[*ids[1:], found[0].ids[3]]) for s in validation], "shares 1"),
        ([drop_a_class(s) for s in validation], "its class 5 is 'other'"),
    ]:
        with pytest.raises((UsageError, DataError), match=message):
            fuse(paths, search=files(search, "search"))


def test_a_fusion_that_fails_leaves_the_old_file(rng, files, tmp_path, monkeypatch):
    out = tmp_path / "fused.npz"
    fuse(files(streams(rng)), out=out)
    before = out.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_attn.utils.files.os.replace", full)
    with pytest.raises(Exception, match="could not be written"):
        fuse(files(streams(rng)), out=out)
    monkeypatch.undo()
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["fused.npz"]


def test_the_command_line_takes_files_or_run_folders(rng, files, tmp_path, capsys):
    found = streams(rng)
    ids = [f"v{i}" for i in range(23)]
    for scores, subset in itertools.product(found, ("test", "validation")):
        ids_of = scores.ids if subset == "test" else ids
        path = tmp_path / scores.input / "evaluation" / subset / "scores.npz"
        write_scores(path, dataclasses.replace(scores, subset=subset, ids=ids_of))
    runs = [str(tmp_path / scores.input) for scores in found]
    search = [part for run in runs for part in ("--search", run)]
    out = tmp_path / "fused.npz"
    assert main(["fuse", *search, *runs, "--kind", "logits", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "weights found by a search" in printed and f"fused scores: {out}" in printed
    assert main(["fuse", *runs, "--weights", "1", "--weights", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["weights"] == [0.25, 0.75] and answer["videos"] == 23
    assert answer["streams"][1]["path"].endswith("flow/evaluation/test/scores.npz")
    assert main(["fuse", runs[0], str(tmp_path / "nowhere.npz")]) == 3
    assert "nowhere.npz: no such file" in capsys.readouterr().err
