"""Flow that multiplies what residual branches see of RGB: against NumPy, and where it does not."""

import dataclasses
import functools
import math

import keras
import numpy as np
import pytest
from checks import BACKEND, assert_close, gradient, numpy
from keras import ops
from reference import convolution

from keras_attn.backbones import (
    BACKBONES,
    backbone_tail,
    build_backbone,
    endpoint_channels,
    registry,
)
from keras_attn.models import PyramidAttentionNetwork, swap_input

SIDE, CHANNELS = 64, 7
# The last map of the block before, the convolutions of the branch with the norm behind each, the
# sum at the end, and the largest number that an activation lets through.
MOBILENET = [
    (
        "mobilenet_v2",
        f"block_{block - 1}_project_BN",
        [f"block_{block}_{part}" for part in ("expand", "depthwise", "project")],
        [f"block_{block}_{part}_BN" for part in ("expand", "depthwise", "project")],
        f"block_{block}_add",
    )
    for block in (2, 4, 7, 14)
]
RESNET = [
    (
        "resnet_50",
        f"conv{stage}_block1_out",
        [f"conv{stage}_block2_{number}_conv" for number in (1, 2, 3)],
        [f"conv{stage}_block2_{number}_bn" for number in (1, 2, 3)],
        f"conv{stage}_block2_out",
    )
    for stage in (2, 5)
]


@functools.cache
def _networks(name):
    """The plain network of RGB, that of flow, and the reinforced one with the weights of both."""
    if BACKEND == "jax" and name == "resnet_50":
        pytest.skip("the graph is the same on every backend, and JAX takes long to build it")
    rng = np.random.default_rng(11)
    plain = BACKBONES[name].network
    rgb, flow = plain(SIDE, SIDE, 3), plain(SIDE, SIDE, CHANNELS - 3)
    for network in (rgb, flow):
        network.set_weights([_values(rng, weight) for weight in network.weights])
    reinforced = BACKBONES[f"{name}_reinforced"].network(SIDE, SIDE, CHANNELS)
    values = {weight.path: numpy(weight) for weight in rgb.weights}
    values |= {f"flow_{weight.path}": numpy(weight) for weight in flow.weights}
    reinforced.set_weights([values[weight.path] for weight in reinforced.weights])
    return rgb, flow, reinforced


def _values(rng, weight):
    if weight.path.endswith("kernel"):
        inputs = weight.shape[:2] if "depthwise" in weight.path else weight.shape[:3]
        return rng.normal(size=weight.shape) * np.sqrt(2 / math.prod(inputs))
    around = 1 if weight.path.endswith(("gamma", "variance")) else 0
    return around + rng.uniform(-0.4, 0.4, weight.shape)


def _frames(rng):
    return rng.normal(size=(1, SIDE, SIDE, CHANNELS)).astype("float32")


def _tensors(network, names, frames):
    outputs = [network.get_layer(name).output for name in names]
    values = keras.Model(network.input, outputs)(frames, training=False)
    return [numpy(value)[0].astype("float64") for value in keras.tree.flatten(values)]


# === The formula ===


def _convolved(x, layer):
    kernel = numpy(layer.weights[0]).astype("float64")
    bias = numpy(layer.bias) if layer.use_bias else 0.0
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        channels = [convolution(x[..., [c]], kernel[:, :, [c]]) for c in range(x.shape[-1])]
        return np.concatenate(channels, -1)
    return (convolution(x, kernel) if kernel.shape[0] == 3 else x @ kernel[0, 0]) + bias


def _normalized(x, layer):
    gamma, beta, mean, variance = (numpy(w).astype("float64") for w in layer.weights)
    return gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta


