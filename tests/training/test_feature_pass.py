"""Missing features are computed, stored ones are kept, and time and disk are shown first."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from extracting import MAPS, contents, extract
from small import SMALL

import keras_attn
from keras_attn.data import batches
from keras_attn.data.source import open_source
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UserError
from keras_attn.metrics.scores import read_scores
from keras_attn.recipes import Clips
from keras_attn.training import backbone_outputs, feature_pass


@pytest.fixture
def data(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


# === Some positions ===

SEGMENTS = dataclasses.replace(
    SMALL, clips=Clips(sampling="segments", frames=2, test_frames=3, size=32), epochs=2
)


def clips_of(data, recipe):
    """All clips of a training and of its validation, as one array."""
    source, clips = open_source(data, recipe), []
    for epoch in range(recipe.epochs):
        read = source.reader(random=True)
        clips += batches.batches(source.clips("train"), read, 24, seed=recipe.seed, epoch=epoch)
    clips += batches.batches(source.clips("validation"), source.reader(), 24)
    return np.concatenate([inputs["features"] for inputs, _ in clips])


def test_positions_that_the_recipe_does_not_read_are_left_out(data, tmp_path):
    """A run reads what it would read of all; what is missing is refused, then added alone."""
    summary = extract(data, recipe=SEGMENTS)
    assert summary.positions < summary.length * 2 / 3 and summary.written == 24
    read, other = clips_of(data, SEGMENTS), dataclasses.replace(SEGMENTS, seed=6)
    run = keras_attn.train(dataclasses.replace(SEGMENTS, epochs=1), data, tmp_path / "run")
    evaluation = keras_attn.evaluate(run.path, examples=0)
    answers = read_scores(evaluation.folder / "scores.npz").probabilities
    assert len(answers) == 6 and np.isfinite(answers).all()
    with pytest.raises(DataError, match="holds features of . of 12 positions of .*keras-attn feat"):
        open_source(data, other)
    part = {path: path.read_bytes() for path in sorted((data / MAPS).glob("*.npy"))}
    assert extract(data, recipe=[SEGMENTS]).written == 0
    grown = extract(data, recipe=[SEGMENTS, other])
    assert summary.positions < grown.positions < 288 and 0 < grown.written <= 24
    open_source(data, other)
    whole = extract(data)
    assert whole.positions == 288 and whole.written > 0
    assert extract(data, recipe=SEGMENTS).positions == 288
    np.testing.assert_array_equal(clips_of(data, SEGMENTS), read)
    again = keras_attn.evaluate(run.path, examples=0).folder / "scores.npz"
    np.testing.assert_array_equal(read_scores(again).probabilities, answers)
    for path, content in part.items():
        count = (len(content) - 128) // (2 * 4 * 4 * 48 + 4)
        positions = np.frombuffer(content[-4 * count :], "<i4")
        found = np.frombuffer(content[128 : -4 * count], "<f2").reshape(count, 4, 4, 48)
        np.testing.assert_array_equal(np.load(path)[positions], found)  # kept, not made again


def test_only_what_is_missing_is_computed(data, monkeypatch):
    first, computed = extract(data, recipe=SEGMENTS), []
    pictures = backbone_outputs._pictures

    def counted(videos, positions, *rest):
        computed.extend(zip(videos, positions, strict=True))
        return pictures(videos, positions, *rest)

    monkeypatch.setattr(backbone_outputs, "_pictures", counted)
    extract(data)
    assert sum(len(positions) for _, positions in computed) == 288 - first.positions


def test_a_video_without_finite_features_is_a_problem_and_the_others_are_done(data, monkeypatch):
    def computed(*arguments):
        for number, (maps,) in backbone_outputs.computed(*arguments):
            yield number, [np.full_like(maps, np.inf) if number == 3 else maps]

    with monkeypatch.context() as patched:
        patched.setattr(feature_pass, "computed", computed)
        summary = extract(data)
    assert (summary.written, summary.kept, len(summary.problems)) == (23, 0, 1)
    row = list(tables.read_data_folder(data).rows.values())[3]
    assert summary.problems[0].startswith(f"{row.id}: features must be finite")
    assert "24 videos = 23 written + 0 kept + 1 failed" in summary.lines()[0]
    assert len(contents(data)) == 23
    for path in [*(data / "records").glob("*.record"), *(data / MAPS).glob("*.npy")]:
        path.touch()  # so that it is read again, which is shown
    texts = []
    again = extract(data, progress=lambda done, total, text: texts.append(text))
    assert (again.written, again.kept, again.problems) == (1, 23, ())
    assert sum(text.startswith("checking ") for text in texts) == 23 + 1


def test_every_position_is_stored_where_nothing_is_known(data):
    (data / "split.csv").unlink()
    assert extract(data, recipe=SEGMENTS).positions == 288


def test_a_split_with_folds_keeps_what_each_fold_reads(data, tmp_path):
    ids = list(tables.read_split(data))
    tables.write_split(data, {key: str(i % 3) for i, key in enumerate(ids)})
    extract(data, recipe=SEGMENTS)
    for fold in range(3):
        assert open_source(data, SEGMENTS, fold).subsets["test"]
        assert open_source(data, SEGMENTS, fold, training=False).subsets["test"]


# === Before it starts ===


def test_time_and_disk_are_told_before_the_first_video(data, monkeypatch):
    told = []
    extract(data, progress=lambda *event: told.append(event))
    done, total, text = told[0]
    assert (done, total) == (0, 24) and [event[0] for event in told[1:]] == [*range(1, 25)]
    for part in ("288 positions of 4x4x48 (maps) float16: 0.4 MiB", "seconds at", "GiB free"):
        assert part in text
    monkeypatch.setattr(feature_pass.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"conv_1.*2\.2 MiB in .*, but only 0\.0 MiB are free"):
        extract(data, endpoint="conv_1")
    assert not contents(data, "conv_1")
