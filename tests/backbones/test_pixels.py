"""The input of each network for a pixel, and its first kernel for flow."""

import keras
import numpy as np
import pytest
from checks import assert_close

from keras_attn.backbones import BACKBONES, build_backbone, flow_weights
from keras_attn.backbones.pixels import NormalizePixels, PixelScale, normalization
from keras_attn.testing import check_layer

APPLICATIONS = {
    "inception_resnet_v2": keras.applications.inception_resnet_v2,
    "inception_v3": keras.applications.inception_v3,
    "mobilenet_v2": keras.applications.mobilenet_v2,
    "resnet_50": keras.applications.resnet,
    "resnet_101": keras.applications.resnet,
    "vgg_16": keras.applications.vgg16,
}


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_are_those_of_keras_applications(rng, name, dtype):
    frames = rng.integers(0, 256, (2, 4, 5, 3)).astype(dtype)
    expected = APPLICATIONS[name].preprocess_input(frames.astype("float32"))
    assert_close(normalization(BACKBONES[name].pixels, 3)(frames), expected)


def test_pixels_reach_the_network_normalized(rng):
    model = build_backbone("tiny", 16, endpoint="conv_1")
    frames = rng.integers(0, 256, (2, 16, 16, 3), dtype="uint8")
    assert_close(model(frames), model.get_layer("conv_1")(frames / np.float32(127.5) - 1))


def test_normalized_pixels(rng):
    pixels = rng.random((2, 3, 4, 3), dtype="float32") * 255
    layer = NormalizePixels([10, 20, 30], [1, 2, 4], bgr=True)
    outputs = check_layer(layer, pixels)
    assert_close(outputs, ((pixels - [10, 20, 30]) / [1, 2, 4])[..., ::-1])


@pytest.mark.parametrize("policy_name", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_comes_after_the_subtraction(policy, policy_name):
    policy(policy_name)
    pixels = np.array([[127.6, 128.4]], "float32")
    outputs = NormalizePixels(128.0, 1.0)(pixels)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy_name.removeprefix("mixed_")
    assert_close(outputs, np.array([[-0.4, 0.4]]), atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2, 10, 20])
def test_flow_is_centerd_and_scaled_like_rgb(channels):
    no_motion = np.full((1, 2, 2, channels), 128, "uint8")
    scale = PixelScale("", (123.0, 116.0, 103.0), (50.0, 60.0, 70.0), bgr=True)
    layer = normalization(scale, channels)
    assert_close(layer(no_motion), np.zeros(no_motion.shape))
    ramp = no_motion + np.arange(channels, dtype="uint8")
    assert_close(layer(ramp), np.broadcast_to(np.arange(channels) / 60, ramp.shape))


def test_weights_for_flow_are_those_for_rgb(rng, tmp_path):
    name, side = "tiny", 16
    rgb = build_backbone(name, side)
    rgb.set_weights([rng.random(w.shape) for w in rgb.weights])
    rgb.save_weights(tmp_path / "rgb.weights.h5")
    flow = build_backbone(name, side, tmp_path / "rgb.weights.h5", channels=10)
    assert flow.input_shape == (None, side, side, 10)
    (first, *rest), (kernel, *others) = rgb.get_weights(), flow.get_weights()
    for channel in range(10):
        assert_close(kernel[:, :, channel], (first[:, :, 0] + first[:, :, 1] + first[:, :, 2]) / 3)
    assert_close(others, rest, atol=0)


def test_networks_of_keras_applications_take_flow():
    network = build_backbone("mobilenet_v2", 32, endpoint="block_12", channels=10)
    assert network.input_shape == (None, 32, 32, 10)
    assert network.weights[0].shape == (3, 3, 10, 32)


def test_flow_weights_do_not_rescale():
    kernel = np.arange(2 * 2 * 3 * 4, dtype="float32").reshape(2, 2, 3, 4)
    averaged = flow_weights(kernel, 5)
    assert averaged.shape == (2, 2, 5, 4) and averaged.dtype == np.float32
    assert_close(averaged.mean(2), kernel.mean(2))
