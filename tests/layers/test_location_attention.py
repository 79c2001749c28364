"""LocationAttention and WeightedPool: each cell is scored by weights of its own, then summed."""

import numpy as np
import pytest
from checks import assert_close, numpy

from keras_attn.layers import LocationAttention, WeightedPool
from keras_attn.testing import check_layer


def _layer(rng, features, map_size=None):
    layer = LocationAttention(map_size)
    layer.build(features.shape)
    layer.set_weights([rng.normal(size=features.shape[1:])])
    return layer


def _features(rng):
    return rng.normal(size=(2, 3, 4, 5)).astype("float32")


def test_equals_numpy(rng):
    features = _features(rng)
    layer = _layer(rng, features)
    (kernel,) = layer.get_weights()
    expected = np.zeros((2, 3, 4))
    for b, i, j in np.ndindex(2, 3, 4):
        expected[b, i, j] = np.exp(features[b, i, j] @ kernel[i, j])  # eq. (7)
    expected /= expected.sum((1, 2), keepdims=True)  # eq. (8)
    assert_close(check_layer(layer, features), expected)
    assert layer.count_params() == 3 * 4 * 5


def test_the_same_features_score_differently_in_another_cell(rng):
    features = _features(rng)
    layer = _layer(rng, features)
    swapped = features.copy()
    swapped[:, [0, 2]] = swapped[:, [2, 0]]
    assert np.abs(numpy(layer(swapped))[:, 0] - numpy(layer(features))[:, 2]).max() > 0.01


@pytest.mark.parametrize("map_size", [(6, 8), (2, 3)])
def test_scores_are_resized_before_the_softmax(rng, map_size):
    features = _features(rng)
    layer = _layer(rng, features, map_size)
    weights = numpy(check_layer(layer, features))
    assert weights.shape == (2, *map_size)
    np.testing.assert_allclose(weights.sum((1, 2)), 1, rtol=1e-5)
    # Scores that grow by one from row to row and from column to column still do, in larger steps.
    layer.set_weights([np.ones((3, 4, 5))])
    rows, columns = np.mgrid[:3, :4]
    even = np.broadcast_to((rows + columns)[None, ..., None] / 5, (1, 3, 4, 5))
    scores = np.log(numpy(layer(even.astype("float32"))))[0]
    height, width = map_size
    if map_size == (6, 8):  # away from the border, where there is nothing to interpolate with
        assert_close(np.diff(scores, axis=0)[1:-1], np.full((3, width), 3 / height))
        assert_close(np.diff(scores, axis=1)[:, 1:-1], np.full((height, 5), 4 / width))


def test_a_new_layer_and_uniform_weights_are_the_mean(rng):
    features = _features(rng)
    weights = LocationAttention()(features)
    assert_close(weights, np.full((2, 3, 4), 1 / 12))
    assert_close(WeightedPool()(features, weights), features.mean((1, 2)))


def test_weighted_pool_equals_numpy(rng):
    features = rng.normal(size=(2, 3, 4, 5, 6)).astype("float32")
    weights = rng.random((2, 3, 4, 5), dtype="float32")
    expected = np.zeros((2, 3, 6))
    for b, t, i, j in np.ndindex(weights.shape):
        expected[b, t] += weights[b, t, i, j] * features[b, t, i, j]  # eq. (9)
    assert_close(check_layer(WeightedPool(), features, weights), expected)
    assert_close(WeightedPool()(features[:, 0], weights[:, 0]), expected[:, 0])
