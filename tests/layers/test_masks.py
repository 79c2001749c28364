"""Padded frames, wherever they are and whatever they hold, change nothing, in every layer."""

import keras
import numpy as np
import pytest
from checks import BACKEND, numpy
from keras import ops, tree

from keras_attn.layers import (
    AdaptiveMaxPool,
    AttendedLSTM,
    ConfidencePool,
    ConvLSTMAttention,
    PerFrame,
    PyramidAttention,
    ReattendingLSTM,
    SaliencyMask,
    SelectedSegments,
    TemporalShift,
    WeightedPool,
)
from keras_attn.layers.pyramid_attention import AttentionPenalties
from keras_attn.testing.arrays import call

TIME = 6
# The frames of each clip: padded behind, before, on all sides, and not at all.
FRAMES = ([0, 1, 2, 3], [2, 3, 4, 5], [0, 2, 3, 5], range(TIME))
MASK = np.array([[t in frames for t in range(TIME)] for frames in FRAMES])


class Masked(keras.layers.Layer):
    def compute_mask(self, inputs, mask):
        return None


class Pyramid(Masked):
    """Two levels of a map, and the penalties of its attention."""

    def __init__(self, mode):
        super().__init__()
        self.attention = PyramidAttention(mode=mode)
        self.penalties = AttentionPenalties("relative", "safe")

    def build(self, shape):
        self.attention.build([(*shape[:-1], 3), (*shape[:-1], shape[-1] - 3)])

    def call(self, maps, mask=None):
        levels = [maps[..., :3], maps[..., 3:]]
        aggregated, weights, level_weights = self.attention(levels, mask=mask)
        penalties = self.penalties(levels[1], weights, level_weights, features_mask=mask)
        return aggregated, weights, ops.moveaxis(level_weights, 1, -1), penalties


class Pooled(Masked):
    """Pooling to fewer cells, then by weights."""

    def call(self, maps, mask=None):
        maps = AdaptiveMaxPool((2, 2))(maps)
        return WeightedPool()(maps, ops.sigmoid(maps[..., 0]), features_mask=mask)


def segment():
    snippet = keras.Input((3, 4))
    logits = keras.layers.Dense(5)(keras.layers.Flatten()(snippet))
    return keras.Model(snippet, {"logits": logits})


# A layer, the shape of a frame, and of each output the axes that are time.
LAYERS = {
    "attended_lstm": (lambda: AttendedLSTM(5, current_frame=True), (3, 2, 4), [[1], [1]]),
    "reattending_lstm": (lambda: ReattendingLSTM(5, iterations=3), (4,), [[], [2]]),
    "conv_lstm_attention": (
        lambda: ConvLSTMAttention(5, attention_units=3, glimpse="mean"),
        (3, 2, 4),
        [[1], [1, 2]],
    ),
    "confidence": (lambda: ConfidencePool(keep=2), (5,), [[], [1]]),
    "average": (lambda: ConfidencePool(pooling="average"), (5,), [[], [1]]),
    "segments": (lambda: SelectedSegments(segment(), groups=2, keep=1), (3, 4), [[1], [1]]),
    "pyramid": (lambda: Pyramid("interaction"), (2, 2, 7), [[], [1], [1], [], []]),
    "pyramid_shared": (lambda: Pyramid("shared"), (2, 2, 7), [[], [1], [1], [], []]),
    "saliency": (lambda: PerFrame(SaliencyMask()), (3, 2, 8), [[1]]),
    "temporal_shift": (TemporalShift, (2, 3, 17), [[1]]),
    "pooled": (Pooled, (3, 2, 4), [[1]]),
}


def padded(clips, rng):
    """The clips with all that padding can be: noise, zeros, NaN, infinity."""
    filled = np.where(MASK.reshape(MASK.shape + (1,) * (clips.ndim - 2)), clips, 0)
    kinds = (rng.normal(size=clips.shape[2:]) * 100, 0, np.nan, np.inf)
    for number, (b, t) in enumerate(np.argwhere(~MASK)):
        filled[b, t] = kinds[number % len(kinds)]
    return filled.astype("float32")


def of_frames(output, axes, b):
    """One clip's output without what is of padded frames, and whether that is zero."""
    output = numpy(output)[b]
    for axis in axes:
        output = np.take(output, FRAMES[b], axis - 1)
    return output


