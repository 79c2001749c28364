"""TemporalShift moves an eighth of the channels each way, and nothing else."""

import keras
import numpy as np
import pytest
from checks import assert_close, numpy

from keras_attn.layers import TemporalShift
from keras_attn.testing import check_layer


def test_frames_exchange_channels(rng):
    features = rng.random((2, 4, 3, 5, 17), dtype="float32")
    outputs = numpy(TemporalShift()(features))
    for b, t, c in np.ndindex(2, 4, 17):
        source = t + 1 if c < 2 else t - 1 if c < 4 else t  # 17 // 8 channels each way
        expected = features[b, source, :, :, c] if 0 <= source < 4 else np.zeros((3, 5))
        assert_close(outputs[b, t, :, :, c], expected)
    layer = TemporalShift()
    check_layer(layer, features)
    assert not layer.weights


def test_a_shift_back_restores_all_but_the_ends(rng):
    features = rng.random((2, 5, 3, 4, 16), dtype="float32")
    # Backwards in time, the channels of either way change places.
    there = numpy(TemporalShift()(features))[:, ::-1]
    back = numpy(TemporalShift()(there))[:, ::-1]
    assert_close(back[:, 1:-1], features[:, 1:-1])
    assert_close(back[..., 4:], features[..., 4:])


def test_a_still_clip_changes_at_its_ends_only(rng):
    features = np.repeat(rng.random((2, 1, 3, 4, 16), dtype="float32"), 5, axis=1)
    changed = numpy(TemporalShift()(features)) != features
    assert changed[:, 0, ..., 2:4].all() and changed[:, -1, ..., :2].all()
    assert changed.sum() == 2 * 2 * 3 * 4 * 2


@pytest.mark.parametrize("frames", [1, 3])
def test_time_may_be_unknown(rng, frames):
    clip = keras.Input((None, 3, 4, 8))
    model = keras.Model(clip, TemporalShift()(clip))
    assert model.output_shape == (None, None, 3, 4, 8)
    features = rng.random((2, frames, 3, 4, 8), dtype="float32")
    assert_close(model.predict(features, verbose=0), TemporalShift()(features))
