"""Attention before a ConvLSTM: symmetries of its weights, gradients, what it must survive."""

import keras
import numpy as np
import pytest
from checks import BACKEND, answer, assert_close, check_gradient, gradient
from keras import ops
from reference import scramble

from keras_attn.layers import ConvLSTMAttention
from keras_attn.testing import check_layer

SHAPE = (2, 5, 3, 4, 6)  # B, T, h, w, C


@pytest.fixture
def frames(rng):
    return rng.normal(size=SHAPE).astype("float32")


def _scrambled(rng, scale=0.5, **options):
    layer = ConvLSTMAttention(7, attention_units=9, **options)
    layer.build(SHAPE)
    return scramble(layer, rng, scale)


def test_contract(frames):
    states, weights = check_layer(ConvLSTMAttention(7, attention_units=9), frames)
    assert states.shape == (2, 5, 7) and weights.shape == (2, 5, 5)
    assert_close(ops.sum(weights, axis=2), np.ones((2, 5)))
    half = ConvLSTMAttention(7, energy="additive", dtype="mixed_float16")(frames)
    assert [keras.backend.standardize_dtype(x.dtype) for x in half] == ["float16"] * 2
    assert all(np.isfinite(ops.convert_to_numpy(x)).all() for x in half)


@pytest.mark.parametrize("energy, changes", [("tanh", True), ("additive", False)])
def test_weights_follow_the_state_with_tanh_only_and_never_the_order(frames, rng, energy, changes):
    layer = _scrambled(rng, 1, energy=energy)
    states, weights = (ops.convert_to_numpy(x) for x in layer(frames))
    assert np.ptp(weights, axis=2).min() > 0.05
    moved = np.abs(weights[:, 1:] - weights[:, :1]).max()
    assert moved > 1e-2 if changes else moved < 1e-6
    order = np.array([3, 0, 4, 2, 1])
    other_states, other = layer(frames[:, order])
    assert_close(other_states, states)
    assert_close(other, weights[:, :, order])


def test_frames_without_scores_are_averaged(frames, rng):
    layer = _scrambled(rng)
    layer.rnn.cell.score.assign(np.zeros(9))
    states, weights = layer(frames)
    assert_close(weights, np.full((2, 5, 5), 1 / 5))
    mean = np.broadcast_to(frames.mean(1, keepdims=True), SHAPE)
    assert_close(layer(mean)[0], states)
    control = ConvLSTMAttention(7, energy="uniform")
    control.build(SHAPE)
    scores = ("query", "key", "score")
    control.set_weights([w for w in layer.weights if not any(x in w.path for x in scores)])
    assert_close(control(frames)[0], states)
    assert_close(control(frames)[1], weights)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX computes in float32 unless told at start")
@pytest.mark.parametrize("energy", ["tanh", "additive"])
def test_gradient_by_the_frames_equals_central_differences(rng, energy):
    frames = rng.normal(size=(2, 3, 1, 2, 2))
    layer = ConvLSTMAttention(3, energy, 4, dtype="float64")
    layer.build(frames.shape)
    scramble(layer, rng, 1)

    def total(x):
        states, weights = layer(x)
        return ops.sum(states**2) + ops.sum(weights**2)

    check_gradient(total, None, frames)


def test_saturated_scores_give_finite_gradients(frames, rng):
    layer = _scrambled(rng)
    layer.rnn.cell.score.assign(1e4 * rng.normal(size=9))
    assert np.isfinite(gradient(lambda x: ops.sum(layer(x)[0]), frames)).all()


def test_unknown_time(frames, rng):
    layer = _scrambled(rng)
    x = keras.Input((None, *SHAPE[2:]))
    model = keras.Model(x, layer(x))
    assert list(model.output_shape) == [(None, None, 7), (None, None, None)]
    for time in (1, 5):
        assert_close(answer(model, frames[:, :time]), layer(frames[:, :time]))
    assert layer.rnn.cell.sequence is None, "no tensor of a call may outlive it"


def test_an_unknown_energy_says_so():
    with pytest.raises(
        ValueError, match="energy must be one of tanh, additive, uniform, got 'dot'"
    ):
        ConvLSTMAttention(7, energy="dot")
