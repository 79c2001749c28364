"""The saliency mask against its convolutions in NumPy, in training and in use."""

import numpy as np
import pytest
from checks import assert_close
from keras import ops
from reference import convolution, convolutions, named_weights, scramble, sigmoid

from keras_attn.layers import SaliencyMask
from keras_attn.testing import check_layer

SHAPE = (2, 3, 4, 9)  # b, h, w, C


@pytest.fixture
def features(rng):
    return rng.normal(size=SHAPE).astype("float32")


def _scrambled(rng):
    layer = SaliencyMask()
    layer.build(SHAPE)
    return scramble(layer, rng)


def test_contract(features):
    mask = check_layer(SaliencyMask(), features)
    assert mask.shape == (2, 3, 4)
    assert 0 < float(ops.min(mask)) and float(ops.max(mask)) < 1


def test_equals_numpy(features, rng):
    layer = _scrambled(rng)
    named = named_weights(layer)
    kernel = layer.mask.kernel.numpy()
    expected = [sigmoid(convolution(convolutions(x, named, "hidden"), kernel)) for x in features]
    assert_close(layer(features), np.stack(expected)[..., 0])
    assert np.ptp(expected) > 0.1


def test_batch_normalization_learns_in_training_only(features, rng):
    layer = _scrambled(rng)
    before = layer.get_weights()
    inference_frames = layer(features, training=False)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    trained = layer(features, training=True)
    assert np.abs(ops.convert_to_numpy(trained - inference_frames)).max() > 1e-3
    changed = [w.name for w, old in zip(layer.weights, before, strict=True) if np.any(w != old)]
    assert changed == ["moving_mean", "moving_variance"] * 2
    first = np.stack([convolution(x, before[0]) for x in features])
    np.testing.assert_allclose(
        layer.hidden.layers[1].moving_mean,
        0.9 * before[3] + 0.1 * first.mean((0, 1, 2)),
        rtol=1e-4,
    )
    # In training every example counts: another second one changes the mask of the first.
    other = np.stack([features[0], features[1] + 3])
    moved = layer(other, training=True)[0] - layer(features, training=True)[0]
    assert np.abs(ops.convert_to_numpy(moved)).max() > 1e-3


def test_parameter_count():
    layer = SaliencyMask()
    layer.build((None, 7, 7, 2048))
    assert sum(np.prod(w.shape) for w in layer.trainable_weights) == 23_600_640


def test_too_few_channels_say_so():
    with pytest.raises(ValueError, match="at least 4 channels, got 3"):
        SaliencyMask().build((None, 3, 4, 3))