@pytest.mark.parametrize("name, before, convolutions, norms, after", MOBILENET + RESNET)
def test_a_block_equals_numpy(rng, name, before, convolutions, norms, after):
    """x_rgb(l+1) = f(x_rgb(l) + F(x_rgb(l) * ReLU(x_flow(l)))), F and f of the plain network."""
    rgb, flow, reinforced = _networks(name)
    largest = 6 if name == "mobilenet_v2" else np.inf
    frames = _frames(rng)
    identity, found = _tensors(reinforced, [before, after], frames)
    (motion,) = _tensors(flow, [before], frames[..., 3:])
    assert np.ptp(motion) > 0
    x = identity * np.maximum(motion, 0)
    for convolved, norm in zip(convolutions, norms, strict=True):
        x = _normalized(_convolved(x, rgb.get_layer(convolved)), rgb.get_layer(norm))
        if norm != norms[-1]:
            x = np.clip(x, 0, largest)
    expected = identity + x
    if name == "resnet_50":
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.abs(x).max() > 0.01 * np.abs(expected).max()


@pytest.fixture
def mobilenet():
    """The networks of RGB and of both streams; the second gets its weights back."""
    rgb, _, reinforced = _networks("mobilenet_v2")
    weights = reinforced.get_weights()
    yield rgb, reinforced
    reinforced.set_weights(weights)


def _set_factors(network, value):
    """Let what comes of flow before each product be `value`."""
    for block in (1, 3, 6, 13):
        norm = network.get_layer(f"flow_block_{block}_project_BN")
        _, _, mean, variance = norm.get_weights()
        norm.set_weights([0 * mean, 0 * mean + value, mean, variance])


def test_factors_of_one_leave_the_plain_network(rng, mobilenet):
    rgb, reinforced = mobilenet
    frames = _frames(rng)
    expected = numpy(rgb(frames[..., :3], training=False))
    assert np.abs(numpy(reinforced(frames, training=False)) - expected).max() > 0.01
    _set_factors(reinforced, 1.0)
    assert_close(reinforced(frames, training=False), expected)


def test_the_identity_is_not_multiplied(rng, mobilenet):
    """Factors of ReLU(-1) = 0 leave x(l+1) = x(l) + F(0), with F(0) the same for all frames."""
    _, network = mobilenet
    _set_factors(network, -1.0)
    pairs = ((1, 2), (3, 4), (6, 7), (13, 14))
    names = [(f"block_{a}_project_BN", f"block_{b}_add") for a, b in pairs]
    one, two = (_tensors(network, sum(names, ()), _frames(rng)) for _ in range(2))
    for x, y in zip(one[::2], two[::2], strict=True):
        assert np.abs(x - y).max() > 0.01
    branches = [[y - x for x, y in zip(v[::2], v[1::2], strict=True)] for v in (one, two)]
    assert_close(*branches, atol=1e-4)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long without compiling")
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet_50"])
def test_gradients_reach_both_streams_and_flow_hears_nothing_of_rgb(rng, name):
    _, flow, reinforced = _networks(name)
    frames = _frames(rng)

    def total(x):
        return ops.sum(ops.square(reinforced(x, training=False)))

    slopes = np.abs(gradient(total, frames)).max((0, 1, 2))
    assert np.isfinite(slopes).all() and (slopes > 0).all()
    last = {"mobilenet_v2": "block_13_project_BN", "resnet_50": "conv5_block1_out"}[name]
    other = np.concatenate([frames[..., :3] + 1, frames[..., 3:]], -1)
    one, two = (_tensors(reinforced, [f"flow_{last}"], x)[0] for x in (frames, other))
    assert_close(one, two, atol=0)
    assert_close(one, _tensors(flow, [last], frames[..., 3:])[0], atol=1e-3)


# === The entries of the table ===


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet_50"])
def test_the_entries_are_those_of_the_plain_networks(name):
    entry, plain = BACKBONES[f"{name}_reinforced"], BACKBONES[name]
    assert entry.name == f"{name}_reinforced" and entry.reinforced and not plain.reinforced
    assert entry.endpoints == plain.endpoints and entry.pyramid == plain.pyramid
    assert str(entry.size) in entry.description
    *_, reinforced = _networks(name)
    names = [layer.name for layer in reinforced.layers]
    for at, channels, *_ in list(entry.endpoints.values())[:-1]:
        assert reinforced.get_layer(at).output.shape[-1] == channels
    products = [n.removesuffix("_reinforced") for n in names if n.endswith("_reinforced")]
    expected = {
        "mobilenet_v2": [f"block_{block}_expand" for block in (2, 4, 7, 14)],
        "resnet_50": [f"conv{stage}_block2_1_conv" for stage in (2, 3, 4, 5)],
    }
    assert products == expected[name]
    assert f"flow_{products[-1]}" not in names, "of flow there is what leads to the last product"


