"""The re-attending LSTM: bounds and symmetries of its weights, its masks, what it must survive."""

import keras
import numpy as np
import pytest
from checks import BACKEND, answer, assert_close, check_gradient, gradient
from keras import ops
from reference import scramble

from keras_attn.layers import ReattendingLSTM, ReattendingLSTMCell
from keras_attn.testing import check_layer

SHAPE = (2, 5, 6)  # B, T, D


@pytest.fixture
def features(rng):
    return rng.normal(size=SHAPE).astype("float32")


def _scrambled(rng, *arguments, scale=0.5, **options):
    layer = ReattendingLSTM(*arguments, **options)
    layer.build(SHAPE)
    return scramble(layer, rng, scale)


def test_contract(features):
    hidden, weights = check_layer(ReattendingLSTM(7, 4, dropout=0.3), features)
    assert hidden.shape == (2, 4, 7) and weights.shape == (2, 4, 5)
    assert_close(ops.sum(weights, axis=2), np.ones((2, 4)))
    half = ReattendingLSTM(7, 4, dtype="mixed_float16")(features)
    assert [keras.backend.standardize_dtype(x.dtype) for x in half] == ["float16"] * 2


def test_tanh_bounds_the_weights(rng):
    """Thirty frames: .00465 <= weight <= .20306, and both ends are reached."""
    sign = np.ones((2, 30, 1), "float32")
    sign[0, 1:] = sign[1, 0] = -1
    features = np.repeat(1e3 * sign, 6, axis=2)
    weights = {}
    for activation in ("tanh", None):
        layer = _scrambled(rng, 7, 4, score_activation=activation)
        layer.frame_scores.set_weights([np.ones((6, 1)), np.zeros(1)])
        weights[activation] = ops.convert_to_numpy(layer(features)[1])
    np.testing.assert_allclose(weights["tanh"][0].max(), 0.20306, atol=1e-5)
    np.testing.assert_allclose(weights["tanh"][1].min(), 0.00465, atol=1e-5)
    assert weights[None][0].max() > 0.999 and weights[None][1].min() < 1e-6


@pytest.mark.parametrize("activation, changes", [("tanh", True), (None, False)])
def test_weights_follow_the_state_with_tanh_only_and_never_the_order(
    features, rng, activation, changes
):
    layer = _scrambled(rng, 7, 4, score_activation=activation, scale=1)
    hidden, weights = (ops.convert_to_numpy(x) for x in layer(features))
    assert np.ptp(weights, axis=2).min() > 0.05
    moved = np.abs(weights[:, 1:] - weights[:, :1]).max()
    assert moved > 1e-2 if changes else moved < 1e-6
    order = np.array([3, 0, 4, 2, 1])
    other_hidden, other = layer(features[:, order])
    assert_close(other_hidden, hidden)
    assert_close(other, weights[:, :, order])


def test_frames_without_scores_or_all_alike_are_averaged(features, rng):
    layer = _scrambled(rng, 7, 4)
    mean = np.broadcast_to(features.mean(1, keepdims=True), SHAPE)
    expected, uniform = layer(mean)
    assert_close(uniform, np.full((2, 4, 5), 1 / 5))
    layer.frame_scores.kernel.assign(np.zeros((6, 1)))
    hidden, weights = layer(features)
    assert_close(weights, np.full((2, 4, 5), 1 / 5))
    assert_close(hidden, expected)


# === Dropout ===


def test_cell_masks_drop_entries_of_the_glimpse_and_of_the_lower_state(rng):
    cell = ReattendingLSTMCell(7, 6)
    features = rng.normal(size=(2, 5, 6)).astype("float32")
    states = [rng.normal(size=(2, 7)).astype("float32") for _ in range(4)]
    frame_scores = rng.normal(size=(2, 5)).astype("float32")
    glimpse_mask = rng.integers(0, 2, (2, 6)).astype("float32") * 2

    def step(x, *masks):
        cell.sequence = frame_scores, x, None
        return cell(np.concatenate(masks, 1), states)

    ones = np.ones((2, 7), "float32")
    dropped = step(features * glimpse_mask[:, None], np.ones((2, 6), "float32"), ones)
    assert_close(step(features, glimpse_mask, ones), dropped)
    # A closed second mask leaves nothing of the frames to the top layer.
    top, _ = step(features, glimpse_mask, 0 * ones)
    assert_close(top, step(features + 1, glimpse_mask, 0 * ones)[0])


def test_masks_are_drawn_anew_for_every_iteration_and_clip(features, rng):
    layer = _scrambled(rng, 7, 4, dropout=0.5)
    drawn = []
    drop = layer.dropout.call
    layer.dropout.call = lambda x, training=False: drawn.append(drop(x, training)) or drawn[-1]
    layer(features, training=True)
    masks = ops.convert_to_numpy(drawn[-1])
    assert masks.shape == (2, 4, 6 + 7) and set(np.unique(masks)) == {0, 2}
    assert len({mask.tobytes() for mask in masks.reshape(8, -1)}) == 8
    plain = ReattendingLSTM(7, 4)
    plain.build(SHAPE)
    plain.set_weights(layer.get_weights())
    assert_close(layer(features), plain(features))


# === Gradients and shapes ===


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX computes in float32 unless told at start")
def test_gradient_by_the_features_equals_central_differences(features, rng):
    layer = _scrambled(rng, 3, 4, scale=1, dtype="float64")

    def total(x):
        hidden, weights = layer(x)
        return ops.sum(hidden**2) + ops.sum(weights**2)

    check_gradient(total, None, features[:, :2])


@pytest.mark.parametrize("activation", ["tanh", None])
def test_saturated_scores_give_finite_gradients(features, rng, activation):
    layer = _scrambled(rng, 7, 4, score_activation=activation)
    layer.frame_scores.kernel.assign(1e4 * rng.normal(size=(6, 1)))
    assert np.isfinite(gradient(lambda x: ops.sum(layer(x)[0]), features)).all()


def test_unknown_time(features, rng):
    layer = _scrambled(rng, 7, 4, dropout=0.5)
    x = keras.Input((None, 6))
    model = keras.Model(x, layer(x))
    assert list(model.output_shape) == [(None, 4, 7), (None, 4, None)]
    for time in (1, 5):
        assert_close(answer(model, features[:, :time]), layer(features[:, :time]))
    assert layer.rnn.cell.sequence is None, "no tensor of a call may outlive it"
