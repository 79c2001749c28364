"""Clips of unequal length in one batch answer and train as each does by itself."""

import re
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
from checks import BACKEND, CROSS_ENTROPY, JIT, answer, numpy

from keras_attn.models import (
    STACNN,
    FrameClassifier,
    PyramidAttentionNetwork,
    StructuredAttentionLSTM,
    TemporalAttentionLSTM,
    WhereAndWhen,
)
from keras_attn.models.two_stream import AttentionFusionNetwork

TIME, MAP = 6, (2, 3, 8)
# The frames of each clip: padded behind, on all sides, and not at all.
FRAMES = ([0, 1, 2, 3], [1, 2, 4, 5], range(TIME))
MASK = np.array([[t in frames for t in range(TIME)] for frames in FRAMES])
MODELS = {
    "structured": lambda: StructuredAttentionLSTM(
        3, (None, *MAP), 5, dropout=0, penalty=0.1, block=1
    ),
    "structured_none": lambda: StructuredAttentionLSTM(
        3, (None, *MAP), 5, attention="none", dropout=0
    ),
    "where_and_when": lambda: WhereAndWhen(
        3, (None, *MAP), 5, reduce=7, dropout=0, total_variation=0.1, contrast=0.1
    ),
    "where_and_when_posthoc": lambda: WhereAndWhen(
        3,
        (None, *MAP),
        5,
        temporal_mode="posthoc",
        dropout=0,
        unimodality_reduction="sqrt_mean",
    ),
    "where_and_when_none": lambda: WhereAndWhen(
        3, (None, *MAP), 5, spatial="none", temporal_mode="none"
    ),
    "temporal": lambda: TemporalAttentionLSTM(3, (None, *MAP), 5, 4, last=2, dropout=0),
    "temporal_none": lambda: TemporalAttentionLSTM(
        3, (None, 8), 5, 4, attention="none", last=2, dropout=0
    ),
    "sta_cnn": lambda: STACNN(3, (None, *MAP), groups=2, test_keep=3, dropout=0),
    "pyramid": lambda: PyramidAttentionNetwork(
        3, (None, *MAP), level_channels=(3, 5), dropout=0, interaction=0.1, pyramid=0.1
    ),
    "pyramid_none": lambda: PyramidAttentionNetwork(3, (None, 8), mode="none", dropout=0),
    "fusion": lambda: AttentionFusionNetwork(3, (None, *MAP), dropout=0),
    "frames": lambda: FrameClassifier(3, (None, *MAP), dropout=0),
}
ON_JAX = ("structured", "where_and_when", "sta_cnn", "pyramid")
names = [name for name in MODELS if BACKEND != "jax" or name in ON_JAX]


def built(name, rng):
    """A model with random weights, and clips for it."""
    model = MODELS[name]()
    for weight in model.trainable_weights:
        weight.assign(rng.uniform(-0.5, 0.5, size=weight.shape))
    shape = next(iter(model.input.values())).shape[1:]
    return model, rng.normal(size=(len(MASK), TIME, *shape[1:])).astype("float32")


def padded(clips, rng):
    """The clips with padding by zeros, the last frame, noise, NaN and infinity."""
    filled = clips.copy()
    kinds = (0, clips[0, 3], rng.normal(size=clips.shape[2:]) * 100, np.nan, np.inf)
    for number, (b, t) in enumerate(np.argwhere(~MASK)):
        filled[b, t] = kinds[number % len(kinds)]
    return filled


def alone(clips, b):
    return {"features": clips[b : b + 1, list(FRAMES[b])]}


@pytest.mark.parametrize("name", names)
def test_padded_clips_answer_as_by_themselves(name, rng):
    model, clips = built(name, rng)
    together = answer(model, {"features": padded(clips, rng), "mask": MASK})
    maps = {key: numpy(x) for key, x in model.explain(together, MASK).items()}
    for b in range(len(MASK)):
        expected = answer(model, alone(clips, b))
        for key, value in expected.items():
            found = together[key][b]
            axes = [i for i, n in enumerate(value.shape[1:]) if n == len(FRAMES[b]) < TIME]
            for axis in axes[: 2 if key == "temporal_attention" else 1]:
                if found.shape[axis] == TIME:
                    rest = np.take(found, np.flatnonzero(~MASK[b]), axis)
                    assert "attention" not in key or not rest.any()
                    found = np.take(found, FRAMES[b], axis)
            np.testing.assert_allclose(found, value[0], rtol=1e-6, atol=1e-6, err_msg=key)
        for key, value in model.explain(expected).items():
            found = maps[key][b]
            assert not found[~MASK[b]].any()
            np.testing.assert_allclose(found[MASK[b]], numpy(value)[0], atol=1e-6, err_msg=key)


def _loss_and_gradients(model, inputs, labels):
    import tensorflow as tf

    model.compile("sgd", CROSS_ENTROPY(from_logits=True), run_eagerly=True)
    inputs = {name: tf.constant(x) for name, x in inputs.items()}
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=True)
        loss = model.compute_loss(inputs, tf.constant(labels), outputs)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    return [np.array(0 if x is None else x) for x in (loss, *gradients)]