@pytest.fixture
def shared(mobilenet, monkeypatch):
    """The entry of the table with the networks that are there already; weights are RGB's."""
    rgb, reinforced = mobilenet
    name = "mobilenet_v2_reinforced"
    built = {3: rgb, CHANNELS: reinforced}
    entry = dataclasses.replace(BACKBONES[name], network=lambda h, w, channels: built[channels])
    monkeypatch.setitem(BACKBONES, name, entry)
    monkeypatch.setattr(registry, "load", lambda *arguments: None)
    return rgb


def _pixels(rng, *batch):
    return rng.integers(0, 256, (*batch, SIDE, SIDE, CHANNELS), dtype="uint8")


def test_weights_of_rgb_serve_both_streams(rng, shared):
    model = build_backbone("mobilenet_v2_reinforced", SIDE, "shared", "block_12", CHANNELS)
    plain = {weight.path: numpy(weight) for weight in shared.weights}
    for weight in model.weights:
        expected = plain[weight.path.removeprefix("flow_")]
        if weight.path == "flow_Conv1/kernel":
            expected = np.repeat(expected.mean(2, keepdims=True), 4, axis=2)
        assert_close(weight, expected, atol=0)
    names = {weight.path for weight in model.weights}
    assert {"Conv1/kernel", "flow_Conv1/kernel", "flow_block_6_project/kernel"} < names
    assert not any(name.startswith("flow_block_7") for name in names), "what the endpoint needs"

    pixels = _pixels(rng, 1)
    scaled = np.concatenate([pixels[..., :3] / 127.5 - 1, (pixels[..., 3:] - 128.0) / 127.5], -1)
    assert_close(model.get_layer("normalized")(pixels), scaled)


def test_a_tail_behind_the_last_product_is_the_rest_of_the_network(rng, shared):
    name, pixels = "mobilenet_v2_reinforced", _pixels(rng, 1)
    body, whole = (
        build_backbone(name, SIDE, "shared", at, CHANNELS) for at in ("block_16", "pooled")
    )
    maps = body(pixels, training=False)
    tail = backbone_tail(name, "block_16", maps.shape[1:3], "shared")
    assert_close(tail(maps, training=False), whole(pixels, training=False))
    assert len(body.weights) + len(tail.weights) == len(whole.weights)


@pytest.mark.parametrize("channels", [3, 10])
def test_one_stream_is_refused(channels):
    with pytest.raises(ValueError, match=r"channels must be 3 \+ 2L for resnet_50_reinforced"):
        build_backbone("resnet_50_reinforced", 32, channels=channels)


# === In a model ===


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long without compiling")
def test_a_model_reads_it_from_frames_and_from_a_cache(rng, shared, tmp_path):
    name, levels, shape = "mobilenet_v2_reinforced", ("block_12", "block_16"), (SIDE, SIDE)
    model = PyramidAttentionNetwork(4, (None, *shape, CHANNELS), levels=levels, backbone=name)
    video = _pixels(rng, 2, 3)
    found = {name: numpy(x) for name, x in model({"video": video}, training=False).items()}
    assert found["spatial_attention"].shape == (2, 3, 2, 2)
    channels = sum(endpoint_channels(name, "+".join(levels)))
    assert channels == 96 + 320
    cached = swap_input(model, name, (None, 2, 2, channels), cached=True)
    features = numpy(model.get_layer("backbone")(video, training=False))
    assert_close(cached({"features": features}, training=False), found, atol=1e-4)

    still = video.copy()
    still[..., 3:] = 128
    other = model({"video": still}, training=False)
    assert np.abs(numpy(other["logits"]) - found["logits"]).max() > 0.01

    model.save(tmp_path / "model.keras")
    model.image_network.set_weights([0 * w for w in model.image_network.get_weights()])
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert_close(loaded({"video": video}, training=False), found)
