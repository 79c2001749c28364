"""Every paper's model goes the whole way, by the same verbs: train, evaluate, explain, export."""

import functools

import keras
import numpy as np
import pytest
from clean_server import one_clean_process
from small import eagerly

import keras_attn
from keras_attn.backbones import build_backbone
from keras_attn.inference import loading
from keras_attn.inference.trained_model import open_model
from keras_attn.models import MODELS, swap_input
from keras_attn.recipes import RECIPES, override
from keras_attn.utils.files import read_json

SMALLER = {"epochs": "1", "clips.size": "32", "batch_size": "6"}
CHANGES = {
    "structured_attention": {"clips.frames": "5", "clips.stride": "4", "model.units": "8"},
    "sta_cnn": {"clips.test_frames": "10"},
    "temporal_attention": {
        "clips.sampling": "dense",
        "clips.frames": "5",
        "clips.step": "2",
        "clips.test_clips": "3",
        "model.units": "8",
    },
    "where_and_when": {"clips.frames": "4", "model.units": "6"},
    "pyramid_attention": {"clips.frames": "3", "clips.test_frames": "5"},
    "attention_fusion": {"clips.frames": "3", "clips.test_frames": "5", "clips.snippet": "2"},
    "frame_classifier": {"clips.frames": "3", "clips.test_frames": "5"},
}


def recipe(name):
    return override(RECIPES[f"{name}_tiny"], {**SMALLER, **CHANGES[name]})


@pytest.fixture(scope="module", autouse=True)
def opened_once():
    """All tests share one recognizer per run, with its graphs, and one clean process."""
    once = functools.cache(loading.load_recognizer)
    with pytest.MonkeyPatch.context() as patch, one_clean_process():
        patch.setattr(loading, "load_recognizer", once)
        yield


@pytest.fixture(scope="module", params=MODELS)
def run(request, tmp_path_factory):
    """A finished run of each model, from frames. Tests only read it."""
    workdir, small = tmp_path_factory.mktemp(request.param) / "run", recipe(request.param)
    data = "tiny_flow" if small.stream.reads_flow else "tiny_data"
    data = request.getfixturevalue(data)
    with eagerly():
        return keras_attn.train(small, data, workdir)


def test_a_run_is_scored_and_its_log_holds_every_term(run):
    evaluation = keras_attn.evaluate(run.path, examples=1)
    assert evaluation.summary.videos == 6
    assert evaluation.report.exists()
    (row,) = read_json(run.results)["history"]
    model = keras.models.load_model(run.model, compile=False)
    for term in model.term_means:
        assert np.isfinite(row[term.name]) and f"val_{term.name}" in row


def test_maps_are_canonical_for_any_length(run, rng):
    recognizer = loading.load_recognizer(run.path)
    for length in (1, 4, 33):
        frames = rng.integers(0, 256, (2, length, 20, 28, 3), dtype="uint8")
        answer = {key: value.numpy() for key, value in recognizer.answer_frames(frames).items()}
        assert answer["where"].shape[:2] == answer["when"].shape == (2, length)
        assert answer["where"].ndim == 4
        assert min(answer["where"].min(), answer["when"].min()) >= 0
        np.testing.assert_allclose(answer["where"].sum((2, 3)), 1, atol=1e-4)
        np.testing.assert_allclose(answer["when"].sum(1), 1, atol=1e-4)
        assert answer["step_probabilities"].shape == (2, length, 4)
        for key in ("decision", "probabilities", "votes", "step_probabilities"):
            np.testing.assert_allclose(answer[key].sum(-1), 1, atol=1e-4)


def test_an_export_agrees_and_explains_a_video(run, tiny_data, tmp_path):
    verification = keras_attn.export(run.path, tmp_path / "models")
    assert verification.passed
    video = next((tiny_data.parent / "videos").rglob("*.mp4"))
    model = open_model(tmp_path / "models")
    explanation = keras_attn.explain(video, model, tmp_path / "overlay.mp4")
    assert explanation.paths[0].stat().st_size > 0
    recognizer, maps = loading.load_recognizer(run.path), explanation.maps
    for name in recognizer.model.attention_names:
        shape = recognizer.model.output[name].shape[1:]
        assert maps[name].shape == (len(maps["clip_frames"]), *shape)
    (served,) = keras_attn.predict(video, model)
    (trained,) = keras_attn.predict(video, run.path)
    assert served.guesses[0].probability == pytest.approx(trained.guesses[0].probability, abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_cached_features_and_frames_answer_alike(name, rng):
    """A model is trained on the cached output of its endpoint, and its file takes frames."""
    changes = {"cached": "true", "train_backbone": "false"}
    if name == "sta_cnn":
        changes |= {"clips.snippet": "1", "model.attention_network": "shared"}
    small = override(RECIPES[f"{name}_tiny"], {**SMALLER, **CHANGES[name], **changes})
    size, frames, kind = small.clips.size, small.clips.frames, MODELS[name]
    channels = small.stream.channels
    backbone = build_backbone("tiny", size, endpoint=small.endpoint, channels=channels)
    shape = (frames, *backbone.output_shape[1:])
    arguments = {**kind.input_arguments("tiny", cached=True), **small.arguments}
    cached = kind(4, input_shape=shape, **arguments)
    from_frames = swap_input(cached, "tiny", (frames, size, size, channels))
    backbone.set_weights(from_frames.image_network.get_weights())
    video = rng.integers(0, 256, (2, frames, size, size, channels), dtype="uint8")
    features = np.asarray(backbone(video.reshape(-1, *video.shape[2:]))).reshape(2, *shape)
    answers = [
        model({key: value}, training=False)["logits"]
        for model, key, value in ((cached, "features", features), (from_frames, "video", video))
    ]
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-4)
