"""Gradients of layers by what they get: against central differences, and where they could break."""

import numpy as np
import pytest
from checks import BACKEND, check_gradient, gradient
from keras import ops, tree
from reference import scramble

from keras_attn.layers import (
    AdaptiveMaxPool,
    AttendedLSTM,
    ConfidencePool,
    ConvLSTMAttention,
    LocationAttention,
    PyramidAttention,
    ReattendingLSTM,
    SaliencyMask,
    TemporalShift,
    WeightedPool,
)
from keras_attn.layers.pyramid_attention import AttentionPenalties

MAPS = (2, 3, 4, 5)  # b, h, w, C
CLIP = (2, 3, 2, 4, 5)  # B, T, h, w, C
# Their gradient is checked here; that of the others, in steps, where they are tested.
PLAIN = {
    "adaptive max pool": (AdaptiveMaxPool, {"size": (2, 3)}, MAPS),
    "temporal shift": (TemporalShift, {}, (2, 3, 1, 2, 8)),
    "location attention": (LocationAttention, {}, MAPS),
    "saliency mask": (SaliencyMask, {}, MAPS),
    "confidence pool": (ConfidencePool, {"keep": 2}, (2, 4, 5)),
}
RECURRENT = {
    "attended LSTM": (AttendedLSTM, {"units": 3, "current_frame": True}, CLIP),
    "re-attending LSTM": (ReattendingLSTM, {"units": 3, "iterations": 4}, (2, 3, 5)),
    "ConvLSTM attention": (ConvLSTMAttention, {"units": 3, "attention_units": 4}, CLIP),
}
VALUES = (0, 1, 1e4)  # nothing, and what saturates
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="JAX computes in float32 unless told at start"
)


def _built(rng, kind, arguments, shape, **kwargs):
    layer = kind(**arguments, **kwargs)
    layer.build(shape)
    return scramble(layer, rng)


def _sum_of_squares(outputs):
    return sum(ops.sum(ops.square(y)) for y in tree.flatten(outputs))


@pytest.mark.parametrize("name", PLAIN)
def test_gradient_equals_central_differences(rng, name):
    kind, arguments, shape = PLAIN[name]
    layer = _built(rng, kind, arguments, shape, dtype="float64")

    def total(x):
        return _sum_of_squares(layer(x))

    check_gradient(total, None, rng.normal(size=shape))


def test_gradients_of_a_weighted_pool_equal_central_differences(rng):
    features, weights = rng.normal(size=(2, 3, 4, 5)), rng.random((2, 3, 4))
    pool = WeightedPool(dtype="float64")

    def by_features(x):
        return _sum_of_squares(pool(x, weights))

    def by_weights(x):
        return _sum_of_squares(pool(features, x))

    check_gradient(by_features, None, features)
    check_gradient(by_weights, None, weights)


@pytest.mark.parametrize("name", PLAIN | RECURRENT)
def test_gradients_are_finite(rng, name):
    kind, arguments, shape = (PLAIN | RECURRENT)[name]
    layer = _built(rng, kind, arguments, shape)
    for value in VALUES:
        x = np.full(shape, value, "float32")
        x.flat[::3] *= -1
        assert np.isfinite(gradient(lambda x: _sum_of_squares(layer(x)), x)).all(), value


@pytest.mark.parametrize("fusion", ["product", "sum", "max"])
def test_gradients_through_pyramid_attention_and_its_penalties_are_finite(rng, fusion):
    layer = _built(rng, PyramidAttention, {"fusion": fusion}, [CLIP, CLIP])
    penalties = AttentionPenalties()

    def total(x):
        aggregated, *weights = layer([low, x])
        return _sum_of_squares([1e-4 * aggregated, penalties(x, *weights)])

    for value in VALUES:
        low, top = np.full((2, *CLIP), value, "float32")
        low.flat[::3] *= -1
        assert np.isfinite(gradient(total, top)).all(), value
