"""The segments that STACNN trains on, from which frames, and through which networks."""

import numpy as np
import pytest
import torch_networks
from checks import BACKEND, CROSS_ENTROPY, QUICK, answer, assert_close, compiled, gradient, numpy
from safetensors.numpy import save_file
from torch_networks import random_state

from keras_attn.backbones import flownet_s, golden
from keras_attn.errors import UserError
from keras_attn.models import STACNN, FlowPretraining, swap_input
from keras_attn.recipes import RECIPES, override

FEATURES = dict(num_classes=5, input_shape=(6, 3, 4, 7), groups=2, keep=1, dropout=0.0, test_keep=4)
VIDEO = dict(num_classes=5, groups=2, keep=1, dropout=0.0, test_keep=3, backbone="tiny")


def _scrambled(rng, scale=0.5, **arguments):
    model = STACNN(**arguments)
    model.set_weights([scale * rng.normal(size=w.shape) for w in model.weights])
    return model


def _video(rng, channels, clips=2, segments=6):
    pixels = rng.integers(0, 256, (clips, segments, 32, 48, channels))
    return {"video": pixels.astype("float32")}


# === Hard attention in training ===


def _slopes(model, kind, x):
    """The gradient of the objective in training with respect to the input, of two videos."""
    labels = np.array([3, 1])

    def objective(x):
        outputs = model({kind: x}, training=True)
        steps = CROSS_ENTROPY(from_logits=True)(*model.supervised(labels, outputs))
        return steps + model.loss_terms(labels, outputs)["aux"]

    return gradient(compiled(objective) if BACKEND == "jax" else objective, x)


def test_unselected_segments_have_no_gradient(rng):
    model = _scrambled(rng, 0.3, **VIDEO, input_shape=(6, 32, 48, 3))
    video = _video(rng, 3)
    slopes = _slopes(model, "video", video["video"])
    largest = np.abs(slopes).reshape(2, 6, -1).max(-1)
    selected = answer(model, video)["selected"] > 0
    assert (largest[~selected] == 0).all()
    assert (largest[selected] > 0).all()


def test_a_step_is_that_of_a_model_given_the_selected_segments_alone(rng):
    """TS(2x3, 2x1) of six segments against TS(2, 2) of the two that it selects."""
    model = _scrambled(rng, **FEATURES)
    features = rng.normal(size=(4, 6, 3, 4, 7)).astype("float32")
    labels = np.array([4, 0, 2, 2])
    selected = answer(model, {"features": features})["selected"] > 0
    alone = features[selected].reshape(4, 2, 3, 4, 7)
    plain = STACNN(**{**FEATURES, "input_shape": alone.shape[1:]})
    plain.set_weights(model.get_weights())
    before, losses = model.get_weights(), []
    for network, x in ((model, features), (plain, alone)):
        network.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
        losses.append(network.train_on_batch({"features": x}, labels))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for new, other, old in zip(model.get_weights(), plain.get_weights(), before, strict=True):
        assert np.abs(new - old).max() > 1e-5
        assert_close(new - old, other - old, atol=1e-6)


def test_certain_segments_leave_finite_gradients(rng):
    model = _scrambled(rng, scale=100.0, **FEATURES)
    x = rng.normal(size=(2, 6, 3, 4, 7)).astype("float32")
    assert np.isfinite(_slopes(model, "features", x)).all()


# === Spatial attention ===


def test_class_activation_maps_sum_to_the_auxiliary_logits(rng):
    """Eq. (5), with the mean for the sum; and uniform attention is global average pooling."""
    model = _scrambled(rng, **FEATURES)
    network = model.get_layer("segments").layer
    features = rng.normal(size=(2, 6, 3, 4, 7)).astype("float32")
    (kernel,) = network.get_layer("aux_classifier").get_weights()
    maps = np.einsum("bshwm,mc->bshwc", features, kernel)
    outputs = answer(model, {"features": features})
    assert_close(maps.sum((2, 3)), 12 * outputs["aux_logits"], atol=1e-4)
    network.get_layer("location_attention").set_weights([np.zeros((3, 4, 7))])
    pooled = features.mean((2, 3))
    classifier, bias = network.get_layer("classifier").get_weights()
    uniform = answer(model, {"features": features})
    assert_close(uniform["step_logits"], pooled @ classifier + bias)


@pytest.mark.parametrize("attention_network", ["tiny", "flownet_s"])
def test_attention_sees_both_frames_and_the_classifier_the_first(
    rng, small_flownet, attention_network
):
    shape = (3, 64, 96, 6)
    arguments = {**VIDEO, "groups": 1, "attention_network": attention_network}
    model = STACNN(**arguments, input_shape=shape)
    layer = model.get_layer("segments").layer.get_layer("location_attention")
    video = rng.integers(0, 256, (2, *shape)).astype("float32")
    other = video.copy()
    other[..., 3:] = 0
    # A new layer attends to all cells alike.
    one, two = (answer(model, {"video": x}) for x in (video, other))
    assert one["spatial_attention"].shape == (2, 3, 8, 12)
    assert_close(one["step_logits"], two["step_logits"])
    assert np.abs(one["aux_logits"] - two["aux_logits"]).max() > 1e-6
    layer.set_weights([3 * rng.normal(size=layer.kernel.shape)])
    one, two = (answer(model, {"video": x}) for x in (video, other))
    assert np.abs(one["spatial_attention"] - two["spatial_attention"]).max() > 0.003


def test_spatial_none_builds_no_attention_network(rng):
    arguments = {**VIDEO, "input_shape": (6, 32, 48, 6), "attention_network": "flownet_s"}
    model = _scrambled(rng, **arguments, spatial="none")
    assert [layer.name for layer in model.get_layer("segments").layer.layers if layer.weights] == [
        "backbone",
        "classifier",
    ]


