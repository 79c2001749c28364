"""The attended LSTM against its equations, its masks, and what it must survive."""

import keras
import numpy as np
import pytest
from checks import BACKEND, answer, assert_close, gradient
from keras import ops

from keras_attn.layers import AttendedLSTM, AttendedLSTMCell
from keras_attn.testing import check_layer

SHAPE = (2, 5, 3, 4, 6)  # B, T, h, w, C


@pytest.fixture
def features(rng):
    return rng.normal(size=SHAPE).astype("float32")


def _with_random_biases(layer, rng):
    layer.build(SHAPE)
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.weights])
    return layer


def test_contract(features):
    layer = AttendedLSTM(7, current_frame=True, weight_decay=1e-3)
    hidden, weights = check_layer(layer, features)
    assert hidden.shape == (2, 5, 7) and weights.shape == (2, 5, 3, 4)
    assert_close(ops.sum(weights, axis=(2, 3)), np.ones((2, 5)))
    half = AttendedLSTM(7, dtype="mixed_float16")(features)
    assert [keras.backend.standardize_dtype(x.dtype) for x in half] == ["float16"] * 2


def test_without_states_or_scores_the_weights_are_uniform(features, rng):
    layer = _with_random_biases(AttendedLSTM(7), rng)
    first = layer(features)[1][:, 0]
    assert_close(first, np.full((2, 3, 4), 1 / 12))
    layer.rnn.cell.attention.kernel.assign(np.zeros((7, 12)))
    hidden, weights = layer(features)
    assert_close(weights, np.full((2, 5, 3, 4), 1 / 12))
    # The glimpse is the mean feature: any arrangement of it gives the same states.
    mean = np.broadcast_to(features.mean((2, 3), keepdims=True), SHAPE)
    assert_close(layer(mean)[0], hidden)


def test_permuting_cells_permutes_the_weights(features, rng):
    layer = _with_random_biases(AttendedLSTM(7), rng)
    hidden, weights = layer(features)
    order = rng.permutation(12)
    kernel = layer.rnn.cell.attention.kernel
    kernel.assign(ops.convert_to_numpy(kernel)[:, order])
    permuted = features.reshape(2, 5, 12, 6)[:, :, order].reshape(SHAPE)
    other_hidden, other = layer(permuted)
    assert_close(other_hidden, hidden)
    expected = ops.convert_to_numpy(weights).reshape(2, 5, 12)[:, :, order]
    assert_close(ops.reshape(other, (2, 5, 12)), expected)


def test_later_frames_do_not_change_earlier_answers(features, rng):
    layer = _with_random_biases(AttendedLSTM(7, current_frame=True), rng)
    hidden, weights = layer(features)
    changed = features.copy()
    changed[:, 3:] += 1
    other_hidden, other = layer(changed)
    assert_close(other_hidden[:, :3], hidden[:, :3])
    assert_close(other[:, :3], weights[:, :3])
    assert np.abs(ops.convert_to_numpy(other_hidden - hidden)[:, 3:]).max() > 1e-2


def test_cell_masks_drop_channels_in_all_cells_alike(rng):
    """Entries dropped from the glimpse are channels dropped from the features."""
    cell = AttendedLSTMCell(7, 12, 6, dropout_masks=True)
    features = rng.normal(size=(2, 12, 6)).astype("float32")
    glimpse_mask = rng.integers(0, 2, (2, 6)).astype("float32") * 2
    ones = np.ones((2, 7), "float32")
    states = [rng.normal(size=(2, 7)).astype("float32") for _ in range(4)]

    def step(x, mask, hidden_mask):
        return cell(np.concatenate([x.reshape(2, -1), mask, hidden_mask], 1), states)

    outputs = step(features, glimpse_mask, ones)
    whole = step(features * glimpse_mask[:, None], np.ones_like(glimpse_mask), ones)
    assert_close(outputs, whole)
    # A closed second mask leaves nothing of the frame to the top layer.
    top, _ = step(features, glimpse_mask, 0 * ones)
    assert_close(top, step(features + 1, glimpse_mask, 0 * ones)[0])


def test_masks_are_drawn_anew_for_every_step_and_clip(features, rng):
    layer = _with_random_biases(AttendedLSTM(7, dropout=0.5), rng)
    drawn = []
    drop = layer.dropout.call
    layer.dropout.call = lambda x, training=False: drawn.append(drop(x, training)) or drawn[-1]
    first, second = (layer(features, training=True)[0] for _ in range(2))
    assert np.abs(ops.convert_to_numpy(first - second)).max() > 1e-3
    masks = ops.convert_to_numpy(drawn[-1])
    assert masks.shape == (2, 5, 6 + 7) and set(np.unique(masks)) == {0, 2}
    assert len({mask.tobytes() for mask in masks.reshape(10, -1)}) == 10
    assert_close(layer(features), layer(features, training=False))


def test_inference_ignores_dropout(features, rng):
    layer = _with_random_biases(AttendedLSTM(7, dropout=0.5, current_frame=True), rng)
    plain = AttendedLSTM(7, current_frame=True)
    plain.build(SHAPE)
    plain.set_weights(layer.get_weights())
    assert_close(layer(features), plain(features))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX computes in float32 unless told at start")
def test_gradient_by_the_features_equals_central_differences(features, rng):
    layer = AttendedLSTM(7, current_frame=True, dtype="float64")
    layer = _with_random_biases(layer, rng)
    features = features.astype("float64")

    def total(x):
        hidden, weights = layer(x)
        return ops.sum(hidden**2) + ops.sum(weights**2)

    actual = gradient(total, features)
    for index in [(0, 0, 1, 2, 3), (1, 2, 0, 3, 5), (0, 4, 2, 1, 0)]:
        ends = []
        for sign in (1, -1):
            moved = features.copy()
            moved[index] += sign * 1e-5
            ends.append(float(total(moved)))
        expected = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(actual[index], expected, rtol=1e-6, atol=1e-9)


def test_saturated_scores_give_finite_answers(features, rng):
    layer = _with_random_biases(AttendedLSTM(7), rng)
    layer.rnn.cell.attention.kernel.assign(1e4 * rng.normal(size=(7, 12)))
    assert np.isfinite(gradient(lambda x: ops.sum(layer(x)[0]), features)).all()


def test_weight_decay_counts_every_weight_once(rng):
    layer = _with_random_biases(AttendedLSTM(7, current_frame=True, weight_decay=0.5), rng)
    expected = 0.5 * sum(np.sum(np.square(w)) for w in layer.get_weights())
    np.testing.assert_allclose(sum(float(x) for x in layer.losses), expected, rtol=1e-5)


def test_unknown_time(features, rng):
    layer = _with_random_biases(AttendedLSTM(7, dropout=0.5, current_frame=True), rng)
    x = keras.Input((None, *SHAPE[2:]))
    model = keras.Model(x, layer(x))
    assert list(model.output_shape) == [(None, None, 7), (None, None, 3, 4)]
    for time in (1, 5):
        assert_close(answer(model, features[:, :time]), layer(features[:, :time]))
