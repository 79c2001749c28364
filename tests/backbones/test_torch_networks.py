"""Networks with PyTorch's weights answer as PyTorch's networks, here in NumPy."""

import re

import keras
import numpy as np
import pytest
import torch_networks
from checks import BACKEND, assert_close, numpy
from keras import tree
from safetensors.numpy import save_file
from torch_networks import random_state

from keras_attn.backbones import bn_inception, build_backbone, flownet_s, temporal_shift_resnet
from keras_attn.backbones.convert import load_torch_state
from keras_attn.backbones.flownet_s import CONVOLUTIONS


def answers(model, names, inputs):
    """The outputs of the layers of these names, channels first and clips in the batch."""
    outputs = {name: model.get_layer(name).output for name in names}
    maps = answer(keras.Model(model.input, outputs), inputs)
    return [maps[name] for name in names]


def answer(model, inputs):
    # JAX compiles every step of a model that is called, and one program for `predict`.
    outputs = model.predict(inputs, verbose=0) if BACKEND == "jax" else model(inputs)
    return tree.map_structure(torch_order, outputs)


def torch_order(maps):
    maps = np.moveaxis(numpy(maps), -1, -3)
    return maps.reshape(-1, *maps.shape[-3:])


def assert_same(actual, expected):
    assert_close(actual, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long to build it")
def test_bn_inception(rng, tmp_path):
    # Of 65 rows the stem leaves one over where it pools; all later maps have even sizes.
    network = bn_inception.network(65, 32)
    state = random_state(rng, network)
    convolutions = [name for name in state if f"{name[:-7]}_bn.weight" in state]
    for name in convolutions:
        bias = rng.standard_normal(len(state[name]), dtype="float32")
        state[name.replace("weight", "bias")] = bias
    assert sum(state[name].size for name in convolutions) == 10_240_192
    unused = {
        "conv1_7x7_s2_bn.num_batches_tracked": np.array(3),
        "last_linear.bias": np.zeros(7, "float32"),
    }
    path = tmp_path / "bn_inception.npz"
    np.savez(path, **{f"module.base_model.{name}": x for name, x in (state | unused).items()})
    assert load_torch_state(network, path) == list(unused)

    frames = rng.standard_normal((2, 65, 32, 3), dtype="float32")
    expected = torch_networks.bn_inception(state, frames.transpose(0, 3, 1, 2))
    actual = answers(network, [f"inception_{name}_output" for name in expected], frames)
    for x, y in zip(actual, expected.values(), strict=True):
        assert_same(x, y)

    # As a backbone: pixels in RGB order, the last map before its activation.
    pixels = rng.integers(0, 256, (2, 65, 32, 3), dtype="uint8")
    model = build_backbone("bn_inception", (65, 32), path, "5b")
    network_input = pixels[..., ::-1] - np.array([104, 117, 128], "float32")
    (expected,) = answers(network, ["inception_5b_concat"], network_input)
    assert_same(answer(model, pixels), expected)
    assert expected.min() < 0


def test_resnet_on_frames_and_on_clips(rng, tmp_path, monkeypatch):
    fewer = {"layer1": (3, 8), "layer2": (2, 16), "layer3": (1, 24), "layer4": (1, 32)}
    monkeypatch.setattr(temporal_shift_resnet, "STAGES", fewer)
    images = temporal_shift_resnet.network(33, 40)
    clips = temporal_shift_resnet.network(33, 40, shift=True)
    names = [[w.path.split("/")[-2:] for w in network.weights] for network in (images, clips)]
    assert names[0] == names[1]
    state = random_state(rng, images)
    # In TSM's files the shift is around conv1.
    saved = {re.sub(r"(layer.*)\.conv1\.", r"\1.conv1.net.", name): x for name, x in state.items()}
    save_file(state | {"fc.weight": np.zeros((5, 7))}, tmp_path / "resnet50.safetensors")
    save_file(saved | {"new_fc.weight": np.zeros((5, 7))}, tmp_path / "tsm.safetensors")
    assert load_torch_state(images, tmp_path / "resnet50.safetensors") == ["fc.weight"]
    assert load_torch_state(clips, tmp_path / "tsm.safetensors") == ["new_fc.weight"]

    video = rng.standard_normal((2, 3, 33, 40, 3), dtype="float32")
    frames = video.reshape(-1, 33, 40, 3)
    for network, inputs, length in ((images, frames, None), (clips, video, 3)):
        expected = torch_networks.resnet(state, frames.transpose(0, 3, 1, 2), length)
        actual = answers(network, [f"{block}.output" for block in expected], inputs)
        for x, y in zip(actual, expected.values(), strict=True):
            assert_same(x, y)


def test_flownet_s(rng, tmp_path, monkeypatch):
    narrow = {name: (*row, filters // 16) for name, (*row, filters) in CONVOLUTIONS.items()}
    monkeypatch.setattr(flownet_s, "CONVOLUTIONS", narrow)
    # 70 x 100 pixels: every level but the first meets maps of odd size.
    contracting = flownet_s.contracting(70, 100)
    flow_model = flownet_s.expanding(contracting)
    state = random_state(rng, flow_model, activation=".0")
    path = tmp_path / "flownets.safetensors"
    save_file(state, path)
    assert not load_torch_state(flow_model, path)

    frames = rng.integers(0, 256, (2, 70, 100, 6)).astype("float32")
    normalized = frames / 255 - np.array([0.45, 0.432, 0.411] * 2, "float32")
    expected_maps, expected = torch_networks.flownet_s(state, normalized.transpose(0, 3, 1, 2))
    for x, y in zip(answer(flow_model, frames), expected, strict=True):
        assert_same(x, y)
    assert_same(answer(contracting, frames), expected_maps)  # its layers are shared

    # A sixth stage that does not halve: every second cell is what it was.
    dense = flownet_s.contracting(70, 100, last_stride=1)
    ignored = load_torch_state(dense, path)
    assert len(ignored) == 4 + 5 + 4 and "deconv5.0.weight" in ignored
    maps = answer(dense, frames)
    assert maps.shape[2:] == (3, 4)
    assert_same(maps[:, :, ::2, ::2], expected_maps)