@pytest.mark.parametrize("name", LAYERS)
def test_padded_clips_answer_as_clips_of_their_own_length(name, rng):
    build, frame, axes = LAYERS[name]
    layer, clips = build(), rng.normal(size=(len(MASK), TIME, *frame)).astype("float32")
    layer.build(clips.shape)
    layer.set_weights([rng.uniform(0.1, 1, size=w.shape) for w in layer.weights])
    outputs = tree.flatten(call(lambda x: layer(x, mask=MASK), padded(clips, rng)))
    assert len(outputs) == len(axes)
    for b, frames in enumerate(FRAMES):
        alone = tree.flatten(call(layer, clips[b : b + 1, list(frames)]))
        for output, expected, time in zip(outputs, alone, axes, strict=True):
            found = of_frames(output, time, b)
            np.testing.assert_allclose(found, numpy(expected)[0], rtol=1e-6, atol=1e-6)
            if time == [1] and output is not outputs[0]:
                assert not numpy(output)[b][~MASK[b]].any()


@pytest.mark.skipif(BACKEND == "jax", reason="the equations are the same; JAX compiles for seconds")
@pytest.mark.parametrize(
    "name", ["attended_lstm", "reattending_lstm", "conv_lstm_attention", "pyramid", "saliency"]
)
def test_padding_changes_no_gradient(name, rng):
    import tensorflow as tf

    build, frame, axes = LAYERS[name]
    layer, clips = build(), rng.normal(size=(len(MASK), TIME, *frame)).astype("float32")
    layer.build(clips.shape)
    layer.set_weights([rng.uniform(0.1, 1, size=w.shape) for w in layer.weights])

    def gradients(clips, frames, **mask):
        clips = tf.constant(clips)
        with tf.GradientTape() as tape:
            tape.watch(clips)
            total = 0.0
            for output, time in zip(tree.flatten(layer(clips, **mask)), axes, strict=True):
                for axis in time:
                    output = tf.gather(output, frames, axis=axis)
                total += tf.reduce_sum(output**2)
        found = tape.gradient(total, [clips, *layer.trainable_variables])
        return [np.array(x) for x in found]

    frames = list(FRAMES[2])
    content = padded(clips, rng)[2:3]
    ours, *weights = gradients(content, frames, mask=MASK[2:3])
    theirs, *expected = gradients(clips[2:3, frames], range(len(frames)))
    np.testing.assert_allclose(ours[:, frames], theirs, rtol=1e-4, atol=1e-5)
    assert not ours[:, ~MASK[2]].any()
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras computes them alike; JAX compiles for seconds")
def test_statistics_of_the_saliency_mask_are_those_of_frames(rng):
    maps = rng.normal(size=(4, 3, 2, 8)).astype("float32")
    layer = SaliencyMask()
    layer.build(maps.shape)
    before = layer.get_weights()
    layer(maps[:3], training=True)
    expected, _ = layer.get_weights(), layer.set_weights(before)
    layer(maps, mask=np.array([True, True, True, False]), training=True)
    for found, wanted in zip(layer.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_keras_masking_before_a_layer(rng):
    clips = rng.normal(size=(2, TIME, 3, 2, 4)).astype("float32")
    clips[1, 4:] = 0
    frames = keras.Input((None, 3, 2, 4))
    hidden, weights = AttendedLSTM(5)(keras.layers.Masking()(frames))
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Dropout(0.1)(hidden))
    model = keras.Model(frames, (hidden, weights))
    together, alone = model(clips), model(clips[1:, :4])
    np.testing.assert_allclose(numpy(together[0])[1:], numpy(alone[0]), atol=1e-6)
    np.testing.assert_allclose(numpy(together[1])[1:, :4], numpy(alone[1]), atol=1e-6)
    assert not numpy(together[1])[1, 4:].any()


def test_no_weight_where_all_is_padding():
    nothing, clips = np.zeros((1, 2), bool), np.full((1, 2, 5), np.nan, "float32")
    for layer in (ReattendingLSTM(3, 2), ConfidencePool(), ConfidencePool(pooling="average")):
        output, weights = layer(clips, mask=nothing)
        assert np.isfinite(numpy(output)).all() and not numpy(weights).any()
