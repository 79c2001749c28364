"""The recognizer against a plain loop over clips, for every length, and however it is cut."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from windows import segment_indices, window_indices, window_starts

import keras_attn.inference.recognizer as recognition
from keras_attn.data import transforms
from keras_attn.inference.aggregation import video_answers
from keras_attn.inference.pieces import in_pieces
from keras_attn.inference.recognizer import Recognizer
from keras_attn.models import STACNN, StructuredAttentionLSTM, swap_input
from keras_attn.recipes import Clips, Recipe

FRAMES, STRIDE, SIZE, CLASSES = 4, 3, 16, 3
CLIPS = Clips(frames=FRAMES, stride=STRIDE, size=SIZE)
SEGMENTS = Clips(sampling="segments", frames=FRAMES, test_frames=6, size=SIZE)


def model(attention="classic", precision="float32"):
    import keras

    keras.utils.set_random_seed(5)
    made = StructuredAttentionLSTM(
        CLASSES,
        input_shape=(FRAMES, SIZE, SIZE, 3),
        units=6,
        attention=attention,
        logit_tanh=False,
        backbone="tiny",
        dtype=precision,
    )
    # Larger weights than at the start, so that clips disagree and attention is not uniform.
    for layer in made.layers:
        if layer.name != "backbone":
            layer.set_weights([2.5 * w for w in layer.get_weights()])
    return made


@pytest.fixture(scope="module")
def trained():
    return model()


@pytest.fixture(scope="module")
def recognizer(trained):
    return Recognizer(trained, recipe(CLIPS))


def recipe(clips):
    return Recipe("structured_attention", clips=clips)


def video(length, batch=2, height=20, width=28):
    rng = np.random.default_rng(length)
    coarse = rng.integers(0, 256, (batch, length, 5, 7, 3), "uint8")
    return coarse.repeat(height // 5, axis=2).repeat(width // 7, axis=3)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def windows(length, step=1):
    """The frames of each clip."""
    starts = window_starts(length, FRAMES, STRIDE, step)
    return [window_indices(start, length, FRAMES, step) for start in starts]


def plain(trained, frames, clips_frames, snippet=1, votes=True):
    """The contract of `Recognizer` for one video `(T, H, W, 3)`, as loops over clips and frames."""
    pictures = transforms.resize_stretched(tf.constant(frames), SIZE).numpy()
    clips, raw = [], {name: [] for name in trained.attention_names}
    where, when, steps = ([[] for _ in frames] for _ in range(3))
    for chosen in clips_frames:
        beside = [pictures[np.minimum(chosen + i, len(frames) - 1)] for i in range(snippet)]
        outputs = trained({"video": np.concatenate(beside, -1)[None]}, training=False)
        maps = trained.explain(outputs)
        clips.append(softmax(outputs["logits"][0].numpy()))
        for name, maps_of_clips in raw.items():
            maps_of_clips.append(outputs[name][0].numpy())
        for i, frame in enumerate(chosen):
            where[frame].append(maps["where"][0, i].numpy())
            when[frame].append(float(maps["when"][0, i]))
            steps[frame].append(softmax(outputs["step_logits"][0, i].numpy()))
    clips = np.array(clips)
    counts = np.bincount(clips.argmax(1), minlength=CLASSES)
    held = sorted(set(np.concatenate(clips_frames).tolist()))
    nearest = [min(held, key=lambda h: (abs(h - t), h)) for t in range(len(frames))]
    where, when, steps = ([values[t] for t in nearest] for values in (where, when, steps))
    when = np.array([np.mean(values) for values in when])
    return {
        "probabilities": clips.mean(0),
        "logits": np.log(clips.mean(0)),
        "votes": counts / len(clips),
        "decision": (counts + clips.mean(0)) / (len(clips) + 1) if votes else clips.mean(0),
        "clip_probabilities": clips,
        "clip_positions": np.array(clips_frames),
        **{name: np.array(maps_of_clips) for name, maps_of_clips in raw.items()},
        "where": np.array([np.mean(maps, 0) for maps in where]),
        "when": when / when.sum(),
        "step_probabilities": np.array([np.mean(values, 0) for values in steps]),
    }


def assert_same(actual, expected, atol=2e-6):
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].shape == value.shape, name
        np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=atol, err_msg=name)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 41])
def test_every_length_is_the_loop_over_its_windows(recognizer, trained, length):
    frames = video(length)
    answer = {key: value.numpy() for key, value in recognizer.answer_frames(frames).items()}
    for i in range(2):
        expected = plain(trained, frames[i], windows(length))
        assert_same({key: value[i] for key, value in answer.items()}, expected)
    np.testing.assert_allclose(answer["where"].sum((2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(answer["when"].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(answer["votes"].sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["steps", "segments"])
def test_frames_that_no_clip_holds_get_what_the_nearest_got(trained, name):
    if name == "steps":
        clips, reference = dataclasses.replace(CLIPS, step=2), trained
    else:
        clips, reference = SEGMENTS, swap_input(trained, "tiny", (6, SIZE, SIZE, 3))
    recognizer = Recognizer(trained, recipe(clips))
    for length in (1, 2, 6, 7, 41):
        chosen = windows(length, step=2) if name == "steps" else [segment_indices(length, 6)]
        frames = video(length, batch=1)
        answer = recognizer.answer_frames(frames)
        expected = plain(reference, frames[0], chosen)
        assert_same({key: value[0].numpy() for key, value in answer.items()}, expected)


def test_the_backbone_sees_no_frame_that_no_clip_holds(trained, monkeypatch):
    recognizer, seen = Recognizer(trained, recipe(SEGMENTS)), []
    features = recognizer._features

    def counting(pictures):
        seen.append(len(pictures))
        return features(pictures)

    monkeypatch.setattr(recognizer, "_features", counting)
    answer = recognizer.from_frames(video(41))
    assert seen == [2 * SEGMENTS.test_frames]
    assert answer["where"].shape[:2] == (2, 41)


def test_snippets_of_a_network_that_sees_several_frames(rng):
    arguments = {"groups": 2, "test_keep": 2, "attention_network": "tiny", "backbone": "tiny"}
    made = STACNN(CLASSES, input_shape=(3, SIZE, SIZE, 6), **arguments)
    for layer in made.layers:
        layer.set_weights([3 * w for w in layer.get_weights()])
    clips = dataclasses.replace(SEGMENTS, frames=3, test_frames=3, snippet=2)
    recognizer = Recognizer(made, Recipe("sta_cnn", cached=False, clips=clips))
    for length in (1, 3, 14):
        frames, chosen = video(length, batch=2), [segment_indices(length, 3, snippet=2)]
        answer = recognizer.answer_frames(frames)
        for i in range(2):
            expected = plain(made, frames[i], chosen, 2, votes=False)
            assert_same({key: value[i].numpy() for key, value in answer.items()}, expected)


def test_the_clips_of_the_test_disagree(recognizer):
    votes = recognizer.answer_frames(video(41))["votes"].numpy()
    assert ((votes > 0) & (votes < 1)).any(), "else the tests above say nothing about votes"


@pytest.mark.parametrize(("images", "clips"), [(1, 1), (3, 2), (7, 5), (1000, 1000)])
def test_the_answer_does_not_depend_on_the_pieces(recognizer, trained, monkeypatch, images, clips):
    expected = {key: value.numpy() for key, value in recognizer.answer_frames(video(41)).items()}
    monkeypatch.setattr(recognition, "FRAMES_AT_ONCE", images)
    monkeypatch.setattr(recognition, "CLIPS_AT_ONCE", clips)
    again = Recognizer(trained, recipe(CLIPS)).answer_frames(video(41))
    assert_same({key: value.numpy() for key, value in again.items()}, expected)


def test_no_piece_is_larger_than_allowed_and_every_row_is_computed_once_in_order():
    sizes = []

    def double(some):
        sizes.append(len(some))
        return tf.cast(some, tf.float32) * 2

    for count in (1, 2, 5, 6, 7, 13):
        sizes.clear()
        values = in_pieces(double, tf.range(count), 6, ())
        assert values.numpy().tolist() == [2.0 * i for i in range(count)]
        assert max(sizes) <= 6
        assert sum(sizes) - count < len(sizes), "at most the last piece is filled up"


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_jpegs_and_features_give_the_answer_of_their_frames(precision):
    recognizer = Recognizer(model(precision=precision), recipe(CLIPS))
    frames = video(6)
    jpegs = [[tf.io.encode_jpeg(frame).numpy() for frame in one] for one in frames]
    decoded = np.array([[tf.io.decode_jpeg(jpeg).numpy() for jpeg in one] for one in jpegs])
    expected = recognizer.answer_frames(decoded)
    expected = {key: value.numpy() for key, value in expected.items()}
    from_jpegs = recognizer.answer_jpegs(jpegs)
    assert_same({key: value.numpy() for key, value in from_jpegs.items()}, expected)

    pictures = transforms.resize_stretched(tf.reshape(decoded, (-1, *decoded.shape[2:])), SIZE)
    maps = tf.cast(recognizer.backbone(pictures, training=False), tf.float32)
    maps = tf.reshape(maps, (2, 6, *recognizer.feature_shape))
    from_features = recognizer.answer_features(maps)
    atol = 2e-6 if precision == "float32" else 2e-3
    assert_same({key: value.numpy() for key, value in from_features.items()}, expected, atol)


def test_one_video_is_asked_for_by_any_of_its_forms(trained):
    recognizer = Recognizer(trained, recipe(SEGMENTS))
    frames = video(41, batch=1)
    expected = {key: value[0].numpy() for key, value in recognizer.answer_frames(frames).items()}
    assert_same(recognizer.ask(frames=frames[0]), expected)
    pictures = transforms.resize_stretched(frames[0], SIZE)
    maps = recognizer.backbone(pictures, training=False).numpy()
    assert_same(recognizer.ask(features=maps), expected)
    held = recognizer.positions(41)
    assert held.tolist() == sorted({*segment_indices(41, 6)})
    assert_same(recognizer.ask(features=maps[held], length=41), expected)


def test_frames_of_a_request_may_be_jpegs_of_different_sizes(recognizer):
    jpegs = [[tf.io.encode_jpeg(video(1, 1, height, 28)[0, 0]).numpy() for height in (5, 20, 40)]]
    assert recognizer.answer_jpegs(jpegs)["where"].shape == (1, 3, *recognizer.feature_shape[:2])


def test_without_attention_every_cell_weighs_the_same():
    answer = Recognizer(model("none"), recipe(CLIPS)).answer_frames(video(5))
    cells = np.prod(answer["where"].shape[2:])
    np.testing.assert_allclose(answer["where"], 1 / cells, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 0, 20, 20, 3), (0, 4, 20, 20, 3)])
def test_a_request_without_frames_or_videos_is_refused(recognizer, shape):
    with pytest.raises(tf.errors.InvalidArgumentError):
        recognizer.answer_frames(np.zeros(shape, "uint8"))


@pytest.mark.parametrize("rule", [None, "vote", "mean"])
def test_clips_become_one_answer_by_the_rule_of_the_recipe(rule):
    clips = tf.constant([[[0.51, 0.49]], [[0.51, 0.49]], [[0.02, 0.98]]])  # (W, B, K)
    asked = Recipe("structured_attention", clips=CLIPS, clip_aggregation=rule)
    answer = video_answers(clips, asked.aggregation)
    expected = [1.04 / 3, 1.96 / 3] if rule == "mean" else [(2 + 1.04 / 3) / 4, (1 + 1.96 / 3) / 4]
    np.testing.assert_allclose(answer["decision"][0], expected, rtol=1e-6)
    np.testing.assert_allclose(answer["probabilities"][0], [1.04 / 3, 1.96 / 3], rtol=1e-6)
    assert Recipe("temporal_attention").aggregation == "mean"
