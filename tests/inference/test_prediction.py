"""Predictions agree between run, export and evaluation; one bad video does not stop the others."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_attn import evaluate, predict
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.inference.loading import load_recognizer
from keras_attn.inference.prediction import Prediction, open_model, ranking


@pytest.fixture(scope="module")
def videos(tiny_data):
    return sorted((tiny_data.parent / "videos").rglob("*.mp4"))


@pytest.fixture(scope="module")
def model(tiny_run):
    return open_model(tiny_run)


def test_run_and_saved_model_agree(videos, model, tiny_export):
    here = predict(videos[:3], model)
    for folder in (tiny_export, tiny_export / "1"):
        for a, b in zip(here, predict(videos[:3], folder), strict=True):
            assert [guess.name for guess in a.guesses] == [guess.name for guess in b.guesses]
            for x, y in zip(a.guesses, b.guesses, strict=True):
                assert x.probability == pytest.approx(y.probability, abs=1e-5)
                assert x.votes == pytest.approx(y.votes, abs=1e-6)
            assert (a.path, a.frames, a.problem) == (b.path, b.frames, b.problem)


def test_predictions_are_those_of_the_evaluation_up_to_jpeg_loss(tiny_run, tiny_data, model):
    from keras_attn.metrics.scores import read_scores

    scores = read_scores(evaluate(tiny_run, examples=0).folder / "scores.npz")
    paths = [tiny_data.parent / "videos" / video for video in scores.ids]
    for found, row in zip(predict(paths, model), scores.probabilities, strict=True):
        probabilities = {guess.name: guess.probability for guess in found.guesses}
        expected = dict(zip(scores.class_names, row, strict=True))
        # JPEG of quality 95 moves pixels by about 2 of 255.
        assert probabilities == pytest.approx(expected, abs=0.01)


def test_the_features_of_a_video_stand_for_it(videos, model, tiny_run, tmp_path):
    frames, _ = read_frames(videos[0], short_side=model.short_side)
    recognizer = load_recognizer(tiny_run)
    pixels = tf.image.resize(tf.cast(frames, "float32"), (recognizer.size, recognizer.size))
    np.save(tmp_path / "clip.npy", recognizer.backbone(pixels).numpy())
    (by_features,), (by_video,) = predict(tmp_path / "clip.npy", model), predict(videos[0], model)
    for one, other in zip(by_features.guesses, by_video.guesses, strict=True):
        assert one.name == other.name  # and float16 moves them a little
        assert one.probability == pytest.approx(other.probability, abs=2e-3)
    clip_network = dataclasses.replace(model, feature_shape=None)
    with pytest.raises(UsageError, match="clip.npy: is a file of features, and this model takes v"):
        predict([videos[0], tmp_path / "clip.npy"], clip_network)


def test_guesses_are_ordered_and_cut(videos, model):
    (all_of_them,) = predict(videos[0], model, top_k=99)
    assert sorted(guess.name for guess in all_of_them.guesses) == sorted(model.classes)
    assert sum(guess.probability for guess in all_of_them.guesses) == pytest.approx(1, abs=1e-5)
    assert sum(guess.votes for guess in all_of_them.guesses) == pytest.approx(1, abs=1e-5)
    keys = [(-guess.votes, -guess.probability) for guess in all_of_them.guesses]
    assert keys == sorted(keys)
    (one,) = predict(str(videos[0]), model, top_k=1)
    assert one.guesses == all_of_them.guesses[:1]
    with pytest.raises(UsageError, match="`top_k` must be at least 1, got 0"):
        predict(videos[0], model, top_k=0)


@pytest.mark.parametrize(
    "name", ["a b.mp4", "Ünïcødé 動画.mp4", 'it\'s "quoted" [x] {y}.mp4', "-dash.mp4", "%s%d\\.mp4"]
)
def test_odd_names_are_read_and_told_as_they_are(videos, model, tmp_path, name):
    path = shutil.copy(videos[0], tmp_path / name)
    (prediction,) = predict(path, model)
    assert prediction.path == str(path)
    assert prediction.guesses == predict(videos[0], model)[0].guesses


def test_a_bad_video_among_good_ones_says_why_and_the_others_are_answered(videos, model, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(videos[0].read_bytes()[:1500])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    bad = [cut, tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "none.mp4", tmp_path]
    found = predict([videos[0], *bad, videos[1]], model)
    assert [bool(one.guesses) for one in found] == [True, *[False] * 5, True]
    assert found[0].guesses != found[-1].guesses
    for path, one in zip(bad, found[1:-1], strict=True):
        assert one.problem.startswith(f"{path}: ")
        assert (one.frames, one.guesses) == (0, ())


def test_predictions_are_plain_values(videos, model):
    import json

    (prediction,) = predict(videos[0], model, top_k=2)
    assert json.loads(json.dumps(prediction.as_dict())) == {
        "path": str(videos[0]),
        "guesses": [vars(guess) for guess in prediction.guesses],
        "frames": 12,
        "problem": "",
    }
    assert Prediction("x", problem="why").as_dict()["problem"] == "why"


def test_guesses_are_ranked_by_the_decision_then_by_number():
    assert ranking(np.array([0.2, 0.5, 0.3])).tolist() == [1, 2, 0]
    assert ranking(np.array([0.2, 0.3, 0.2, 0.3])).tolist() == [1, 3, 0, 2]


def test_what_is_no_model_is_named(tmp_path, tiny_data, tiny_export):
    with pytest.raises(UserError, match="no such folder"):
        open_model(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no SavedModel"):
        open_model(tiny_data)
    copy = shutil.copytree(tiny_export / "1", tmp_path / "copy")
    (copy / "saved_model.pb").write_bytes(b"\xff" * 40)
    with pytest.raises(UserError, match="cannot be loaded.*export the run again") as error:
        open_model(copy)
    assert "\n" not in str(error.value)
    (copy / "assets" / "classes.txt").write_text("")
    with pytest.raises(DataError, match="holds no class name"):
        open_model(copy)
    (copy / "assets" / "classes.txt").unlink()
    with pytest.raises(UserError, match="not of keras-attn export"):
        open_model(copy)
