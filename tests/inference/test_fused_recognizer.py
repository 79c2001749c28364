"""Runs of RGB and of flow are asked together without an export, also where flow needs OpenCV."""

import dataclasses
import functools
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_attn import explain, predict
from keras_attn.data.flow_estimation import planes_of
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import UsageError, UserError
from keras_attn.inference import loading
from keras_attn.inference.fused_recognizer import FusedRecognizer
from keras_attn.inference.trained_model import open_model
from keras_attn.models import STACNN
from keras_attn.recipes import RECIPES, override
from keras_attn.utils.files import read_json, write_json

CHANGES = {
    "input": "flow",
    "flow_method": "dis",
    "clips.size": 32,
    "clips.frames": 4,
    "clips.test_frames": 5,
    "clips.snippet": 3,
    "model.test_pooling": "average",
    "model.groups": 2,
}


@pytest.fixture(scope="module")
def flow_run(tiny_run, tmp_path_factory):
    """A run of flow by DIS whose weights are random. Tests only read it."""
    folder = tmp_path_factory.mktemp("flow") / "run"
    shutil.copytree(tiny_run, folder)
    recipe = override(RECIPES["sta_cnn_tiny"], CHANGES)
    facts = read_json(folder / "run.json")
    flow = {"method": "dis", "warped": False, "width": 36, "height": 32}
    facts |= {"recipe": dataclasses.asdict(recipe), "input": facts["input"] | {"flow": flow}}
    write_json(folder / "run.json", facts)
    keras.utils.set_random_seed(3)
    shape = (4, 32, 32, recipe.stream.channels)
    model = STACNN(4, input_shape=shape, backbone="tiny", **recipe.arguments)
    for layer in model.layers:
        layer.set_weights([2 * w for w in layer.get_weights()])
    model.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="module", autouse=True)
