"""Flow from the frames to the answer: read, trained on, cached, scored, served from RGB alone."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from clean_server import one_clean_process

import keras_attn
from keras_attn import flow
from keras_attn.backbones import build_backbone
from keras_attn.data import batches, transforms
from keras_attn.data.features import FeatureFolder
from keras_attn.data.flow_estimation import planes_of as planes_between
from keras_attn.data.sampling import Segments
from keras_attn.data.source import open_source, stream_videos
from keras_attn.data.streams import Stream
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.flow import codec
from keras_attn.flow.tvl1 import tvl1
from keras_attn.inference.loading import load_recognizer
from keras_attn.inference.recognizer import Recognizer
from keras_attn.metrics.scores import read_scores
from keras_attn.recipes import RECIPES, override

SMALLER = {
    "clips.size": "32",
    "clips.frames": "4",
    "clips.test_frames": "5",
    "clips.snippet": "3",
    "epochs": "2",
    "batch_size": "6",
    "model.test_pooling": "average",  # a choice of segments would hang on the last bit of the flow
    "model.groups": "2",
    "seed": "4",
}


def small(**changes):
    return override(RECIPES["sta_cnn_tiny"], {"input": "flow", **SMALLER, **changes})


@pytest.fixture(scope="module")
def run(tiny_flow):
    return keras_attn.train(small(), tiny_flow, tiny_flow.parent / "run")


@pytest.fixture(scope="module")
def rgb_run(tiny_flow):
    """Its attention network is the backbone, so that one frame is enough."""
    changes = {"input": "rgb", "clips.snippet": "1", "model.attention_network": "shared"}
    recipe = override(RECIPES["sta_cnn_tiny"], SMALLER | changes)
    return keras_attn.train(recipe, tiny_flow, tiny_flow.parent / "rgb_run")


def planes_of(video):
    return batches.decoded_planes(batches.encoded_planes(video.flow)).numpy()


def frames_of(video):
    return batches.decoded_frames(batches.encoded_frames(video.path)).numpy()


# === Reading ===


@pytest.mark.parametrize("name", ["flow", "rgb_and_flow"])
def test_a_clip_holds_planes_from_each_position_on(tiny_flow, name):
    stream, sampler = Stream(name, snippet=3), Segments(4, snippet=3)
    videos = stream_videos(tiny_flow, stream)[:2]
    index = batches.clip_index(videos, sampler)
    read = batches.read_record(batches.frame_numbers(sampler, 3), 16, stream=stream)
    clips, _ = next(iter(batches.batches(index, read, 2)))
    assert clips["video"].shape == (2, 4, 16, 16, 9 if name == "rgb_and_flow" else 6)
    for video, clip in zip(videos, clips["video"].numpy(), strict=True):
        assert video.length == 11
        planes = tf.image.resize(planes_of(video), (16, 16), antialias=True).numpy()
        frames = tf.image.resize(frames_of(video), (16, 16), antialias=True).numpy()
        for i in range(4):
            start = int((i + 0.5) * (11 - 3 + 1) / 4)
            subsets = [frames[start]] if name == "rgb_and_flow" else []
            subsets += [planes[min(start + k, 10)] for k in range(3)]
            np.testing.assert_allclose(clip[i], np.concatenate(subsets, -1), atol=1e-4)


@pytest.mark.parametrize("name", ["rgb", "flow", "rgb_and_flow"])
def test_clips_that_are_cropped_and_mirrored_have_all_channels(tiny_flow, name):
    """Inside tf.data sizes are unknown there, and a side by side needs the number of channels."""
    stream, sampler = Stream(name, snippet=3), Segments(2, snippet=3)
    index = batches.clip_index(stream_videos(tiny_flow, stream)[:5], sampler)
    numbers = batches.frame_numbers(sampler, 3)
    for augment in itertools.permutations((transforms.random_crop, transforms.random_flip)):
        read = batches.read_record(numbers, 16, augment, stream)
        dataset = batches.batches(index, read, 2, seed=1)
        assert dataset.element_spec[0]["video"].shape == (None, 2, 16, 16, stream.channels)
        for clips, _ in dataset:
            assert clips["video"].numpy().std((0, 1, 2, 3)).min() > 0  # nothing is left empty


def test_a_mirrored_motion_goes_the_other_way():
    random = np.random.default_rng(1)
    planes = random.integers(0, 256, (3, 4, 5, 2), dtype=np.uint8)
    frames = random.integers(0, 256, (2, 6, 7, 3), dtype=np.uint8)
    seen = set()
    for seed in range(12):
        example = {"video": tf.constant(frames), "planes": tf.constant(planes)}
        after = transforms.random_flip(example | {"seed": tf.constant([seed, 3])})
        mirrored = np.array_equal(after["video"], frames[:, :, ::-1])
        assert mirrored or np.array_equal(after["video"], frames)
        expected = planes.copy()
        if mirrored:
            expected = planes[:, :, ::-1].copy()
            expected[..., 0] = 255 - expected[..., 0]
        np.testing.assert_array_equal(after["planes"], expected)
        seen.add(mirrored)
    assert seen == {True, False}


def test_one_box_is_cut_out_of_frames_and_planes():
    rows, columns = np.meshgrid(np.arange(100), np.arange(200), indexing="ij")
    frames = np.stack([rows, columns, rows], -1)[None].astype("uint8")
    example = {"video": tf.constant(frames), "planes": tf.constant(frames[:, ::2, ::2, :2])}
    for seed in range(8):
        after = transforms.random_crop(example | {"seed": tf.constant([seed, 3])})
        for axis in (1, 2):
            sides = [after[key].shape[axis] / example[key].shape[axis] for key in example]
            assert abs(sides[0] - sides[1]) < 0.02
        corners = [after[key][0, 0, 0, :2].numpy().astype(int) for key in ("video", "planes")]
        assert np.abs(corners[0] - corners[1]).max() <= 2  # the planes hold every second pixel


def test_flow_that_is_not_there_is_named(tiny_flow, tiny_data):
    with pytest.raises(DataError, match="keras-attn extract-flow"):
        open_source(tiny_data, small())
    with pytest.raises(DataError, match="dis"):
        open_source(tiny_flow, small(flow_method="dis"))


# === A run ===


def test_a_run_of_flow_learns_and_is_scored(run, tiny_flow):
    history = run.read_results()["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert run.facts["input"]["flow"]["method"] == "tvl1"
    evaluation = keras_attn.evaluate(run.path, examples=1)
    scores = read_scores(evaluation.folder / "scores.npz")
    assert (scores.model, scores.input, scores.subset) == ("sta_cnn", "flow", "test")
    recognizer = load_recognizer(run.path)
    source = open_source(tiny_flow, run.recipe)
    for video, expected in zip(source.subsets["test"], scores.probabilities, strict=True):
        answer = recognizer.answer_planes(frames_of(video)[None], planes_of(video)[None])
        np.testing.assert_allclose(answer["probabilities"][0], expected, atol=1e-5)
        assert answer["where"].shape[:2] == answer["when"].shape == (1, 12)


def test_flow_is_computed_from_the_frames_where_none_is_given(run, tiny_flow):
    recognizer = load_recognizer(run.path)
    (video, *_) = open_source(tiny_flow, run.recipe).subsets["test"]
    frames = frames_of(video)
    stretched = transforms.resize_stretched(frames, recognizer.flow_size).numpy()
    made = tf.function(tvl1)(stretched[:-1], stretched[1:])  # without XLA, as in a served model
    planes = codec.to_bytes(made).numpy()
    estimated = codec.to_bytes(flow.estimate(stretched[:-1], stretched[1:])).numpy()
    assert abs(planes.astype(int) - estimated).max() <= 1
    given = recognizer.answer_planes(frames[None], planes[None])
    found = recognizer.answer_frames(frames[None])
    for key in ("probabilities", "where", "when"):
        np.testing.assert_allclose(found[key], given[key], atol=2e-3)
    (alone,) = recognizer.answer_frames(frames[None, :1])["probabilities"].numpy()
    assert np.isfinite(alone).all() and alone.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(
        recognizer.answer_frames(frames[None, [0, 0]])["probabilities"][0], alone, atol=1e-5
    )


def test_cached_features_of_flow_are_the_backbone_on_stacks(tiny_flow):
    stream, tiny = Stream("flow", snippet=3), {"backbone": "tiny", "weights": None, "size": 32}
    summary = keras_attn.features(tiny_flow, input="flow", snippet=3, **tiny)
    assert summary.folder.name == "tiny-32-tvl1-3" and summary.positions == 24 * 11
    backbone = build_backbone("tiny", 32, summary.folder / "backbone.weights.h5", channels=6)
    video = stream_videos(tiny_flow, stream)[0]
    planes = tf.image.resize(planes_of(video), (32, 32), antialias=True).numpy()
    stacks = [np.concatenate(planes[np.minimum([t, t + 1, t + 2], 10)], -1) for t in range(11)]
    store = FeatureFolder(tiny_flow, "tiny", 32, stream).map_store("maps")
    found = np.load(store.path(video.id))
    np.testing.assert_allclose(found, backbone.predict(np.stack(stacks), verbose=0), atol=5e-3)
    recipe = dataclasses.replace(small(), cached=True, train_backbone=False)
    cached = keras_attn.train(recipe, tiny_flow, tiny_flow.parent / "cached")
    assert load_recognizer(cached.path).per_frame
    evaluation = keras_attn.evaluate(cached.path, examples=1)  # draws the maps of every frame
    assert evaluation.summary.videos > 0
    answer = load_recognizer(cached.path).answer_features(found[None].astype("float32"))
    assert answer["where"].shape[:2] == answer["when"].shape == (1, 12)  # frames, not pairs
    assert answer["when"].numpy().sum() == pytest.approx(1, abs=1e-5)


def test_frames_side_by_side_are_not_taken_for_flow(tiny_data):
    with pytest.raises(UsageError, match="`snippet` 2 needs `input` flow"):
        keras_attn.features(tiny_data, backbone="tiny", weights=None, size=32, snippet=2)
    for wrong in ({"input": "depth"}, {"flow_method": "tvl1_opencv"}, {"snippet": -2}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            Stream(**wrong)


# === Serving ===


def test_two_streams_export_as_one_model_of_frames(run, rgb_run, tmp_path):
    runs = [rgb_run.path, run.path]
    with one_clean_process():
        verification = keras_attn.export(runs, tmp_path / "two", weights=(1, 3))
    assert verification.passed
    with pytest.raises(UserError, match="from 2 runs, got 1"):
        keras_attn.verify(tmp_path / "two", run=run.path)
    served = tf.saved_model.load(str(verification.path)).signatures["serving_default"]
    frames = np.random.default_rng(0).integers(0, 256, (2, 7, 30, 44, 3), dtype=np.uint8)
    found = served(frames=tf.constant(frames))["probabilities"].numpy()
    subsets = [load_recognizer(one.path).answer_frames(frames) for one in (rgb_run, run)]
    expected = 0.25 * subsets[0]["probabilities"] + 0.75 * subsets[1]["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flow_of_opencv_is_not_promised_in_a_graph(run, tmp_path, monkeypatch):
    facts = run.facts | {"input": {**run.facts["input"]}}
    facts["input"]["flow"] = facts["input"]["flow"] | {"warped": True}
    monkeypatch.setattr(
        "keras_attn.training.runs.open_run", lambda path: dataclasses.replace(run, facts=facts)
    )
    with pytest.raises(UserError, match="tvl1_warped, which needs OpenCV"):
        keras_attn.export(run.path, tmp_path / "warped")
    recognizer = Recognizer(
        keras.models.load_model(run.model, compile=False), run.recipe, facts["input"]["flow"]
    )
    with pytest.raises(ValueError, match="ask for it by `answer`"):
        recognizer.from_frames(np.zeros((1, 3, 20, 24, 3), "uint8"))


def test_flow_of_opencv_is_computed_for_a_video_that_is_no_record(run):
    made = run.facts["input"]["flow"] | {"method": "dis"}
    recognizer = Recognizer(keras.models.load_model(run.model, compile=False), run.recipe, made)
    frames = np.random.default_rng(5).integers(0, 256, (6, 30, 40, 3), dtype=np.uint8)
    planes = planes_between(frames, made)
    assert planes.shape == (5, 16, 18, 2) and planes.dtype == np.uint8
    stretched = transforms.resize_stretched(frames, (16, 18)).numpy()
    expected = codec.to_bytes(flow.estimate(stretched[:-1], stretched[1:], "dis")).numpy()
    np.testing.assert_array_equal(planes, expected)
    answer = recognizer.answer_planes(frames[None], planes[None])
    assert answer["when"].shape == (1, 6)
    np.testing.assert_array_equal(planes_between(frames[:1], made), np.full((1, 16, 18, 2), 128))
