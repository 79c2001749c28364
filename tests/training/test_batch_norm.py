"""Frozen batch normalizations keep all their bits in a training step, the others do not."""

import keras
import numpy as np
import pytest
from checks import JIT
from keras import layers

from keras_attn.backbones import build_backbone
from keras_attn.layers import PerFrame
from keras_attn.training.batch_norm import set_batch_norm


def _convolution(x, name):
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def _network():
    """Three batch normalizations, made last to first, the first in a network of its own."""
    middle = layers.BatchNormalization(name="second_norm")
    image = keras.Input((6, 6, 3))
    stem = keras.Model(image, _convolution(image, "first"), name="stem")
    x = layers.Conv2D(4, 3, name="second_conv")(layers.ReLU()(stem(image)))
    x = _convolution(layers.ReLU()(middle(x)), "third")
    return keras.Model(image, layers.GlobalAveragePooling2D()(x), name="network")


def _train_step(network, per_frame, rng):
    """The paths of the weights of `network` that one training step changes."""
    shape = (5, 6, 6, 3) if per_frame else (6, 6, 3)
    inputs = keras.Input(shape)
    x = PerFrame(network, name="backbone")(inputs) if per_frame else network(inputs)
    model = keras.Model(inputs, layers.Dense(2)(x))
    model.compile("sgd", "mse", jit_compile=JIT)
    images = rng.normal(2, 3, size=(4, *shape)).astype("float32")
    before = network.get_weights()
    model.train_on_batch(images, np.ones((4, *shape[:-3], 2)))
    pairs = zip(network.weights, before, network.get_weights(), strict=True)
    return {w.path for w, a, b in pairs if not np.array_equal(a, b)}


NORMS = [
    [f"{name}_norm/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")]
    for name in ("first", "second", "third")
]


@pytest.mark.parametrize(
    "policy, learning, per_frame",
    [("train", 3, False), ("partial", 1, False), ("partial", 1, True), ("frozen", 0, True)],
)
def test_only_the_norms_of_the_policy_change(rng, policy, learning, per_frame):
    network = _network()
    set_batch_norm([network], policy)
    changed = _train_step(network, per_frame, rng)
    assert {path for path in changed if "norm" in path} == set(sum(NORMS[:learning], []))
    assert {path for path in changed if "conv" in path} == {
        w.path for w in network.weights if "conv" in w.path
    }


def test_a_frozen_norm_uses_its_moving_statistics_in_training(rng):
    network = _network()
    images = rng.normal(2, 3, size=(4, 6, 6, 3)).astype("float32")
    set_batch_norm([network], "frozen")
    np.testing.assert_array_equal(network(images, training=True), network(images, training=False))
    set_batch_norm([network], "partial")
    differences = np.abs(network(images, training=True) - network(images, training=False))
    assert differences.max() > 0.1


def test_a_policy_replaces_the_one_before(rng):
    network = _network()
    set_batch_norm([network], "frozen")
    set_batch_norm([network], "train")
    assert len(network.trainable_weights) == 3 * 2 + 3 + 1  # scales, offsets, kernels and a bias


@pytest.mark.parametrize("policy", ["partial", "frozen"])
def test_a_network_without_any_has_nothing_to_freeze(policy):
    image = keras.Input((6, 6, 3))
    network = keras.Model(image, layers.Conv2D(4, 3)(image), name="plain")
    with pytest.raises(ValueError, match=f"policy must be train for plain, .*, got '{policy}'"):
        set_batch_norm([network], policy)
    set_batch_norm([network], "train")


@pytest.mark.parametrize(
    "name, firsts",
    [("mobilenet_v2", None), ("mobilenet_v2_reinforced", ("bn_Conv1", "flow_bn_Conv1"))],
)
def test_each_of_two_streams_has_a_first_one(name, firsts):
    backbone = build_backbone(name, 32, weights=None, channels=3 + 4)
    set_batch_norm([backbone], "partial")
    learning = [norm for norm in _norms_of(backbone) if norm.trainable]
    if firsts is None:
        streams = [backbone.get_layer(name) for name in ("rgb", "flow")]
        assert learning == [stream.get_layer("bn_Conv1") for stream in streams]
    else:
        assert sorted(norm.name for norm in learning) == sorted(firsts)


def _norms_of(layer):
    if isinstance(layer, layers.BatchNormalization):
        return [layer]
    return [norm for part in getattr(layer, "layers", []) for norm in _norms_of(part)]


def test_an_unknown_policy():
    with pytest.raises(ValueError, match="policy must be one of train, partial, frozen, got 'on'"):
        set_batch_norm([_network()], "on")
