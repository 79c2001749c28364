"""The recognizer against a plain loop over windows, for every length, and however it is cut."""

import numpy as np
import pytest
import tensorflow as tf
from windows import window_indices, window_starts

import keras_attn.recognition as recognition
from keras_attn.data import transforms
from keras_attn.models import StructuredAttentionLSTM
from keras_attn.recipes import Clips
from keras_attn.recognition import Recognizer, in_pieces

FRAMES, STRIDE, SIZE, CLASSES = 4, 3, 16, 3
CLIPS = Clips(frames=FRAMES, stride=STRIDE, size=SIZE)


def model(attention="classic", precision="float32"):
    import keras

    keras.utils.set_random_seed(5)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        made = StructuredAttentionLSTM(
            CLASSES,
            input_shape=(FRAMES, SIZE, SIZE, 3),
            units=6,
            attention=attention,
            logit_tanh=False,
            backbone="tiny",
        )
    finally:
        keras.config.set_dtype_policy(before)
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
    return Recognizer(trained, CLIPS)


def video(length, batch=2, height=20, width=28):
    rng = np.random.default_rng(length)
    coarse = rng.integers(0, 256, (batch, length, 5, 7, 3), "uint8")
    return coarse.repeat(height // 5, axis=2).repeat(width // 7, axis=3)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def plain(trained, frames):
    """What `Recognizer` promises for one video `(T, H, W, 3)`, as loops over windows and frames."""
    length = len(frames)
    pictures = transforms.squeeze(tf.constant(frames), SIZE).numpy()
    clips, where, when, steps = [], *([[] for _ in frames] for _ in range(3))
    for start in window_starts(length, FRAMES, STRIDE):
        chosen = window_indices(start, length, FRAMES)
        outputs = trained({"video": pictures[chosen][None]}, training=False)
        maps = trained.explain(outputs)
        clips.append(softmax(outputs["logits"][0].numpy()))
        for i, frame in enumerate(chosen):
            where[frame].append(maps["where"][0, i].numpy())
            when[frame].append(float(maps["when"][0, i]))
            steps[frame].append(softmax(outputs["step_logits"][0, i].numpy()))
    clips = np.array(clips)
    when = np.array([np.mean(values) for values in when])
    return {
        "probabilities": clips.mean(0),
        "logits": np.log(clips.mean(0)),
        "votes": np.bincount(clips.argmax(1), minlength=CLASSES) / len(clips),
        "clip_probabilities": clips,
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
        assert_same({key: value[i] for key, value in answer.items()}, plain(trained, frames[i]))
    np.testing.assert_allclose(answer["where"].sum((2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(answer["when"].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(answer["votes"].sum(1), 1, atol=1e-5)


def test_the_clips_of_the_test_disagree(recognizer):
    votes = recognizer.answer_frames(video(41))["votes"].numpy()
    assert ((votes > 0) & (votes < 1)).any(), "else the tests above say nothing about votes"


@pytest.mark.parametrize(("images", "clips"), [(1, 1), (3, 2), (7, 5), (1000, 1000)])
def test_the_answer_does_not_depend_on_the_pieces(recognizer, trained, monkeypatch, images, clips):
    expected = {key: value.numpy() for key, value in recognizer.answer_frames(video(41)).items()}
    monkeypatch.setattr(recognition, "FRAMES_AT_ONCE", images)
    monkeypatch.setattr(recognition, "CLIPS_AT_ONCE", clips)
    again = Recognizer(trained, CLIPS).answer_frames(video(41))
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
    recognizer = Recognizer(model(precision=precision), CLIPS)
    frames = video(6)
    jpegs = [[tf.io.encode_jpeg(frame).numpy() for frame in one] for one in frames]
    decoded = np.array([[tf.io.decode_jpeg(jpeg).numpy() for jpeg in one] for one in jpegs])
    expected = recognizer.answer_frames(decoded)
    expected = {key: value.numpy() for key, value in expected.items()}
    from_jpegs = recognizer.answer_jpegs(jpegs)
    assert_same({key: value.numpy() for key, value in from_jpegs.items()}, expected)

    pictures = transforms.squeeze(tf.reshape(decoded, (-1, *decoded.shape[2:])), SIZE)
    maps = tf.cast(recognizer.backbone(pictures, training=False), tf.float32)
    maps = tf.reshape(maps, (2, 6, *recognizer.feature_shape))
    from_features = recognizer.answer_features(maps)
    atol = 2e-6 if precision == "float32" else 2e-3
    assert_same({key: value.numpy() for key, value in from_features.items()}, expected, atol)


def test_frames_of_a_request_may_be_jpegs_of_different_sizes(recognizer):
    jpegs = [[tf.io.encode_jpeg(video(1, 1, height, 28)[0, 0]).numpy() for height in (5, 20, 40)]]
    assert recognizer.answer_jpegs(jpegs)["where"].shape == (1, 3, *recognizer.feature_shape[:2])


def test_without_attention_every_cell_weighs_the_same():
    answer = Recognizer(model("none"), CLIPS).answer_frames(video(5))
    cells = np.prod(answer["where"].shape[2:])
    np.testing.assert_allclose(answer["where"], 1 / cells, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 0, 20, 20, 3), (0, 4, 20, 20, 3)])
def test_a_request_without_frames_or_videos_is_refused(recognizer, shape):
    with pytest.raises(tf.errors.InvalidArgumentError):
        recognizer.answer_frames(np.zeros(shape, "uint8"))