@pytest.mark.skipif(BACKEND == "jax", reason="the equations are the same; JAX compiles for seconds")
@pytest.mark.parametrize("name", [n for n in names if n != "where_and_when_none"])
def test_they_train_as_by_themselves(name, rng):
    """Normalization by the statistics of a batch is left out: it sees all clips of a batch."""
    model, clips = built(name, rng)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    labels = np.array([2, 0, 1])
    inputs = {"features": padded(clips, rng), "mask": MASK}
    found = _loss_and_gradients(model, inputs, labels)
    each = [_loss_and_gradients(model, alone(clips, b), labels[b : b + 1]) for b in range(3)]
    for value, *others in zip(found, *each, strict=True):
        np.testing.assert_allclose(value, np.mean(others, axis=0), rtol=1e-4, atol=1e-5)


def test_fit_and_predict_take_lengths(rng):
    model, clips = built("temporal", rng)
    lengths, labels = np.array([4, 1, 6], "int32"), np.array([2, 0, 1])
    inputs = {"features": clips, "lengths": lengths}
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), jit_compile=JIT, run_eagerly=not JIT)
    expected = [answer(model, {"features": clips[b : b + 1, :n]}) for b, n in enumerate(lengths)]
    found = model.predict(inputs, verbose=0)
    for b, clip in enumerate(expected):
        np.testing.assert_allclose(found["logits"][b], clip["logits"][0], atol=1e-6)
    loss = model.evaluate(inputs, labels, verbose=0)
    model.fit(inputs, labels, verbose=0)
    assert model.evaluate(inputs, labels, verbose=0) < loss


def test_in_a_functional_model(rng):
    """Lengths are one more input; `keras.layers.Masking` before the model does as well."""
    model, clips = built("structured", rng)
    clips[1, 4:] = 0
    features = keras.Input((None, *MAP), name="features")
    lengths = keras.Input((), dtype="int32", name="lengths")
    told = model({"features": features, "lengths": lengths})["logits"]
    masking = model({"features": keras.layers.Masking()(features)})["logits"]
    both = keras.Model([features, lengths], [told, masking])
    expected = numpy(model({"features": clips[1:2, :4]})["logits"])[0]
    for logits in both([clips, np.array([6, 4, 6])]):
        np.testing.assert_allclose(numpy(logits)[1], expected, atol=1e-6)
    # Nothing is left on the user's tensors.
    features = keras.ops.convert_to_tensor(clips)
    whole = numpy(model({"features": features})["logits"])
    model({"features": features, "lengths": np.array([1, 1, 1])})
    np.testing.assert_array_equal(numpy(model({"features": features})["logits"]), whole)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            {"lengths": np.array([4, 0, 6])},
            "`lengths` must be from 1 to the 6 frames of features, ",
        ),
        ({"lengths": np.array([4, 7, 6])}, "got 4 to 7"),
        ({"lengths": np.ones((3, 2))}, r"`lengths` must be \(B,\)"),
        ({"mask": MASK[:, :4]}, r"`mask` must be \(B, T\) for features"),
        ({"mask": MASK, "lengths": np.ones(3)}, "and not both"),
    ],
)
def test_what_cannot_be_is_told_by_name(told, message, rng):
    model, clips = built("frames", rng)
    with pytest.raises(ValueError, match=message):
        model({"features": clips, **told})


@pytest.mark.skipif(BACKEND == "jax", reason="what differs is the network, not the backend")
def test_backbones(rng):
    """One that sees single frames, one that shifts channels, and one that knows no masks."""
    video = rng.integers(0, 256, (2, 4, 32, 32, 3)).astype("float32")
    lengths = np.array([4, 2])
    noise = video.copy()
    noise[1, 2:] = np.nan
    for backbone in ("tiny", "tsm_resnet_50"):
        model = TemporalAttentionLSTM(3, video.shape[1:], 5, 2, last=1, backbone=backbone)
        found = answer(model, {"video": noise, "lengths": lengths})
        swapped = TemporalAttentionLSTM(3, (2, *video.shape[2:]), 5, 2, last=1, backbone=backbone)
        swapped.set_weights(model.get_weights())
        expected = answer(swapped, {"video": video[1:, :2]})
        for key in ("logits", "temporal_attention"):
            value = found[key][1:] if key == "logits" else found[key][1:, :, :2]
            np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-6)
    clips = keras.Input((None, 4, 4, 3))
    network = keras.Model(clips, keras.layers.Conv3D(8, 3, padding="same")(clips))
    model = TemporalAttentionLSTM(3, (4, 4, 4, 3), 5, 2, last=1, backbone=network)
    with pytest.raises(ValueError, match="sees several frames at once and does not heed masks"):
        model({"video": video[:, :, :4, :4], "lengths": lengths})


@pytest.mark.skipif(BACKEND == "jax", reason="the page exports a SavedModel")
def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "unequal_lengths.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path(str(tmp_path / "page.py"))
