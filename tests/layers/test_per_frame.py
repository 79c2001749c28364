"""PerFrame is the layer on each frame."""

import keras
import numpy as np
import pytest
from checks import assert_close

from keras_attn.layers import PerFrame
from keras_attn.testing import check_layer


def test_is_the_layer_on_each_frame(rng):
    video = rng.random((2, 3, 5, 6, 4), dtype="float32")
    layer = keras.layers.Conv2D(7, 3)
    outputs = PerFrame(layer)(video)
    assert outputs.shape == (2, 3, 3, 4, 7)
    for b, t in np.ndindex(2, 3):
        assert_close(outputs[b, t], layer(video[b, t : t + 1])[0])
    check_layer(PerFrame(keras.layers.Conv2D(6, 3)), video)


def test_integer_pixels_reach_the_layer_as_they_are(rng):
    seen = []

    class Spy(keras.layers.Rescaling):
        def call(self, images):
            seen.append(keras.backend.standardize_dtype(images.dtype))
            return super().call(images)

    video = rng.integers(0, 256, (2, 3, 5, 6, 3), dtype="uint8")
    assert_close(PerFrame(Spy(1 / 255))(video), video / 255)
    assert seen[-1] == "uint8"


@pytest.mark.parametrize("time", [1, 4])
def test_time_may_be_unknown(rng, time):
    video = keras.Input((None, 5, 6, 4))
    layer = keras.layers.Conv2D(7, 3)
    model = keras.Model(video, PerFrame(layer)(video))
    assert model.output_shape == (None, None, 3, 4, 7)
    frames = rng.random((2, time, 5, 6, 4), dtype="float32")
    assert_close(model.predict(frames, verbose=0)[:, -1], layer(frames[:, -1]))


def test_a_layer_with_several_outputs(rng):
    frame = keras.Input((5, 6, 4))
    maps = keras.layers.Conv2D(7, 3)(frame)
    means = keras.layers.GlobalAveragePooling2D()(maps)
    network = keras.Model(frame, {"maps": maps, "means": means})
    video = rng.random((2, 3, 5, 6, 4), dtype="float32")
    outputs = check_layer(PerFrame(network), video)
    assert outputs["maps"].shape == (2, 3, 3, 4, 7)
    assert_close(outputs["means"], keras.ops.mean(outputs["maps"], axis=(2, 3)))


@keras.saving.register_keras_serializable("keras_attn_tests")
class OwnLayer(keras.layers.Layer):
    """Has neither `build` nor `compute_output_shape`, as most layers in tutorials."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3)

    def call(self, frames):
        return {"cells": self.dense(frames), "mean": keras.ops.mean(frames, axis=(1, 2))}


@keras.saving.register_keras_serializable("keras_attn_tests")
class OwnModel(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3)

    def call(self, frames):
        return self.dense(frames)


@pytest.mark.parametrize("own", [OwnLayer, OwnModel])
def test_a_layer_that_infers_no_shape_is_called_built_and_saved(rng, tmp_path, own):
    video = keras.Input((None, 5, 6, 4))
    model = keras.Model(video, PerFrame(own())(video))
    assert len(model.trainable_weights) == 2
    frames = rng.random((2, 3, 5, 6, 4), dtype="float32")
    outputs = model(frames)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")(frames)
    found, expected = (keras.tree.flatten(x) for x in (loaded, outputs))
    assert found[0].shape == (2, 3, 5, 6, 3)
    for x, y in zip(found, expected, strict=True):
        assert_close(x, y)