# === Kinds of input ===


def test_features_and_video_answer_alike(rng):
    model = _scrambled(rng, 0.3, **VIDEO, input_shape=(6, 32, 48, 3))
    assert model.per_frame
    video = _video(rng, 3)
    expected = answer(model, video)
    cached = swap_input(model, None, (6, 4, 6, 48))
    maps = model.image_network(video["video"].reshape(12, 32, 48, 3))
    features = {"features": numpy(maps).reshape(2, 6, 4, 6, 48)}
    assert_close(answer(cached, features), expected)
    back = swap_input(cached, "tiny", (6, 32, 48, 3))
    back.image_network.set_weights(model.image_network.get_weights())
    assert_close(answer(back, video), expected)


@pytest.mark.parametrize("network, channels", [("shared", 10), ("tiny", 6)])
def test_another_number_of_segments_keeps_all_weights(rng, network, channels):
    shape = (6, 32, 48, channels)
    model = _scrambled(rng, 0.3, **VIDEO, input_shape=shape, attention_network=network)
    assert model.per_frame == (network == "shared")
    video = _video(rng, channels, segments=7)
    expected = answer(model, {"video": video["video"][:, :6]})["step_logits"]
    longer = swap_input(model, "tiny", (7, 32, 48, channels))
    assert_close(answer(longer, video)["step_logits"][:, :6], expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_backbone_can_be_frozen(rng, frozen):
    model = _scrambled(rng, 0.3, **{**VIDEO, "groups": 1}, input_shape=(1, 32, 48, 3))
    model.image_network.trainable = not frozen
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
    before = model.get_weights()
    model.train_on_batch(_video(rng, 3, segments=1), np.array([3, 1]))
    backbone = {id(w) for w in model.image_network.weights}
    for weight, old in zip(model.weights, before, strict=True):
        changes = not (frozen and id(weight) in backbone)
        assert np.any(numpy(weight) != old) == changes, weight.path


@pytest.mark.parametrize("name", ["flownet_s_strided", "flownet_s_pooled"])
def test_pretrained_attention_network(small_flownet, tmp_path, name):
    flow = FlowPretraining((64, 64, 6), name)
    path = tmp_path / "attention.weights.h5"
    flow.save_attention_network(path)
    arguments = {**VIDEO, "input_shape": (6, 64, 64, 6), "attention_network": name}
    model = STACNN(**arguments, attention_weights=path)
    assert "attention_weights" not in model.get_config()
    network = model.get_layer("segments").layer.get_layer("attention_network")
    kernels = {layer.name: layer.get_weights() for layer in flow.layers if layer.weights}
    learned = [layer for layer in network.layers if layer.weights]
    assert len(learned) == 10
    for layer in learned:
        for weight, expected in zip(layer.get_weights(), kernels[layer.name], strict=True):
            np.testing.assert_array_equal(weight, expected)
    with pytest.raises(UserError, match=f"FlowPretraining.attention_network='{name}'. wrote"):
        STACNN(**arguments, attention_weights=tmp_path / "none.weights.h5")


@pytest.mark.parametrize(
    "name, suffix", [("flownet_s", "npz"), ("flownet_s_strided", "safetensors")]
)
def test_public_flownet_s_is_an_attention_network(rng, small_flownet, tmp_path, name, suffix):
    """The file of the whole network, in PyTorch's names, answers two frames as PyTorch does."""
    state = random_state(rng, flownet_s.flownet_s(64, 64), activation=".0")
    path = tmp_path / f"flownets.{suffix}"
    (save_file if suffix == "safetensors" else lambda x, path: np.savez(path, **x))(state, path)
    changes = {"model.attention_weights": str(path), "model.attention_network": name}
    arguments = override(RECIPES["sta_cnn"], changes).arguments
    arguments |= {"input_shape": (3, 64, 64, 6), "backbone": "tiny"}
    model = STACNN(5, **arguments)
    network = model.get_layer("segments").layer.get_layer("attention_network")
    frames = rng.integers(0, 256, (2, 64, 64, 6)).astype("float32")
    means = 255 * np.array([0.45, 0.432, 0.411] * 2)  # the first frame, then the second
    maps, _ = torch_networks.flownet_s(state, ((frames - means) / 255).transpose(0, 3, 1, 2))
    stride = 2 if name == "flownet_s" else 1  # it does not halve the sixth time
    actual = numpy(network(frames))[:, ::stride, ::stride].transpose(0, 3, 1, 2)
    assert_close(actual, maps, atol=1e-5 * np.abs(maps).max())

    golden.record(path, {name: (network, None)})
    STACNN(5, **arguments)
    zeroed = state | {"conv4.0.bias": np.zeros(8, "float32")}  # as a loader once did, in silence
    (save_file if suffix == "safetensors" else lambda x, path: np.savez(path, **x))(zeroed, path)
    with pytest.raises(UserError, match="flownets.*1 of 10 layers answer differently: conv4"):
        STACNN(5, **arguments)

    other = {key: x for key, x in state.items() if key != "conv3_1.0.bias"}
    other |= {"conv3_1.1.weight": np.ones(8, "float32")}  # as in the network with normalizations
    save_file(other, tmp_path / "other.safetensors")
    arguments["attention_weights"] = str(tmp_path / "other.safetensors")
    message = "other.safetensors: not the weights .*missing: conv3_1.bias; not expected: conv3_1.1"
    with pytest.raises(UserError, match=message):
        STACNN(5, **arguments)
    arguments["attention_weights"] = str(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="absent.pth.*public weights of FlowNetS .*convert_weights"):
        STACNN(5, **arguments)