def opened_once():
    """Both runs are loaded and traced once."""
    once = functools.cache(loading.load_recognizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_recognizer", once)
        yield


@pytest.fixture(scope="module")
def videos(tiny_data):
    return sorted((tiny_data.parent / "videos").rglob("*.mp4"))[:3]


def by_name(prediction, field="probability"):
    return {guess.name: getattr(guess, field) for guess in prediction.guesses}


def test_flow_that_needs_opencv_is_computed_for_a_video(flow_run, videos):
    recognizer = loading.load_recognizer(flow_run)
    names = set(recognizer.signatures())
    assert names == {"features", "features_with_lengths"}, "it cannot be served for frames"
    (found,) = predict(videos[0], flow_run, top_k=4)
    frames, _ = read_frames(videos[0], short_side=32)
    planes = planes_of(frames, recognizer.flow)
    expected = recognizer.answer_planes(frames[None], planes[None])["probabilities"][0]
    classes = open_model(flow_run).classes
    assert by_name(found) == pytest.approx(dict(zip(classes, expected.numpy(), strict=True)))
    alone = recognizer.ask(planes=planes)  # only the number of frames matters to it
    np.testing.assert_allclose(alone["probabilities"], expected, atol=1e-6)


@pytest.mark.parametrize("weights", [(1, 3), None])
def test_two_runs_predict_their_weighted_mean(tiny_run, flow_run, videos, weights):
    rgb, flow = (0.25, 0.75) if weights else (0.4, 0.6)  # 1 to 1.5, the weights of TSN
    found = predict(videos, [tiny_run, flow_run], weights=weights, top_k=4)
    alone = [predict(videos, run, top_k=4) for run in (tiny_run, flow_run)]
    for together, *apart in zip(found, *alone, strict=True):
        for field in ("probability", "votes"):
            first, second = (by_name(prediction, field) for prediction in apart)
            expected = {name: rgb * first[name] + flow * second[name] for name in first}
            assert by_name(together, field) == pytest.approx(expected, abs=1e-6)


def test_two_runs_explain_a_video(tiny_run, flow_run, videos, tmp_path):
    (expected,) = predict(videos[0], [tiny_run, flow_run], weights=(2, 1), top_k=1)
    models = [tiny_run, str(flow_run)]
    found = explain(videos[0], models, tmp_path / "out.mp4", weights=(2, 1))
    assert found.paths[0].stat().st_size > 0
    assert found.maps["clip_frames_1"].shape == (4, 5), "windows of RGB"
    assert found.maps["clip_frames_2"].shape == (1, 5), "segments of flow"
    assert found.answer == expected.guesses[0].name
    assert found.probability == pytest.approx(expected.guesses[0].probability, abs=1e-6)


def test_models_that_cannot_be_fused_are_refused(tiny_run, tiny_export, flow_run, tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        open_model([tiny_run, tiny_export])
    with pytest.raises(UsageError, match="is a SavedModel, and `weights` are for several runs"):
        open_model(tiny_export, weights=(1, 2))
    with pytest.raises(UsageError, match="weights"):
        open_model([tiny_run, flow_run], weights=(1,))
    with pytest.raises(UserError, match="nothing: no such folder"):
        open_model([tiny_run, tmp_path / "nothing"])
    other = shutil.copytree(flow_run, tmp_path / "other")
    write_json(other / "run.json", read_json(other / "run.json") | {"classes": list("abcd")})
    with pytest.raises(UserError, match="answers other classes"):
        open_model([tiny_run, other])


def test_a_trained_model_answers_with_other_segments_and_pooling(flow_run):
    load = loading.load_recognizer.__wrapped__
    changes = {"model.test_pooling": "confidence", "model.test_keep": "2", "clips.test_frames": "6"}
    plain, changed = load(flow_run), load(flow_run, changes)
    assert (plain.frames, changed.frames) == (5, 6)
    config = changed.model.get_config()
    assert (config["test_pooling"], config["test_keep"]) == ("confidence", 2)
    for one, other in zip(plain.model.get_weights(), changed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match="test_keep must be at most the 6 segments given, got 7"):
        load(flow_run, changes | {"model.test_keep": 7})
    with pytest.raises(UsageError, match="`changes` of model.groups: needs a training"):
        load(flow_run, {"model.groups": 1})


def test_several_models_answer_by_their_weighted_means():
    fused = FusedRecognizer([_Said(0.2, 2), _Said(0.7, 4)], (0.25, 0.75))
    answer = fused.answer_frames(np.zeros((2, 3, 8, 8, 3), "uint8"))
    expected = 0.25 * 0.2 + 0.75 * 0.7
    np.testing.assert_allclose(answer["probabilities"], [[expected, 1 - expected]] * 2, rtol=1e-6)
    np.testing.assert_allclose(answer["logits"], np.log(answer["probabilities"]), rtol=1e-6)
    np.testing.assert_allclose(answer["votes"], [[0.25, 0.75]] * 2)
    np.testing.assert_allclose(answer["decision"], [[0.775, 0.225]] * 2, rtol=1e-6)
    np.testing.assert_allclose(answer["when"], [[0.05, 0.065, 0.885]] * 2, rtol=1e-6)
    assert answer["where"].shape == (2, 3, 2, 2)
    for number, first in ((1, 0.2), (2, 0.7)):  # each model has clips of its own
        clips = [[first, 1 - first]] * (2 * number)
        found = answer[f"clip_probabilities_{number}"]
        np.testing.assert_allclose(found, [clips] * 2, rtol=1e-6)
    # The 16 cells of the other, all in the upper left ones, on the 4 of the first.
    np.testing.assert_allclose(tf.reduce_sum(answer["where"], (2, 3)), np.ones((2, 3)), rtol=1e-6)
    assert answer["where"][0, 0, 0, 0] > 0.25 * 0.25 + 0.75 * 0.5


class _Said:
    """A recognizer that says one thing, with attention on cells of its own."""

    models = ()
    frames = 3
    flow_in_graph = True
    clip_keys = ("clip_probabilities",)

    def __init__(self, first, side):
        vote = float(first < 0.5)
        corner = np.zeros((side, side), "float32")
        corner[: side // 2, : side // 2] = 1 / (side // 2) ** 2
        cells = np.full((2, 2), 0.25, "float32") if side == 2 else corner
        when = [0.2, 0.2, 0.6] if side == 2 else [0.0, 0.02, 0.98]
        self.said = {
            "probabilities": [first, 1 - first],
            "votes": [vote, 1 - vote],
            "decision": [vote, 1 - vote] if side == 2 else [first, 1 - first],
            "when": when,
            "where": np.stack([cells] * 3),
            "step_probabilities": [[first, 1 - first]] * 3,
            "clip_probabilities": [[first, 1 - first]] * side,  # of as many clips
        }
        frames = tf.TensorSpec((None, None, None, None, 3), tf.uint8, "frames")
        jpegs = tf.TensorSpec((None, None), tf.string, "jpeg_frames")
        self.answer_frames = tf.function(self.from_frames, [frames])
        self.answer_jpegs = tf.function(self.from_frames, [jpegs])

    def from_frames(self, frames):
        return {
            key: tf.stack([tf.constant(value, "float32")] * 2) for key, value in self.said.items()
        }
