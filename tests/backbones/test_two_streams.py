"""Two of a backbone side by side, on RGB and on the flow behind it in the channels."""

import dataclasses

import keras
import numpy as np
import pytest
from checks import assert_close, numpy
from keras import layers

from keras_attn.backbones import BACKBONES, Endpoint, build_backbone, stream_channels
from keras_attn.backbones.pixels import PixelScale, normalization
from keras_attn.layers import PerFrame


@pytest.mark.parametrize(
    "channels, parts", [(3, (3, 0)), (2, (0, 2)), (20, (0, 20)), (1, (0, 1)), (13, (3, 10))]
)
def test_what_the_channels_are(channels, parts):
    assert stream_channels(channels) == parts


def test_each_stream_has_a_network_of_its_own(rng):
    joined = build_backbone("tiny", (16, 24), endpoint="conv_1+conv_3", channels=7)
    joined.set_weights([rng.normal(size=w.shape) for w in joined.weights])
    frames = rng.integers(0, 256, (2, 16, 24, 7), dtype="uint8")
    maps = []
    for name, part in (("rgb", frames[..., :3]), ("flow", frames[..., 3:])):
        stream = build_backbone("tiny", (16, 24), None, "conv_1+conv_3", part.shape[-1])
        stream.set_weights(joined.get_layer(name).get_weights())
        maps.append(numpy(stream(part)))
    assert joined.name == "tiny" and joined.output_shape == (None, 2, 3, 64)
    assert_close(joined(frames), np.concatenate(maps, -1))


def test_both_start_from_the_weights_of_rgb(tmp_path):
    build_backbone("tiny", 16).save_weights(tmp_path / "rgb.weights.h5")
    joined = build_backbone("tiny", 16, tmp_path / "rgb.weights.h5", channels=9)
    (first, *rest), (kernel, *others) = (
        joined.get_layer(name).get_weights() for name in ("rgb", "flow")
    )
    assert_close(kernel, np.repeat(first.mean(2, keepdims=True), 6, axis=2))
    assert_close(others, rest, atol=0)


def test_its_own_weights_are_saved_and_loaded(tmp_path):
    model = build_backbone("tiny", 16, channels=5)
    model.save_weights(tmp_path / "both.weights.h5")
    copy = build_backbone("tiny", 16, channels=5)
    copy.load_weights(tmp_path / "both.weights.h5")
    assert_close(copy.get_weights(), model.get_weights(), atol=0)


def test_half_precision_comes_after_the_normalization(policy):
    policy("mixed_float16")
    model = build_backbone("tiny", 16, endpoint="conv_1", channels=5)
    streams = [model.get_layer(name) for name in ("rgb", "flow")]
    kernels = [np.zeros(stream.weights[0].shape) for stream in streams]
    for stream, kernel in zip(streams, kernels, strict=True):
        kernel[1, 1, 0, 0] = 127.5
        stream.set_weights([kernel, np.zeros(16)])
    frames = np.full((1, 16, 16, 5), 128.03, "float32")  # between two numbers of half precision
    assert_close(numpy(model(frames))[0, 2, 2, [0, 16]], np.array([0.53, 0.03]), atol=2e-3)


def _clip_network(height, width, channels):
    clip = x = keras.Input((None, height, width, channels))
    x = PerFrame(layers.Conv2D(4, 3, strides=2, name="conv"), name="convolved")(x)
    return keras.Model(clip, layers.Conv3D(5, (3, 1, 1), padding="same", name="mixed")(x))


def test_backbones_that_see_clips(rng, monkeypatch):
    endpoints = {"mixed": Endpoint("mixed", 5), "pooled": Endpoint("pooled", 5)}
    entry = dataclasses.replace(
        BACKBONES["tiny"],
        network=_clip_network,
        endpoints=endpoints,
        endpoint="mixed",
        per_frame=False,
    )
    monkeypatch.setitem(BACKBONES, "tiny", entry)
    model = build_backbone("tiny", (9, 13), channels=7)
    assert model(rng.integers(0, 256, (2, 3, 9, 13, 7))).shape == (2, 3, 4, 6, 10)


def test_normalization_of_both_in_one_network():
    scale = PixelScale("", (123.0, 116.0, 103.0), (50.0, 60.0, 70.0), bgr=True)
    pixels = np.array([[133, 116, 110, 128, 134, 122, 188]], "uint8")
    expected = [[7 / 70, 0, 10 / 50, 0, 6 / 60, -6 / 60, 60 / 60]]
    assert_close(normalization(scale, 7)(pixels), np.array(expected))
